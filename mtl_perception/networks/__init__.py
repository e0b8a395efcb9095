"""The networks of the sources, their building blocks and their checkpoints (needs torch)."""
