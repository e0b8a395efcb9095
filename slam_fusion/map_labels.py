# SPDX-License-Identifier: Apache-2.0
"""A labelled map as the expert of single images: what it shows from their poses.

A network is wrong in one view and right in the next. The map has heard all of them, so its labels
are better and agree between views; they end where surfaces end.
"""

from pathlib import Path

import numpy as np

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.data.rgbd import RgbdFolder
from mtl_perception.data.sample import Dataset, Sample
from mtl_perception.labels import LabelSet, remap_table
from slam_fusion.evaluation.surface_rays import SurfaceRays
from slam_fusion.output.map_io import open_map
from slam_fusion.volume import SemanticVolume

TOLERANCE_M, TOLERANCE_SHARE = 0.03, 0.05
"""How far the map's depth may be from the image's own, else something else stands there now."""


class MapLabeller:
    """Labels the frames of a recording by a map of the same world frame."""

    def __init__(
        self, path: Path, dataset: Dataset, label_set: LabelSet, confidence_threshold: float
    ) -> None:
        """Load the map.

        Args:
            path: ``map.npz``.
            dataset: frames with poses: an ``rgbd`` data set, as it is.
            label_set: wanted.
            confidence_threshold: less certain surface stays unlabelled.

        Raises:
            InvalidInput: other data sets, or a map without labels or surface.
        """
        if not isinstance(dataset, RgbdFolder):
            raise InvalidInput(f"{dataset.name}: only frames of kind rgbd have poses to see from")
        with open_map(path) as saved:
            if saved.label_set is None:
                raise InvalidInput(f"{path}: a map without labels")
            mesh = SemanticVolume.from_state(saved.state).extract_mesh()
        self._poses, self._rays = dataset, SurfaceRays(mesh.positions, mesh.triangles)
        table = np.arange(256, dtype=np.uint8)
        if saved.label_set != label_set:
            table = remap_table(saved.label_set, label_set)
        self._labels = table[mesh.labels]
        self._labels[mesh.confidence < confidence_threshold] = UNLABELLED

    def __call__(self, index: int, sample: Sample) -> np.ndarray:
        """Return (H, W) uint8 class ids of a frame, 255 where the map has none to give.

        Raises:
            DataMissing, DataCorrupt: the frame's pose.
        """
        depth, vertex = self._rays.look(sample.intrinsics, self._poses.pose(index))
        seen = vertex >= 0
        if sample.depth is not None:
            gap = np.abs(depth - sample.depth)
            agrees = gap < TOLERANCE_M + TOLERANCE_SHARE * sample.depth
            seen &= agrees | (sample.depth == 0)
        labels = np.full(depth.shape, UNLABELLED, np.uint8)
        labels[seen] = self._labels[vertex[seen]]
        return labels
