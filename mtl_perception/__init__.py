"""Camera image to depth, labels and confidence; the contract modules that slam_fusion shares."""
