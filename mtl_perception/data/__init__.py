"""Images with ground truth, for training and evaluation: one type, and a reader per data set."""
