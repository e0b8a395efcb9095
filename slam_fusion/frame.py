# SPDX-License-Identifier: Apache-2.0
"""Values that cross the fusion modules: one camera frame, one extracted surface, its changes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import (
    Intrinsics,
    InvalidInput,
    check_color,
    check_float_image,
    check_labels,
)


@dataclass(frozen=True, eq=False)
class Frame:
    """One synchronised set of images of one camera; arrays are read, never written.

    Images are registered to each other and share the size of ``intrinsics``; see
    ``mtl_perception.conventions`` for units. ``labels``, ``confidence`` and ``color`` are
    optional; confidence without labels is refused.
    """

    stamp_ns: int
    camera_frame: str  # TF name of the optical frame; "" when the recording has none
    intrinsics: Intrinsics
    depth: np.ndarray  # (H, W) float32 metres; 0, NaN and Inf = unknown; all 0: no sensor
    color: np.ndarray | None = None  # (H, W, 3) uint8 RGB
    labels: np.ndarray | None = None  # (H, W) uint8 class ids, 255 = unlabelled
    confidence: np.ndarray | None = None  # (H, W) float32 in [0, 1]
    predicted_depth: np.ndarray | None = None  # (H, W) float32 metres, 0 = unknown: a network's

    def __post_init__(self) -> None:
        """Check types and sizes once, at the door.

        Raises:
            InvalidInput: names the image and the sizes that disagree.
        """
        check_float_image(self.depth, "depth")
        if self.color is not None:
            check_color(self.color)
        if self.labels is not None:
            check_labels(self.labels)
        if self.confidence is not None:
            check_float_image(self.confidence, "confidence")
            if self.labels is None:
                raise InvalidInput("frame has confidence but no labels")
        if self.predicted_depth is not None:
            check_float_image(self.predicted_depth, "predicted_depth")
        for name in ("depth", "color", "labels", "confidence", "predicted_depth"):
            image = getattr(self, name)
            if image is not None and image.shape[:2] != self.intrinsics.shape:
                height, width = image.shape[:2]
                raise InvalidInput(
                    f"{name} is {width}x{height} but its CameraInfo says "
                    f"{self.intrinsics.width}x{self.intrinsics.height}"
                )


@dataclass(frozen=True, eq=False)
class Surface:
    """The labelled surface of a map: a mesh, or a point cloud when it has no triangles.

    Equal maps give equal arrays: rows of a whole map are sorted by position.
    """

    positions: np.ndarray  # (N, 3) float32 metres, world frame
    normals: np.ndarray  # (N, 3) float32 unit length, pointing into free space
    colors: np.ndarray  # (N, 3) uint8 RGB; grey where no colour was seen
    labels: np.ndarray  # (N,) uint8 class ids, 255 = unlabelled
    confidence: np.ndarray  # (N,) float32 in [0, 1]; 0 where unlabelled
    triangles: np.ndarray  # (M, 3) int32 rows of the arrays above; (0, 3) for a cloud

    def __len__(self) -> int:
        """Count of vertices or points."""
        return len(self.positions)


@dataclass(frozen=True, eq=False)
class SurfaceChange:
    """The surface of the blocks that may have changed, block after block.

    A block without rows has no surface (any more). Blocks share no vertices: those on their seams
    are given by each, with equal values.
    """

    version: int  # ask with it for what changes next
    restart: bool  # all that came before is void: the first time, or the volume was emptied
    keys: np.ndarray  # (B, 3) int32 block coordinates in lexicographic order
    starts: np.ndarray  # (B + 1, 2) int64 first vertex and first triangle of each, and the ends
    surface: Surface

    def parts(self) -> Iterator[tuple[tuple[int, int, int], slice, slice]]:
        """Yield each block's key and the ranges of its vertices and of its triangles."""
        starts = self.starts.tolist()
        for (x, y, z), (v, t), (v_end, t_end) in zip(
            self.keys.tolist(), starts, starts[1:], strict=False
        ):
            yield (x, y, z), slice(v, v_end), slice(t, t_end)
