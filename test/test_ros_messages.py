# SPDX-License-Identifier: Apache-2.0
"""The messages hold exactly the surface, and RViz's own parsing rules read them."""

import struct
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 messages (rclpy wheels or a ROS install)")

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointField
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from mtl_perception.conventions import UNLABELLED, InvalidInput
from mtl_perception.labels import LabelClass, LabelSet
from slam_fusion.frame import Surface, SurfaceChange
from slam_fusion.live.ros_mesh import TRIANGLE_BYTES, MeshStream
from slam_fusion.live.ros_messages import cloud_to_msg, corner_colors, legend_to_msg, surface_colors
from slam_fusion.live.ros_objects import objects_to_msg
from slam_fusion.objects import Box, MapObject, ObjectList

WALL, CHAIR = 0, 7
LABELS = LabelSet(
    "two", (LabelClass(WALL, "wall", (10, 20, 30)), LabelClass(CHAIR, "chair", (200, 100, 50)))
)
BIG = 1 << 30


def fake_surface(positions, labels=None, triangles=()):
    positions = np.asarray(positions, np.float32).reshape(-1, 3)
    count = len(positions)
    labels = np.full(count, WALL) if labels is None else np.asarray(labels)
    return Surface(
        positions=positions,
        normals=np.tile(np.float32([0, 0, 1]), (count, 1)),
        colors=np.arange(3 * count, dtype=np.uint8).reshape(count, 3),
        labels=labels.astype(np.uint8),
        confidence=np.linspace(0, 1, count, dtype=np.float32),
        triangles=np.asarray(triangles, np.int32).reshape(-1, 3),
    )


def fake_mesh(*corners):
    """One small triangle at each corner."""
    offsets = np.array([[0, 0, 0], [0.1, 0, 0], [0, 0.1, 0]])
    positions = np.concatenate([np.asarray(c, float) + offsets for c in corners] or [[]])
    return fake_surface(positions, triangles=np.arange(3 * len(corners)))


def sent(stream, budget=BIG):
    """Next message of the stream as {id: marker}, or None."""
    data = stream.next_message(budget, Time(sec=3, nanosec=4))
    if data is None:
        return None
    return {marker.id: marker for marker in deserialize_message(data, MarkerArray).markers}


def show(stream, mesh, only=None):
    """Tell the stream of the whole mesh, or of ``only`` these blocks; blocks are of one metre."""
    first_corners = mesh.positions[mesh.triangles[:, 0]]
    blocks = np.floor(first_corners).astype(np.int32)
    keys = np.unique(blocks if only is None else np.array(only, np.int32), axis=0)
    rows = [np.flatnonzero(np.all(blocks == key, axis=1)) for key in keys]
    chosen = np.concatenate([*rows, np.empty(0, int)]).astype(int)
    triangles = mesh.triangles[chosen]
    starts = np.zeros((len(keys) + 1, 2), np.int64)
    starts[1:, 1] = np.cumsum([len(r) for r in rows])
    part = replace(mesh, triangles=triangles)
    stream.update(SurfaceChange(1, only is None, keys, starts, part), mesh.colors[triangles])


def field(msg, name):
    return next(f for f in msg.fields if f.name == name)


def test_cloud_bytes_are_the_points_colours_labels_and_confidence():
    surface = fake_surface([[1, 2, 3], [-4, 5, 6]], labels=[CHAIR, UNLABELLED])
    msg = cloud_to_msg(surface, surface.colors, Header(frame_id="odom"))
    assert (msg.width, msg.height, msg.row_step) == (2, 1, 2 * msg.point_step)
    assert len(msg.data) == msg.row_step
    second = bytes(msg.data)[msg.point_step :]
    assert struct.unpack_from("<fff", second, field(msg, "x").offset) == (-4, 5, 6)
    assert struct.unpack_from("<I", second, field(msg, "label").offset) == (UNLABELLED,)
    assert struct.unpack_from("<f", second, field(msg, "confidence").offset) == (1.0,)
    # RViz's "RGB8": a FLOAT32 field called rgb, whose bytes are blue, green, red.
    assert field(msg, "rgb").datatype == PointField.FLOAT32
    assert second[field(msg, "rgb").offset :][:3] == bytes([5, 4, 3])


