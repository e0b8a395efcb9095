"""What becomes of a map: files, exports, pictures."""
