# SPDX-License-Identifier: Apache-2.0
"""Launch file, parameter files and RViz file agree with the code, checked without a ROS install."""

import ast
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from mtl_perception.conventions import InvalidInput
from mtl_perception.node_config import PerceptionNodeConfig
from slam_fusion.node_config import FusionNodeConfig

ROOT = Path(__file__).resolve().parents[1]
LAUNCH_FILE = ROOT / "launch" / "slam.launch.py"
ROS_LAUNCH = {"ament_index_python", "launch", "launch_ros"}


@pytest.fixture(scope="module")
def launch_tree():
    return ast.parse(LAUNCH_FILE.read_text())


def calls(tree, name):
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
    ]


def keyword(call, name):
    return next((k.value for k in call.keywords if k.arg == name), None)


def declared(tree):
    return {call.args[0].value: call for call in calls(tree, "DeclareLaunchArgument")}


def test_launch_file_imports_only_launch_and_the_standard_library(launch_tree):
    modules = {n.module for n in ast.walk(launch_tree) if isinstance(n, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(launch_tree) if isinstance(n, ast.Import) for a in n.names}
    roots = {module.split(".")[0] for module in modules}
    assert roots <= ROS_LAUNCH | set(sys.stdlib_module_names)


def test_every_launch_argument_is_described_and_has_a_default(launch_tree):
    arguments = declared(launch_tree)
    assert len(arguments) >= 10
    for name, call in arguments.items():
        assert len(ast.literal_eval(keyword(call, "description"))) > 10, name
        assert keyword(call, "default_value") is not None, name


def test_defaults_are_among_the_choices(launch_tree):
    with_choices = [c for c in declared(launch_tree).values() if keyword(c, "choices")]
    assert with_choices
    for call in with_choices:
        choices = ast.literal_eval(keyword(call, "choices"))
        assert ast.literal_eval(keyword(call, "default_value")) in choices


def test_every_argument_is_used_and_every_used_one_is_declared(launch_tree):
    used = {
        c.args[0].value for c in calls(launch_tree, "value") if isinstance(c.args[0], ast.Constant)
    }
    for loop in (n for n in ast.walk(launch_tree) if isinstance(n, ast.comprehension)):
        used |= set(ast.literal_eval(loop.iter))
    assert used == set(declared(launch_tree))


def test_files_that_the_launch_file_names_exist(launch_tree):
    names = [n.value for n in ast.walk(launch_tree) if isinstance(n, ast.Constant)]
    files = [n for n in names if isinstance(n, str) and re.fullmatch(r"\w+\.(yaml|xml|rviz)", n)]
    assert {"perception.yaml", "fusion.yaml", "slam.rviz", "tf_static_qos.yaml"} <= set(files)
    assert [f for f in files if not (ROOT / "config" / f).is_file()] == []


def test_launch_description_builds_on_a_ros_install():
    pytest.importorskip("launch_ros", reason="needs a ROS 2 install")
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        get_package_share_directory("dense_semantic_slam")
    except PackageNotFoundError:
        pytest.skip("dense_semantic_slam is not installed by colcon")
    namespace = {}
    exec(compile(LAUNCH_FILE.read_text(), str(LAUNCH_FILE), "exec"), namespace)
    assert len(namespace["generate_launch_description"]().entities) > 10


def parameters(name):
    return yaml.safe_load((ROOT / "config" / name).read_text())["/**"]["ros__parameters"]


@pytest.mark.parametrize(
    ("file", "config_type"),
    [("fusion.yaml", FusionNodeConfig), ("perception.yaml", PerceptionNodeConfig)],
)
def test_yaml_holds_every_parameter_with_the_type_and_value_of_its_default(file, config_type):
    config = config_type()
    defaults = {f.name: getattr(config, f.name) for f in fields(config)}
    defaults = {k: list(v) if isinstance(v, tuple) else v for k, v in defaults.items()}
    given = parameters(file)
    assert set(given) == set(defaults)
    assert {k: type(v) for k, v in given.items()} == {k: type(v) for k, v in defaults.items()}
    assert given == defaults


def test_bad_parameters_are_refused_by_name():
    for name, value in (
        ("pose_source", "gps"),
        ("color_mode", "rainbow"),
        ("queue_depth", 0),
        ("bandwidth_limit_mbps", -1.0),
        ("camera_extrinsic", (0.0, 0.0, 0.0)),
        ("use_labels", False),  # with use_confidence left on
    ):
        with pytest.raises(InvalidInput, match=name):
            FusionNodeConfig(**{name: value})


def rviz_displays():
    rviz = yaml.safe_load((ROOT / "config" / "slam.rviz").read_text())
    return rviz["Visualization Manager"]


def test_rviz_shows_the_topics_of_the_nodes_with_plain_displays():
    displays = rviz_displays()["Displays"]
    assert all(d["Class"].startswith("rviz_default_plugins/") for d in displays)
    topics = {d["Topic"]["Value"]: d["Class"].split("/")[1] for d in displays if "Topic" in d}
    assert topics == {
        "/fusion/mesh": "MarkerArray",
        "/fusion/semantic_cloud": "PointCloud2",
        "/fusion/legend": "MarkerArray",
        "/fusion/objects": "MarkerArray",
        "/perception/semantic/overlay": "Image",
        "image": "Image",
    }
    published = set(
        re.findall(r'"~/(\w+)"', (ROOT / "slam_fusion/live/ros_map_publisher.py").read_text())
    )
    assert {t.removeprefix("/fusion/") for t in topics if t.startswith("/fusion/")} == published


def test_rviz_reads_latched_topics_latched():
    for display in rviz_displays()["Displays"]:
        if display.get("Topic", {}).get("Value", "").startswith("/fusion/"):
            assert display["Topic"]["Durability Policy"] == "Transient Local"


def test_rviz_fixed_frame_is_the_default_global_frame():
    fixed_frame = rviz_displays()["Global Options"]["Fixed Frame"]
    assert fixed_frame == FusionNodeConfig().global_frame


def test_playback_keeps_static_transforms_for_late_joiners():
    override = yaml.safe_load((ROOT / "config" / "tf_static_qos.yaml").read_text())
    assert override["/tf_static"]["durability"] == "transient_local"
