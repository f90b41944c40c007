"""Random changes that an EM image could have come with, on the batch, on the device."""
