# SPDX-License-Identifier: Apache-2.0
"""Depth as a structured-light sensor of the Kinect kind would measure it."""

from dataclasses import dataclass

import cv2
import numpy as np

from mtl_perception.conventions import Intrinsics
from mtl_perception.synthetic.camera import RenderedView


@dataclass(frozen=True)
class DepthSensor:
    """Error model of a structured-light depth camera.

    The axial noise is the fit of Nguyen, Izadi and Lovell 2012 ("Modeling Kinect sensor noise
    for improved 3D reconstruction and tracking"); disparity comes in steps of 1/8 pixel.
    """

    baseline: float = 0.075  # metres between projector and camera
    disparity_step: float = 0.125  # pixels
    noise_floor: float = 0.0012  # metres, standard deviation at 0.4 m
    noise_growth: float = 0.0019  # metres per square metre beyond 0.4 m
    min_depth: float = 0.4  # metres
    max_depth: float = 6.0  # metres
    grazing_deg: float = 78.0  # surfaces seen more obliquely send nothing back
    edge_step: float = 0.05  # a jump of this part of the depth counts as an edge
    edge_loss: float = 0.7  # probability that a pixel beside an edge is lost


KINECT = DepthSensor()


def sensed_depth(
    view: RenderedView, intrinsics: Intrinsics, seed: int, sensor: DepthSensor = KINECT
) -> np.ndarray:
    """Return (H, W) float32 metres as ``sensor`` would measure ``view``; 0 where it fails.

    Deterministic for a seed.
    """
    rng = np.random.default_rng(seed)
    z = view.depth.astype(np.float64)
    seen = (z >= sensor.min_depth) & (z <= sensor.max_depth)
    seen &= _facing(view, intrinsics) > np.cos(np.radians(sensor.grazing_deg))
    seen &= ~(_beside_edge(view.depth, sensor.edge_step) & (rng.random(z.shape) < sensor.edge_loss))
    spread = sensor.noise_floor + sensor.noise_growth * (z - 0.4) ** 2
    z = np.maximum(z + spread * rng.standard_normal(z.shape), sensor.min_depth / 2)
    focal_baseline = intrinsics.fx * sensor.baseline
    disparity = np.rint(focal_baseline / z / sensor.disparity_step) * sensor.disparity_step
    seen &= disparity > 0
    return np.where(seen, focal_baseline / np.where(seen, disparity, 1), 0).astype(np.float32)


def _facing(view: RenderedView, intrinsics: Intrinsics) -> np.ndarray:
    """Cosine between each pixel's ray and its surface normal."""
    x = (np.arange(intrinsics.width) - intrinsics.cx) / intrinsics.fx
    y = (np.arange(intrinsics.height) - intrinsics.cy)[:, None] / intrinsics.fy
    n = view.normals
    return -(n[..., 0] * x + n[..., 1] * y + n[..., 2]) / np.sqrt(1 + x**2 + y**2)


def _beside_edge(depth: np.ndarray, step: float) -> np.ndarray:
    kernel = np.ones((3, 3), np.uint8)
    return cv2.dilate(depth, kernel) - cv2.erode(depth, kernel) > step * depth