def test_cloud_of_an_empty_map_is_a_message_of_no_points():
    surface = fake_surface([])
    msg = cloud_to_msg(surface, surface.colors, Header())
    assert msg.width == 0 and len(msg.data) == 0


def test_class_mode_shows_the_palette_and_true_colours_where_nothing_is_labelled():
    surface = fake_surface([[0, 0, 0], [1, 0, 0]], labels=[CHAIR, UNLABELLED])
    colors = surface_colors(surface, LABELS, "class")
    assert colors.tolist() == [[200, 100, 50], [3, 4, 5]]


def test_true_mode_and_a_map_without_label_set_show_the_true_colours():
    surface = fake_surface([[0, 0, 0]])
    assert surface_colors(surface, LABELS, "true") is surface.colors
    assert surface_colors(surface, None, "class") is surface.colors


def test_an_unknown_color_mode_is_refused_by_name():
    with pytest.raises(InvalidInput, match="rainbow"):
        surface_colors(fake_surface([]), LABELS, "rainbow")


def test_objects_are_boxes_where_they_stand_and_names_above_them():
    box = Box((1.0, 2.0, 0.5), (0.0, 0.0, 0.6, 0.8), (0.5, 0.4, 0.0))
    chair = MapObject(CHAIR, "chair", box, box.volume, 1.5, 0.87, 99)
    msg = objects_to_msg(ObjectList((0.0, 0.0, 1.0), (chair,)), LABELS, Header(frame_id="odom"))
    clear, cube, name = msg.markers
    assert clear.action == Marker.DELETEALL
    assert (cube.type, cube.pose.position.y, cube.pose.orientation.z) == (Marker.CUBE, 2.0, 0.6)
    assert (cube.scale.x, cube.scale.y) == (0.5, 0.4) and 0 < cube.scale.z < 0.01
    assert name.text == "chair 87 %" and name.pose.position.z > 0.5
    assert (cube.color.r, cube.color.g) == pytest.approx((200 / 255, 100 / 255))


def test_legend_names_only_the_classes_on_the_map():
    surface = fake_surface([[1, 2, 3], [4, 5, 6]], labels=[CHAIR, UNLABELLED])
    first, *lines = legend_to_msg(surface, LABELS, Header(frame_id="odom")).markers
    assert first.action == Marker.DELETEALL
    assert [(m.text, m.id) for m in lines] == [("chair", CHAIR)]
    assert (lines[0].pose.position.x, lines[0].pose.position.z) == (1.0, 3.0)


def test_mesh_bytes_equal_rclpys_own_serialisation():
    mesh = fake_mesh((0, 0, 0), (0.2, 0.2, 0))
    stream = MeshStream("odom")
    show(stream, mesh)
    expected = Marker(
        header=Header(stamp=Time(sec=3, nanosec=4), frame_id="odom"),
        ns="mesh",
        type=Marker.TRIANGLE_LIST,
        action=Marker.ADD,
        points=[Point(x=x, y=y, z=z) for x, y, z in mesh.positions.astype(float).tolist()],
        colors=[
            ColorRGBA(r=r / 255, g=g / 255, b=b / 255, a=1.0) for r, g, b in mesh.colors.tolist()
        ],
    )
    expected.pose.orientation.w = 1.0
    expected.scale.x = expected.scale.y = expected.scale.z = 1.0
    expected.color = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)
    data = stream.next_message(BIG, Time(sec=3, nanosec=4))
    # Through the deserialiser, because the bytes of padding are anybody's.
    assert deserialize_message(data, MarkerArray) == deserialize_message(
        serialize_message(MarkerArray(markers=[expected])), MarkerArray
    )


@pytest.mark.parametrize("frame_id", ["o", "od", "odo", "odom", "a/long/frame"])
def test_many_markers_of_any_alignment_are_read_back(frame_id):
    stream = MeshStream(frame_id)
    show(stream, fake_mesh(*[(2 * i, 0, 0) for i in range(5)]))
    markers = sent(stream)
    assert sorted(m.points[0].x for m in markers.values()) == [0, 2, 4, 6, 8]


