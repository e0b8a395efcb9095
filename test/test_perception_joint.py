# SPDX-License-Identifier: Apache-2.0
"""A joint network in the perception node, over DDS: cameras of all sizes, and other networks."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy wheels or a ROS install)")
for module in ("torch", "safetensors"):
    pytest.importorskip(module, reason=f"needs {module}: see docs/installation.md")

from joint_networks import FOCAL_PX, save_indoor, save_outdoor  # noqa: E402
from perception_reader import FRAME, START_NS, Reader  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from mtl_perception import ros  # noqa: E402
from mtl_perception.conventions import Intrinsics  # noqa: E402
from mtl_perception.labels import LABEL_SETS, LabelSet  # noqa: E402
from mtl_perception.predictor import Prediction, Predictor, PredictorConfig  # noqa: E402
from slam_fusion.live.processes import (  # noqa: E402
    NodeProcesses,
    NodeSpec,
    node_environment,
    private_environment,
)


@pytest.fixture(scope="module", autouse=True)
def private_ros() -> Iterator[None]:
    """Keep this file's topics away from other ROS traffic."""
    keep = dict(os.environ)
    os.environ.update(node_environment() | private_environment())
    yield
    os.environ.clear()
    os.environ.update(keep)


@pytest.fixture(scope="module")
def indoor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_indoor(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def outdoor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_outdoor(tmp_path_factory.mktemp("models"))


class Camera(Reader):
    """A camera with CameraInfo, and a listener to all that a joint network gives."""

    def __init__(self) -> None:
        super().__init__("/image", Image)
        self.info = self.node.create_publisher(CameraInfo, "/camera_info", ros.RELIABLE)
        self.listen(Image, "/perception/depth/image")
        self.listen(CameraInfo, "/perception/depth/camera_info")
        self.listen(Image, "/perception/normals")
        self.listen(Image, "/perception/semantic/mask")
        self.stamp_ns = START_NS

    def take(
        self, rgb: np.ndarray, info: CameraInfo | None, *names: str, patience_s: float = 0.05
    ) -> dict[str, object]:
        """What comes for an image, by the last part of its topic's name.

        Waits for labels, confidence and ``names``, and ``patience_s`` for whatever else may come.
        """
        self.stamp_ns += 1
        header = ros.make_header(self.stamp_ns, FRAME)
        if info is not None:
            info.header = ros.make_header(self.stamp_ns - 10**9, "elsewhere")
            self.info.publish(info)
        self.ask(ros.image_to_msg(rgb, header))

        def answer() -> dict[str, object]:
            of_image = {
                name: [m for m in messages if getattr(m, "header", None) == header]
                for name, messages in self.received.items()
            }
            return {name: messages[0] for name, messages in of_image.items() if messages}

        self.spin_until(lambda: set(names) <= set(answer()), f"all of {names}")
        end = time.monotonic() + patience_s
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)
        return answer()


class Setup:
    """The node's log, and what stands in front of it."""

    def __init__(self, camera: Camera, log: Path) -> None:
        self.camera, self.log = camera, log


@pytest.fixture(scope="module")
def camera(setup: Setup) -> Camera:
    return setup.camera


