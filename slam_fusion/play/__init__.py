"""Replaying a recording over DDS."""
