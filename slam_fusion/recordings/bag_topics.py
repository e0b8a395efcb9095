# SPDX-License-Identifier: Apache-2.0
"""Which topics of a bag hold the camera: found by type, encoding and name, or given by the user."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from slam_fusion.recordings.recording import BadRecording, RecordingOptions

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
CAMERA_INFO_TYPES = ("sensor_msgs/msg/CameraInfo",)
POSE_TYPES = (
    "geometry_msgs/msg/PoseStamped",
    "nav_msgs/msg/Odometry",
    "geometry_msgs/msg/TransformStamped",
)
TF_TYPES = ("tf2_msgs/msg/TFMessage", "tf/msg/tfMessage")
STRING_TYPES = ("std_msgs/msg/String",)

_DEPTH_ENCODINGS = ("16UC1", "32FC1", "mono16")
_ID_ENCODINGS = ("mono8", "8UC1", "16SC1", "32SC1")
_NO_COLOR_ENCODINGS = ("8UC1", "16SC1", "32SC1", "32FC3")
_LABEL_NAMES = ("label", "segm", "semantic")
_NOT_COLOR = ("overlay", "infra", "/ir/", "semantic", "debug", "mask")
_NOT_DEPTH = ("disparity", "infra", "/ir/", "amplitude")


@dataclass(frozen=True)
class ImageTopic:
    """An image topic and the encoding (or compressed format) of its first message."""

    name: str
    encoding: str


@dataclass(frozen=True)
class CameraTopics:
    """The topics that make frames; "" where the bag has none."""

    depth: str
    camera_info: str  # "" when the options give the camera
    color: str = ""
    labels: str = ""
    confidence: str = ""

    def by_kind(self) -> dict[str, str]:
        """Topic by kind of image, depth first, only those that are there."""
        kinds = ("depth", "color", "labels", "confidence")
        return {kind: getattr(self, kind) for kind in kinds if getattr(self, kind)}


def find_topics(
    images: Iterable[ImageTopic], topic_types: Mapping[str, str], options: RecordingOptions
) -> CameraTopics:
    """Choose the topics of one camera.

    Args:
        images: every image topic that has messages.
        topic_types: type by name of every topic that has messages.
        options: topics given by the user win.

    Raises:
        BadRecording: a given topic is not there or given twice, no depth, no CameraInfo, or an
            ambiguous choice; lists the candidates and the option that settles it.
    """
    images = list(images)
    depth = _given(options.depth_topic, "depth_topic", topic_types, IMAGE_TYPES) or _best(
        "depth_topic", [i.name for i in images if _kind(i) == "depth"], _depth_rank
    )
    if not depth:
        listing = ", ".join(f"{i.name} ({i.encoding})" for i in images) or "none"
        raise BadRecording(f"no depth images (16UC1 or 32FC1); image topics: {listing}")
    found = {}
    for kind in ("color", "labels", "confidence"):
        option = f"{kind}_topic"
        candidates = [i.name for i in images if _kind(i) == kind and i.name != depth]
        given = _given(getattr(options, option), option, topic_types, IMAGE_TYPES)
        found[kind] = given or _best(option, candidates, lambda name: _color_rank(name, depth))
    if not found["labels"]:
        found["confidence"] = ""
    chosen = [topic for topic in (depth, *found.values()) if topic]
    if len(set(chosen)) < len(chosen):
        raise BadRecording(f"one topic is given for two kinds of image: {', '.join(chosen)}")
    return CameraTopics(depth, _camera_info(depth, found["color"], topic_types, options), **found)


def find_pose_topic(topic_types: Mapping[str, str], options: RecordingOptions) -> str:
    """Return the pose topic to use: the given one, else the only one of a bag without TF.

    Raises:
        BadRecording: the given one is not there, or several could be meant.
    """
    if given := _given(options.pose_topic, "pose_topic", topic_types, POSE_TYPES):
        return given
    if any(kind in TF_TYPES for kind in topic_types.values()):
        return ""
    return _best("pose_topic", [n for n, k in topic_types.items() if k in POSE_TYPES], lambda _: 0)


def _kind(image: ImageTopic) -> str:
    """Return what an image topic shows: depth, labels, confidence, color, or "" for neither."""
    name, encoding = image.name.lower(), image.encoding
    if "confidence" in name:
        return "confidence"
    is_named_ids = any(word in name for word in _LABEL_NAMES)
    if encoding in _DEPTH_ENCODINGS or _is_depth_png(name, encoding):
        if is_named_ids and encoding in ("16UC1", "mono16"):
            return "labels"
        return "" if any(word in name for word in _NOT_DEPTH) else "depth"
    if is_named_ids and (encoding in _ID_ENCODINGS or "png" in encoding):
        return "labels"
    shows_depth = "depth" in name.split("/")  # a depth image painted in colours
    if encoding in _NO_COLOR_ENCODINGS or shows_depth or any(w in name for w in _NOT_COLOR):
        return ""
    return "color"


def _is_depth_png(name: str, encoding: str) -> bool:
    return "compressedDepth" in encoding or ("png" in encoding and "depth" in name)


def _depth_rank(name: str) -> int:
    """Lower is better: fusion wants depth that is registered to the colour image."""
    registered = any(word in name for word in ("aligned", "registered", "depth_to_"))
    return 2 * (not registered) + _is_compressed(name)


def _color_rank(name: str, depth: str) -> tuple[int, int, int, int]:
    """Lower is better: of the depth's camera, its colour sensor, rectified, not compressed."""
    parts, depth_parts = name.split("/"), depth.split("/")
    shared = 0
    while shared < min(len(parts), len(depth_parts)) and parts[shared] == depth_parts[shared]:
        shared += 1
    is_color_sensor = "rgb" in parts or "color" in parts
    return -shared, -is_color_sensor, -("rect" in name), _is_compressed(name)