@pytest.fixture(scope="module")
def setup(indoor: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    """In front of a node that runs the indoor network."""
    reader, folder = Camera(), tmp_path_factory.mktemp("log")
    parameters = {
        "model": str(indoor),
        "mask_classes": ["chair", "sofa"],
        "label_encoding": "16SC1",
    }
    with NodeProcesses({}, folder) as nodes:
        nodes.start(NodeSpec("perception", parameters))
        reader.connect()
        reader.spin_until(lambda: reader.info.get_subscription_count() > 0, "camera_info")
        # Discovery reaches the node a moment after it reaches us.
        wanted = {"labels", "image", "normals", "mask"}
        rgb = np.zeros((48, 64, 3), np.uint8)
        reader.spin_until(
            lambda: wanted <= set(reader.take(rgb, None, patience_s=0.5)), "all topics"
        )
        yield Setup(reader, folder / "perception.log")
        log = (folder / "perception.log").read_text()
        assert nodes.stop() == {"perception": 0}, log
        assert "Traceback" not in log, log
    reader.close()


@pytest.fixture(scope="module")
def predictor(indoor: Path) -> Predictor:
    return Predictor(PredictorConfig(model=str(indoor)))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Coarse patches of colour, as (H, W, 3) uint8."""
    patches = np.random.default_rng(seed).integers(0, 256, (height // 16 + 1, width // 16 + 1, 3))
    return np.kron(patches, np.ones((16, 16, 1))).astype(np.uint8)[:height, :width].copy()


def info_of(height: int, width: int, fx: float) -> CameraInfo:
    camera = Intrinsics(width, height, fx, fx * 1.01, width / 2, height / 2)
    return ros.camera_info_to_msg(camera, ros.make_header(0, ""))


def assert_is(answer: dict[str, object], expected: Prediction) -> None:
    """The node's process may sum in another order than this one."""
    assert answer["labels"].encoding == "16SC1"
    labels = ros.labels_from_msg(answer["labels"])
    assert (labels == expected.labels).mean() > 0.999
    depth = ros.depth_from_msg(answer["image"])
    np.testing.assert_allclose(depth, expected.depth, rtol=1e-3, atol=1e-3)


def test_a_camera_without_camera_info_is_told_once(setup: Setup, predictor: Predictor) -> None:
    """First of the tests that use this node: the others send CameraInfo."""
    camera, rgb = setup.camera, picture(96, 128)
    for report in range(3):
        answer = camera.take(rgb, None, "image")
        assert "no camera_info" in camera.fresh_status().message, report
    assert_is(answer, predictor(rgb))
    assert "camera_info" not in answer
    assert setup.log.read_text().count("depth has no camera_info") == 1


@pytest.mark.parametrize("size", [(720, 1280), (240, 424), (361, 641)])
def test_outputs_are_of_the_images_size_whatever_it_is(
    camera: Camera, predictor: Predictor, size: tuple[int, int]
) -> None:
    rgb, info = picture(*size), info_of(*size, fx=700.0)
    names = ("labels", "confidence", "image", "normals", "mask", "camera_info")
    answer = camera.take(rgb, info, *names)
    for name in names:
        assert (answer[name].height, answer[name].width) == size, name
    expected = predictor(rgb, 700.0)
    assert_is(answer, expected)
    info.header = answer["labels"].header
    assert answer["camera_info"] == info
    normals = np.frombuffer(answer["normals"].data, np.float32).reshape(*size, 3)
    assert answer["normals"].encoding == "32FC3"
    np.testing.assert_allclose(normals, expected.normals, atol=1e-2)
    labels = ros.labels_from_msg(answer["labels"])
    nyu40 = LABEL_SETS["nyu40"]
    is_seat = np.isin(labels, [nyu40.id_of("chair"), nyu40.id_of("sofa")])
    np.testing.assert_array_equal(ros.labels_from_msg(answer["mask"]), is_seat * 255)


def test_depth_is_metric_for_the_camera_that_took_the_image(
    camera: Camera, predictor: Predictor
) -> None:
    """The same picture through a lens of twice the focal length shows things twice as far."""
    rgb = picture(96, 128)
    near = ros.depth_from_msg(camera.take(rgb, info_of(96, 128, 300.0), "image")["image"])
    far = ros.depth_from_msg(camera.take(rgb, info_of(96, 128, 600.0), "image")["image"])
    np.testing.assert_allclose(far, 2 * near, rtol=1e-4)
    np.testing.assert_allclose(near, predictor(rgb).depth * 300 / FOCAL_PX, rtol=1e-3, atol=1e-4)


def test_a_window_of_the_sensor_with_binning_is_a_camera_of_its_own(
    camera: Camera, predictor: Predictor
) -> None:
    info = info_of(400, 600, 800.0)
    info.roi = RegionOfInterest(x_offset=40, y_offset=20, width=256, height=192)
    info.binning_x = info.binning_y = 2
    rgb = picture(96, 128)
    answer = camera.take(rgb, info, "image", "camera_info")
    assert_is(answer, predictor(rgb, 400.0))
    sent = ros.intrinsics_from_msg(answer["camera_info"])
    assert sent == Intrinsics(128, 96, 400.0, 404.0, (300 - 40) / 2, (200 - 20) / 2)


def test_a_camera_info_of_another_size_is_told_and_not_used(
    camera: Camera, predictor: Predictor
) -> None:
    rgb = picture(96, 128)
    answer = camera.take(rgb, info_of(192, 256, 300.0), "image")
    assert "camera_info" not in answer
    assert_is(answer, predictor(rgb))
    problem = "camera_info is of 256x192 images, the image is 128x96"
    camera.spin_until(lambda: problem in camera.status().message, "the report")
    camera.take(rgb, info_of(96, 128, 300.0))
    camera.spin_until(lambda: camera.status().message == "OK", "the end of it")


def test_an_image_too_small_for_the_network_is_a_counted_drop(camera: Camera) -> None:
    header = ros.make_header(camera.stamp_ns, FRAME)
    camera.camera.publish(ros.image_to_msg(picture(16, 16), header))
    camera.spin_until(lambda: camera.values().get("dropped/bad_image") == "1", "the drop")


def test_diagnostics_name_what_runs_and_on_what(camera: Camera, indoor: Path) -> None:
    values = camera.fresh_values()
    assert values["model"] == str(indoor) and values["label_set"] == "nyu40"
    assert all(values[name] for name in ("runtime", "device", "precision"))
    cpu_info = Path("/proc/cpuinfo").read_text()
    assert (
        values["device"] != "cpu"
        or "model name" not in cpu_info
        or (camera.status().hardware_id in cpu_info)
    )


def latched_label_set(camera: Camera) -> LabelSet:
    """What somebody who comes now gets."""
    camera.listen(String, "/perception/label_set", ros.LATCHED)
    camera.spin_until(lambda: bool(camera.received["label_set"]), "the label set")
    return LabelSet.from_json(camera.received["label_set"][0].data)


def test_what_cannot_be_is_refused_at_once_with_the_reason(camera: Camera, indoor: Path) -> None:
    for values, reason in (
        ({"model": "/no/such/file.onnx"}, "no model called '/no/such/file.onnx'"),
        ({"label_set": "nyu41"}, "no label set 'nyu41' (did you mean 'nyu40'?)"),
        ({"temperature": -1.0}, "temperature -1.0"),
        ({"temperature": "hot"}, "temperature: want float, got str 'hot'"),
        ({"model": "", "temperature": 2.0}, "no model called ''"),
        ({"queue_depth": 3}, "read-only"),
        ({"mask_classes": None}, "mask_classes cannot be deleted"),
        ({"model": None}, "model cannot be deleted"),
    ):
        result = camera.set_parameters(**values)  # None deletes
        assert not result.successful and reason in result.reason, (values, result.reason)
    assert camera.parameter("model") == str(indoor)
    assert camera.parameter("temperature") == 1.0


def test_a_file_that_cannot_be_loaded_leaves_the_old_network_and_its_parameters(
    camera: Camera, predictor: Predictor, indoor: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(indoor.read_bytes()[:-1000])
    assert camera.set_parameters(model=str(broken), temperature=2.0).successful
    camera.spin_until(lambda: "broken.safetensors" in camera.status().message, "the report")
    assert f"not loaded: {broken}" in camera.status().message
    assert camera.parameter("model") == str(indoor) and camera.parameter("temperature") == 1.0
    rgb = picture(96, 128)
    assert_is(camera.take(rgb, info_of(96, 128, FOCAL_PX), "image"), predictor(rgb))
    assert camera.fresh_values()["model"] == str(indoor)


def test_a_network_without_the_masks_classes_is_not_loaded(camera: Camera, outdoor: Path) -> None:
    assert camera.set_parameters(model=str(outdoor)).successful
    problem = "label set 'kitti6' has no class 'chair'"
    camera.spin_until(lambda: problem in camera.status().message, "the report")


def test_labels_are_remapped_when_the_parameter_says_so(camera: Camera, indoor: Path) -> None:
    """The mask's classes are in both sets."""
    assert camera.set_parameters(label_set="nyu13", confidence_threshold=0.3).successful
    camera.spin_until(lambda: camera.values().get("label_set") == "nyu13", "the new network")
    assert latched_label_set(camera) == LABEL_SETS["nyu13"]
    config = PredictorConfig(model=str(indoor), label_set="nyu13", confidence_threshold=0.3)
    rgb = picture(96, 128)
    assert_is(camera.take(rgb, info_of(96, 128, FOCAL_PX), "image"), Predictor(config)(rgb))


def test_another_network_brings_its_classes_and_topics(camera: Camera, outdoor: Path) -> None:
    """Last of the tests that use this node: it runs another network now."""
    values = {"label_set": "", "confidence_threshold": 0.0, "mask_classes": ["car"]}
    assert camera.set_parameters(model=str(outdoor), **values).successful
    camera.spin_until(lambda: camera.values().get("model") == str(outdoor), "the swap")
    assert latched_label_set(camera) == LABEL_SETS["kitti6"]
    camera.spin_until(lambda: not camera.node.count_publishers("/perception/normals"), "its end")
    rgb = picture(96, 128)
    answer = camera.take(rgb, info_of(96, 128, 300.0), "image", "mask")
    assert_is(answer, Predictor(PredictorConfig(model=str(outdoor)))(rgb))
    is_car = ros.labels_from_msg(answer["labels"]) == LABEL_SETS["kitti6"].id_of("car")
    np.testing.assert_array_equal(ros.labels_from_msg(answer["mask"]), is_car * 255)
    assert "normals" not in answer
