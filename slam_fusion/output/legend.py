# SPDX-License-Identifier: Apache-2.0
"""Which colour is which class, and how much surface each class has."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mtl_perception.conventions import UNLABELLED
from mtl_perception.labels import LabelSet
from slam_fusion.frame import Surface

UNLABELLED_RGB: Sequence[int] = (205, 205, 205)
"""In pictures the unlabelled surface is light grey: black would hide its shape."""

_SMALLEST_SHARE = 0.0005
"""A class with less is not in the legend: it would read 0.0 %."""

_ROW = 36
_COLUMN = 310


@dataclass(frozen=True)
class ClassShare:
    """How much of a surface has one class."""

    id: int
    name: str
    area_m2: float
    share: float  # of the surface, 0..1


def class_colors(surface: Surface, label_set: LabelSet) -> np.ndarray:
    """Return the class colour of every vertex, (N, 3) uint8 RGB, unlabelled in light grey."""
    colors = label_set.colorize(surface.labels)
    colors[surface.labels == UNLABELLED] = UNLABELLED_RGB
    return colors


def class_shares(surface: Surface, label_set: LabelSet | None) -> tuple[ClassShare, ...]:
    """Return area and share of every class on a mesh, largest first."""
    return shares_of_areas(class_areas(surface), label_set)


def class_areas(surface: Surface) -> np.ndarray:
    """Return the area of each label on a mesh, (256,) float64 square metres.

    A triangle gives a third of its area to the class of each corner.
    """
    corners = surface.positions[surface.triangles].astype(np.float64)  # (M, 3, 3)
    edges = corners[:, 1:] - corners[:, :1]
    areas = 0.5 * np.linalg.norm(np.cross(edges[:, 0], edges[:, 1]), axis=1)
    labels = surface.labels[surface.triangles]  # (M, 3)
    return np.bincount(labels.ravel(), np.repeat(areas / 3, 3), minlength=256)


def shares_of_areas(totals: np.ndarray, label_set: LabelSet | None) -> tuple[ClassShare, ...]:
    """Return the share of every class, largest first, of areas as ``class_areas`` gives them."""
    names = {**(label_set.names if label_set else {}), UNLABELLED: "unlabelled"}
    return tuple(
        ClassShare(
            id=int(label),
            name=names.get(int(label), f"class {label}"),
            area_m2=round(float(totals[label]), 4),
            share=round(float(totals[label] / totals.sum()), 4),
        )
        for label in np.argsort(-totals, kind="stable")
        if totals[label] > 0
    )


def draw_legend(shares: Sequence[ClassShare], label_set: LabelSet, width: int) -> np.ndarray:
    """Draw a colour chip, name and share of the surface per class that can be seen.

    Args:
        shares: as ``class_shares`` gives.
        label_set: colours.
        width: of the image, pixels.

    Returns:
        (H, width, 3) uint8 RGB on white, as high as the classes need.
    """
    shares = [entry for entry in shares if entry.share >= _SMALLEST_SHARE]
    columns = max(1, width // _COLUMN)
    rows = -(-len(shares) // columns)
    image = np.full((rows * _ROW + 12, width, 3), 255, np.uint8)
    for index, entry in enumerate(shares):
        x = 12 + (index % columns) * (width // columns)
        y = 6 + (index // columns) * _ROW
        color = UNLABELLED_RGB
        if entry.id != UNLABELLED:
            color = label_set.palette[entry.id].tolist()
        cv2.rectangle(image, (x, y + 4), (x + 32, y + _ROW - 4), color, cv2.FILLED)
        cv2.rectangle(image, (x, y + 4), (x + 32, y + _ROW - 4), (90, 90, 90), 1, cv2.LINE_AA)
        text = f"{entry.name}  {100 * entry.share:.1f} %"
        draw_text(image, text, (x + 42, y + _ROW - 11))
    return image


def draw_text(image: np.ndarray, text: str, origin: tuple[int, int]) -> None:
    """Write dark text with its lower left corner at ``origin``, in place."""
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.7, (40, 40, 40), 1, cv2.LINE_AA)
