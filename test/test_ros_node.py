# SPDX-License-Identifier: Apache-2.0
"""A node's parameters, log, and life from start to clean stop."""

import logging
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass, field

import pytest

from mtl_perception.conventions import InvalidInput
from slam_fusion.live.processes import private_environment

rclpy = pytest.importorskip("rclpy", reason="needs rclpy")
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from mtl_perception import ros  # noqa: E402

SPAWN = multiprocessing.get_context("spawn")  # children start with a fresh middleware


@pytest.fixture(scope="module", autouse=True)
def private_domain():
    """Nothing leaves this machine, and parallel runs do not meet."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in private_environment().items():
            patch.setenv(name, value)
        yield


@pytest.fixture
def make_node():
    """Make a node with parameter overrides, as a parameter file would give them."""
    rclpy.init(args=[])
    nodes = []

    def make(**overrides):
        overrides = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(Node("adapter_test", parameter_overrides=overrides))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()


@dataclass(frozen=True)
class FakeConfig:
    voxel_size: float = 0.04
    queue_size: int = 10
    frame: str = "odom"
    paused: bool = False
    ignored: list[str] = field(default_factory=list)
    heights: tuple[float, ...] = (0.1, 1.5)

    def __post_init__(self):
        if self.voxel_size <= 0:
            raise InvalidInput(f"voxel_size {self.voxel_size} must be positive")


@dataclass(frozen=True)
class OtherConfig:
    frame: str = "odom"
    rate: float = 1.0


def test_parameters_default_to_the_dataclass(make_node):
    node = make_node()
    assert ros.declare(node, FakeConfig) == FakeConfig()
    assert node.get_parameter("voxel_size").value == 0.04


def test_parameters_override_the_dataclass(make_node):
    node = make_node(
        voxel_size=1, queue_size=3, ignored=["person", "car"], heights=[1, 2], use_sim_time=True
    )
    config = ros.declare(node, FakeConfig)
    assert config == FakeConfig(1.0, 3, ignored=["person", "car"], heights=(1.0, 2.0))
    assert isinstance(config.voxel_size, float)


def test_an_empty_list_may_be_given(make_node):
    assert ros.declare(make_node(heights=[]), FakeConfig).heights == ()


def test_a_misspelt_parameter_is_named_with_the_near_one(make_node):
    with pytest.raises(InvalidInput, match=r"'voxelsize': did you mean voxel_size\?"):
        ros.declare(make_node(voxelsize=0.02), FakeConfig)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"voxel_size": "small"}, "voxel_size: want float, got str 'small'"),
        ({"voxel_size": True}, "voxel_size: want float, got bool"),
        ({"queue_size": 2.5}, "queue_size: want int, got float 2.5"),
        ({"ignored": "person"}, "ignored: want a list"),
        ({"ignored": [1, 2]}, "ignored: want str, got int"),
        ({"voxel_size": -1.0}, "voxel_size -1.0 must be positive"),
    ],
)
def test_values_that_do_not_fit_are_named(make_node, overrides, message):
    with pytest.raises(InvalidInput, match=message):
        ros.declare(make_node(**overrides), FakeConfig)


def test_two_dataclasses_share_a_node(make_node):
    node = make_node(frame="map", rate=2)
    assert ros.declare_all(node, FakeConfig, OtherConfig) == (
        FakeConfig(frame="map"),
        OtherConfig("map", 2.0),
    )


def test_parameters_cannot_change_unnoticed(make_node):
    node = make_node()
    ros.declare(node, FakeConfig)
    (result,) = node.set_parameters([Parameter("voxel_size", value=0.1)])
    assert not result.successful


def test_core_log_reaches_the_node_once_at_every_level(make_node, capfd):
    node = make_node()
    ros.forward_logging(node)
    ros.forward_logging(node)
    core = logging.getLogger("slam_fusion.some_module")
    for _ in range(2):
        core.info("five %s", "blocks")
        core.warning("one frame late")
        core.error("volume full")
        core.debug("not wanted")
    lines = [line for line in capfd.readouterr().err.splitlines() if "[adapter_test]" in line]
    assert [line.split("]: ")[1] for line in lines] == [
        "five blocks",
        "one frame late",
        "volume full",
    ] * 2
    assert "[INFO]" in lines[0] and "[WARN]" in lines[1] and "[ERROR]" in lines[2]


def test_a_message_that_the_middleware_refuses_is_counted(make_node, caplog):
    node = make_node()
    keep_all = QoSProfile(history=HistoryPolicy.KEEP_ALL, reliability=ReliabilityPolicy.RELIABLE)
    publisher = node.create_publisher(String, "flooded", keep_all)
    node.create_subscription(String, "flooded", lambda _: None, keep_all)
    before = ros.PUBLISH_FAILURES["/flooded"]
    refused_at = next(i for i in range(50_000) if not ros.publish(publisher, String()))
    assert refused_at > 0
    assert ros.PUBLISH_FAILURES["/flooded"] == before + 1
    assert "could not publish on /flooded (1 so far)" in caplog.text


# A node's life, in processes of their own.


class IdleNode(Node):
    """Tells when it lives, and takes its time to shut down."""

    def __init__(self, pipe):
        super().__init__("idle")
        self.pipe = pipe
        self.publisher = self.create_publisher(String, "last", ros.LATCHED)
        self.timer = self.create_timer(0.01, self.on_timer)

    def on_timer(self):
        self.timer.cancel()
        self.pipe.send("spinning")

    def on_shutdown(self):
        self.pipe.send("saving")
        time.sleep(0.5)
        published = ros.publish(self.publisher, String(data="bye"))
        self.pipe.send("saved" if published else "could not publish")


class ShutdownNode(IdleNode):
    """Ends its own context, as an embedding program might."""

    def on_timer(self):
        rclpy.shutdown()

    def on_shutdown(self):
        self.pipe.send("saved")


class BrokenNode(IdleNode):
    """Has a bug in a callback."""

    def on_timer(self):
        raise RuntimeError("a bug")

    def on_shutdown(self):
        self.pipe.send("saved")


class RefusingNode(Node):
    """Cannot start: its parameters are wrong."""

    def __init__(self, pipe):
        super().__init__("refusing")
        ros.declare(self, FakeConfig)


class SlowNode(IdleNode):
    """Takes long to start."""

    def __init__(self, pipe):
        super().__init__(pipe)
        pipe.send("starting")
        time.sleep(30)


def run_node(node_type, pipe, args):
    raise SystemExit(ros.spin(lambda: node_type(pipe), args))


def start(node_type, args=()):
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=run_node, args=(node_type, theirs, args), daemon=True)
    process.start()
    return process, ours


def receive(pipe):
    assert pipe.poll(30), "the node said nothing for 30 s"
    return pipe.recv()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_does_not_cut_the_clean_up(number):
    process, pipe = start(IdleNode)
    assert receive(pipe) == "spinning"
    os.kill(process.pid, number)
    assert receive(pipe) == "saving"
    os.kill(process.pid, number)
    os.kill(process.pid, number)
    assert receive(pipe) == "saved"
    process.join(30)
    assert process.exitcode == 0


def test_a_signal_while_starting_stops_the_start():
    process, pipe = start(SlowNode)
    assert receive(pipe) == "starting"
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 130


def test_an_external_shutdown_is_a_clean_end():
    process, pipe = start(ShutdownNode)
    assert receive(pipe) == "saved"
    process.join(30)
    assert process.exitcode == 0


def test_a_bug_in_a_callback_is_shown_after_the_clean_up(capfd):
    process, pipe = start(BrokenNode)
    assert receive(pipe) == "saved"
    process.join(30)
    assert process.exitcode == 1
    assert "RuntimeError: a bug" in capfd.readouterr().err


class ListNode(Node):
    """Tells what lists it was given."""

    def __init__(self, pipe):
        super().__init__("lists")
        config = ros.declare(self, FakeConfig)
        pipe.send((config.ignored, config.heights))
        rclpy.shutdown()


def test_an_empty_list_in_a_parameter_file_is_empty(tmp_path):
    file = tmp_path / "lists.yaml"
    file.write_text("/**: {ros__parameters: {ignored: [], heights: []}}\n")
    process, pipe = start(ListNode, ["--ros-args", "--params-file", str(file)])
    assert receive(pipe) == ([], ())
    process.join(30)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["-p", "voxel_size:=-1.0"], "voxel_size -1.0 must be positive"),
        (["-p", "voxel:=1.0"], "did you mean voxel_size?"),
        (["--params-file", "no_such.yaml"], "no_such.yaml"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_bad_parameters_end_the_start_in_one_line(args, message, capfd):
    process, _ = start(RefusingNode, ["--ros-args", *args])
    process.join(30)
    assert process.exitcode == 2
    error = capfd.readouterr().err
    (line,) = [line for line in error.splitlines() if "[FATAL]" in line]
    assert message in line
    assert "Traceback" not in error
