# SPDX-License-Identifier: Apache-2.0
"""Map -> messages that stock RViz shows: labelled cloud, class legend; and the mesh's colours."""

from array import array

import numpy as np
from geometry_msgs.msg import Point, Pose, Vector3
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.labels import LabelSet
from slam_fusion.frame import Surface
from slam_fusion.node_config import COLOR_MODES

_FIELDS = {
    "x": ("<f4", PointField.FLOAT32),
    "y": ("<f4", PointField.FLOAT32),
    "z": ("<f4", PointField.FLOAT32),
    "rgb": ("<u4", PointField.FLOAT32),  # RViz and PCL look for a float whose bits are the colour
    "label": ("<u4", PointField.UINT32),
    "confidence": ("<f4", PointField.FLOAT32),
}
CLOUD_DTYPE = np.dtype([(name, dtype) for name, (dtype, _) in _FIELDS.items()])
"""One point, 24 bytes without padding. ``rgb`` is 0x00RRGGBB in the bits of a float and ``label`` a
uint32, as PCL's ``PointXYZRGBL`` reads them; the label's values are the class ids 0..255."""

_LEGEND_STEP = 0.18
"""Metres from one legend line to the next; the text is a little lower than that."""


def surface_colors(surface: Surface, label_set: LabelSet | None, color_mode: str) -> np.ndarray:
    """Colour of every vertex.

    Args:
        surface: N vertices.
        label_set: names the class colours; without one the true colours are all there is.
        color_mode: ``class`` or ``true``; unlabelled vertices keep their true colour.

    Returns:
        (N, 3) uint8 RGB.

    Raises:
        InvalidInput: unknown ``color_mode``.
    """
    if color_mode not in COLOR_MODES:
        raise InvalidInput(f"color_mode {color_mode!r} is not one of {', '.join(COLOR_MODES)}")
    if color_mode == "true" or label_set is None:
        return surface.colors
    unlabelled = (surface.labels == UNLABELLED)[:, None]
    return np.where(unlabelled, surface.colors, label_set.palette[surface.labels])


def corner_colors(surface: Surface, label_set: LabelSet | None, color_mode: str) -> np.ndarray:
    """Colour of every corner of every triangle, with sharp borders between classes.

    In class colours the corners of a triangle share one: that of the class of two of them, else
    of the most confident. Viewers blend the colours of corners, and what lies between the
    colours of two classes may be that of a third.

    Args:
        surface: M triangles.
        label_set: as for ``surface_colors``.
        color_mode: likewise.

    Returns:
        (M, 3, 3) uint8 RGB.

    Raises:
        InvalidInput: unknown ``color_mode``.
    """
    labels = surface.labels[surface.triangles]  # (M, 3)
    surest = np.argmax(surface.confidence[surface.triangles], axis=1)
    label = np.take_along_axis(labels, surest[:, None], axis=1)[:, 0]
    for one, other in ((0, 1), (1, 2), (0, 2)):
        label = np.where(labels[:, one] == labels[:, other], labels[:, one], label)
    colors = surface_colors(surface, None, color_mode)[surface.triangles]
    if color_mode == "true" or label_set is None:
        return colors
    labelled = (label != UNLABELLED)[:, None, None]
    return np.where(labelled, label_set.palette[label][:, None], colors)


def cloud_to_msg(surface: Surface, colors: np.ndarray, header: Header) -> PointCloud2:
    """Pack a surface's points into one unordered PointCloud2 (see ``CLOUD_DTYPE``).

    Args:
        surface: N points; triangles are ignored.
        colors: (N, 3) uint8 RGB, from ``surface_colors``.
        header: stamp of the newest fused frame and the map's frame.

    Returns:
        The message; RViz colours it by ``rgb`` ("RGB8"), ``label`` or ``confidence``.
    """
    points = np.empty(len(surface), CLOUD_DTYPE)
    points["x"], points["y"], points["z"] = surface.positions.T
    red, green, blue = colors.astype(np.uint32).T
    points["rgb"] = red << 16 | green << 8 | blue
    points["label"] = surface.labels
    points["confidence"] = surface.confidence
    data = array("B")  # any other type is checked byte by byte when it is assigned
    data.frombytes(points.tobytes())
    return PointCloud2(
        header=header,
        height=1,
        width=len(surface),
        fields=[
            PointField(name=name, offset=4 * index, datatype=datatype, count=1)
            for index, (name, (_, datatype)) in enumerate(_FIELDS.items())
        ],
        is_bigendian=False,
        point_step=CLOUD_DTYPE.itemsize,
        row_step=points.nbytes,
        data=data,
        is_dense=True,
    )


def legend_to_msg(surface: Surface, label_set: LabelSet, header: Header) -> MarkerArray:
    """Write the names of the classes on this surface above its lowest corner, in their colours.

    The array starts with DELETEALL, so that a class that is no longer on the map loses its line.
    """
    markers = [Marker(header=header, ns="legend", action=Marker.DELETEALL)]
    if not len(surface):
        return MarkerArray(markers=markers)
    x, y, z = surface.positions.min(axis=0).astype(float)
    seen = set(np.unique(surface.labels).tolist())
    shown = [c for c in label_set.classes if c.id in seen]
    for row, label_class in enumerate(reversed(shown)):
        red, green, blue = (channel / 255 for channel in label_class.color)
        markers.append(
            Marker(
                header=header,
                ns="legend",
                id=label_class.id,
                type=Marker.TEXT_VIEW_FACING,
                action=Marker.ADD,
                pose=Pose(position=Point(x=x, y=y, z=z + _LEGEND_STEP * row)),
                scale=Vector3(z=0.8 * _LEGEND_STEP),
                color=ColorRGBA(r=red, g=green, b=blue, a=1.0),
                text=label_class.name,
            )
        )
    return MarkerArray(markers=markers)
