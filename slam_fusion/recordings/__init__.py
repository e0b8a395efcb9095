"""Bags and RGB-D folders: reading, writing, finding the camera."""