def _is_compressed(name: str) -> int:
    return int(name.rsplit("/", 1)[-1].lower().startswith("compressed"))


def _best(option: str, candidates: list[str], rank: Callable[[str], object]) -> str:
    """Return the candidate of the lowest rank, "" when there is none."""
    if not candidates:
        return ""
    ranks = [rank(name) for name in candidates]
    lowest = min(ranks)  # type: ignore[type-var]  # ranks of one call are of one type
    best = [name for name, r in zip(candidates, ranks, strict=True) if r == lowest]
    if len(best) > 1:
        raise BadRecording(
            f"{option} is ambiguous: {', '.join(sorted(best))}; choose one with "
            f"--{option.replace('_', '-')}"
        )
    return best[0]


def _given(topic: str, option: str, topic_types: Mapping[str, str], wanted: tuple[str, ...]) -> str:
    """Check a topic that the user named."""
    if topic and topic_types.get(topic) not in wanted:
        there = ", ".join(sorted(n for n, kind in topic_types.items() if kind in wanted)) or "none"
        raise BadRecording(
            f"--{option.replace('_', '-')} {topic}: not a topic of type {' or '.join(wanted)} "
            f"with messages; there are: {there}"
        )
    return topic


def _camera_info(
    depth: str, color: str, topic_types: Mapping[str, str], options: RecordingOptions
) -> str:
    """CameraInfo of the depth image, else of the colour image that it is registered to."""
    if options.intrinsics:
        return ""
    given = _given(options.camera_info_topic, "camera_info_topic", topic_types, CAMERA_INFO_TYPES)
    if given:
        return given
    infos = sorted(name for name, kind in topic_types.items() if kind in CAMERA_INFO_TYPES)
    for sibling in filter(None, (*_info_names(depth), *_info_names(color))):
        if sibling in infos:
            return sibling
    if len(infos) == 1:
        return infos[0]
    raise BadRecording(
        f"no camera_info belongs to {depth}; choose one with --camera-info-topic "
        f"({', '.join(infos) or 'the recording has none'}) or give --intrinsics fx,fy,cx,cy"
    )


def _info_names(topic: str) -> tuple[str, ...]:
    """Names that the CameraInfo of an image topic may have: its sibling, as ROS wants it."""
    if not topic:
        return ()
    folder, last = topic.rsplit("/", 1)
    if last.lower().startswith("compressed"):  # image_raw/compressed belongs to image_raw
        return _info_names(folder)
    return (f"{folder}/camera_info", f"{topic}/camera_info")
