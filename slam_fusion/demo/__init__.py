"""The main job, end to end, on a synthetic room."""
