"""Photos and labels for training and evaluation."""
