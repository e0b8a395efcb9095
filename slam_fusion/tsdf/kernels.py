# SPDX-License-Identifier: Apache-2.0
"""The kernels that run where the blocks are."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from slam_fusion.tsdf.kernels_carve import carve_blocks
from slam_fusion.tsdf.kernels_integrate import integrate_blocks
from slam_fusion.tsdf.kernels_raycast import raycast_depth


class Kernels(NamedTuple):
    """What runs where the blocks are: written with numba, and with Warp, to the same effect."""

    integrate_blocks: Callable[..., None]
    carve_blocks: Callable[..., np.ndarray]
    raycast_depth: Callable[..., np.ndarray]

    @classmethod
    def on(cls, gpu: str | None) -> "Kernels":
        """Return those for a GPU, named as Warp does, or for the CPU (None)."""
        if gpu is None:
            return cls(integrate_blocks, carve_blocks, raycast_depth)
        from slam_fusion.tsdf import warp_carve, warp_integrate, warp_raycast

        return cls(
            warp_integrate.integrate_blocks, warp_carve.carve_blocks, warp_raycast.raycast_depth
        )
