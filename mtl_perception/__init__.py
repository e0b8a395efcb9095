"""Camera image to depth, labels and confidence; the contract modules that slam_fusion shares."""

from mtl_perception.one_tbb import load_newer_tbb

load_newer_tbb()  # here, because it must come before any import of Open3D
