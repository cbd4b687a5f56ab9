"""Pictures to bytes and back, in two views; knows no torch."""
