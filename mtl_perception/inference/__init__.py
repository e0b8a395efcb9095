"""Runtimes: network files run behind one call, and their scores brought to image size."""