def test_only_the_changed_group_is_sent_again():
    stream = MeshStream("odom")
    show(stream, fake_mesh((0.5, 0, 0), (5.5, 0, 0)))
    assert len(sent(stream)) == 2
    show(stream, fake_mesh((0.5, 0, 0), (5.6, 0, 0)))
    (marker,) = sent(stream).values()
    assert marker.points[0].x == pytest.approx(5.6)
    assert sent(stream) is None


def test_blocks_of_one_group_are_one_marker_and_unnamed_ones_stay():
    stream = MeshStream("odom", group_blocks=2)
    show(stream, fake_mesh((-0.5, 0, 0), (0.5, 0, 0), (1.5, 0, 0)))
    assert sorted(len(m.points) for m in sent(stream).values()) == [3, 6]
    show(stream, fake_mesh((1.6, 0, 0)), only=[(1, 0, 0)])
    (marker,) = sent(stream).values()
    assert [p.x for p in marker.points[::3]] == pytest.approx([0.5, 1.6])
    show(stream, fake_mesh(), only=[(0, 0, 0), (1, 0, 0), (7, 7, 7)])
    (marker,) = sent(stream).values()
    assert marker.action == Marker.DELETE
    stream.resend_all()
    assert len(sent(stream)) == 1


def test_a_part_that_comes_again_unchanged_is_not_sent_again():
    stream = MeshStream("odom")
    show(stream, fake_mesh((0.5, 0, 0)))
    sent(stream)
    show(stream, fake_mesh((0.5, 0, 0)), only=[(0, 0, 0), (1, 0, 0)])
    show(stream, fake_mesh((0.5, 0, 0)))
    assert sent(stream) is None


def test_a_triangle_has_one_class_colour_so_that_borders_are_sharp():
    corners = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    labels = [WALL, CHAIR, CHAIR, WALL, UNLABELLED, UNLABELLED]
    # Confidence rises from corner to corner: of three classes the last one's counts.
    surface = fake_surface(corners, labels, [[0, 1, 2], [3, 4, 5], [4, 0, 1]])
    colors = corner_colors(surface, LABELS, "class")
    assert colors[0].tolist() == [[200, 100, 50]] * 3
    assert colors[1].tolist() == surface.colors[3:].tolist()  # not labelled
    assert colors[2].tolist() == surface.colors[[4, 0, 1]].tolist()
    assert np.array_equal(corner_colors(surface, LABELS, "true"), surface.colors[surface.triangles])


def test_a_vanished_group_is_deleted_under_its_own_id():
    stream = MeshStream("odom")
    show(stream, fake_mesh((0.5, 0, 0), (5.5, 0, 0)))
    far_id = next(i for i, m in sent(stream).items() if m.points[0].x > 5)
    show(stream, fake_mesh((0.5, 0, 0)))
    assert {i: m.action for i, m in sent(stream).items()} == {far_id: Marker.DELETE}
    show(stream, fake_mesh((0.5, 0, 0), (5.5, 0, 0)))
    assert list(sent(stream)) == [far_id]


def test_the_byte_budget_spreads_a_mesh_over_messages_and_loses_nothing():
    stream = MeshStream("odom")
    show(stream, fake_mesh(*[(2 * i, 0, 0) for i in range(6)]))
    assert stream.pending_bytes == 6 * TRIANGLE_BYTES
    parts = []
    while (part := sent(stream, budget=1000)) is not None:
        parts.append(part)
    assert len(parts) > 1
    assert sorted(m.points[0].x for part in parts for m in part.values()) == [0, 2, 4, 6, 8, 10]


def test_a_group_larger_than_the_budget_is_sent_alone():
    stream = MeshStream("odom")
    show(stream, fake_mesh((0, 0, 0), (3, 0, 0)))
    assert len(sent(stream, budget=1)) == 1


def test_a_late_viewer_gets_the_whole_mesh():
    stream = MeshStream("odom")
    show(stream, fake_mesh((0, 0, 0), (3, 0, 0)))
    sent(stream)
    stream.resend_all()
    assert len(sent(stream)) == 2
