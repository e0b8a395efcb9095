"""Frames and poses to a semantically labelled 3-D map."""

import mtl_perception  # noqa: F401  before any import of Open3D: see mtl_perception.one_tbb
