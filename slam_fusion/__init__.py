"""Frames and poses to a semantically labelled 3-D map."""
