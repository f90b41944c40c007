"""Networks: SAM's image encoder, the U-shaped decoder, the U-Net baseline."""
