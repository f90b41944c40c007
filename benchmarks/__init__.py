"""What is fast or good is shown here, beside a peer, in one run."""
