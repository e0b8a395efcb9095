# SPDX-License-Identifier: Apache-2.0
"""Objects of the map -> markers that stock RViz shows: a box and a name each."""

from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.labels import LabelSet
from slam_fusion.objects import MapObject, ObjectList

_ALPHA = 0.35
_TEXT_HEIGHT = 0.1  # metres
_THINNEST = 0.005  # metres: a picture on a wall has no thickness, and a cube of none is not drawn


def objects_to_msg(found: ObjectList, label_set: LabelSet, header: Header) -> MarkerArray:
    """Draw a box (namespace ``boxes``) and a name (``names``) per object, in its class colour.

    The array starts with DELETEALL, for objects come and go.
    """
    markers = [Marker(header=header, action=Marker.DELETEALL)]
    for index, item in enumerate(found.objects):
        red, green, blue = (int(channel) / 255 for channel in label_set.palette[item.class_id])
        x, y, z = item.box.center
        length, width, height = (max(extent, _THINNEST) for extent in item.box.extents)
        qx, qy, qz, qw = item.box.orientation
        common = {"header": header, "id": index, "action": Marker.ADD}
        markers.append(
            Marker(
                **common,
                ns="boxes",
                type=Marker.CUBE,
                pose=Pose(
                    position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw)
                ),
                scale=Vector3(x=length, y=width, z=height),
                color=ColorRGBA(r=red, g=green, b=blue, a=_ALPHA),
            )
        )
        markers.append(
            Marker(
                **common,
                ns="names",
                type=Marker.TEXT_VIEW_FACING,
                pose=Pose(position=_above(item, found.up)),
                scale=Vector3(z=_TEXT_HEIGHT),
                color=ColorRGBA(r=red, g=green, b=blue, a=1.0),
                text=f"{item.name} {100 * item.confidence:.0f} %",
            )
        )
    return MarkerArray(markers=markers)


def _above(item: MapObject, up: tuple[float, float, float]) -> Point:
    rise = item.box.extents[2] / 2 + _TEXT_HEIGHT
    x, y, z = (c + rise * u for c, u in zip(item.box.center, up, strict=True))
    return Point(x=x, y=y, z=z)
