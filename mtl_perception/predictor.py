# SPDX-License-Identifier: Apache-2.0
"""RGB image in, class ids, confidence and (where the network has it) depth out."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mtl_perception.conventions import MAX_IMAGE_SIDE, InvalidInput, check_color
from mtl_perception.inference.framing import at_height
from mtl_perception.inference.post_processing import CoarseReader
from mtl_perception.inference.runtimes import open_network
from mtl_perception.inference.scores import Decision, Reader, ReadingNetwork
from mtl_perception.labels import LabelSet, load_label_set, remap_table
from mtl_perception.models import ModelUnsupported, entry_of_file, find_model
from mtl_perception.prediction import Prediction

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictorConfig:
    """Which network runs, where, and how its scores become labels."""

    model: str = "rooms-kitchen"  # name in models.MODELS, or a file
    device: str = "auto"  # auto, cpu, cuda
    precision: str = "auto"  # auto, or what the file's runtime has: int8, fp32, bf16, fp16
    runtime: str = "auto"  # auto: the fastest installed; or litert, onnx, openvino, cuda, tensorrt,
    # torch, torch-eager, torch-compile
    threads: int = 2  # CPU threads; 0 = one for each core
    label_set: str = ""  # set of the labels that come out; "" = the network's own. For a file that
    # does not say it, nor the registry: the set its channels are in
    temperature: float = 1.0  # scores are divided by it, and by the file's own, which calibrates
    # them: above 1 lowers the confidence
    confidence_threshold: float = 0.0  # pixels less certain than this become unlabelled
    input_height: int = 0  # rows of the image that the network sees, aspect kept; 0 = what its file
    # says, else the image's own

    def __post_init__(self) -> None:
        """Refuse numbers that no predictor can have.

        Raises:
            InvalidInput: names the field and its value.
        """
        if not 0 <= self.threads <= 256:
            raise InvalidInput(f"threads {self.threads} is not in 0..256")
        if not 0.01 <= self.temperature <= 100:
            raise InvalidInput(f"temperature {self.temperature} is not in 0.01..100")
        if not 0 <= self.confidence_threshold <= 1:
            raise InvalidInput(
                f"confidence_threshold {self.confidence_threshold} is not in 0..1: it is a "
                "probability"
            )
        if not 0 <= self.input_height <= MAX_IMAGE_SIDE:
            raise InvalidInput(f"input_height {self.input_height} is not in 0..{MAX_IMAGE_SIDE}")


class Predictor:
    """A network behind one call; calls from several threads take turns.

    Attributes:
        label_set: classes of the labels that come out.
        gives_depth, gives_normals: whether ``Prediction.depth`` and ``.normals`` are there.
        runtime, device, precision: what runs the network and where: see ``scores.Network``.
    """

    def __init__(self, config: PredictorConfig) -> None:
        """Find, verify and load the network.

        Raises:
            ModelMissing, ModelCorrupt, ModelUnsupported: see ``models``.
            InvalidInput: no such label set.
        """
        path = find_model(config.model)
        entry = entry_of_file(path)
        if entry is not None and entry.terms:
            logger.warning("model %s is %s", entry.name, entry.terms)
        threads = config.threads or os.cpu_count() or 1
        self._network = open_network(
            path, entry, config.device, config.precision, threads, config.runtime
        )
        self.gives_depth = self._network.gives_depth
        self.gives_normals = self._network.gives_normals
        self.runtime, self.device = self._network.runtime, self._network.device
        self.precision = self._network.precision
        own = self._network.label_sets
        if not own and entry is not None:
            own = (load_label_set(entry.label_set),)
        channels, chosen, self.label_set = _choose(own, config.label_set, path)
        said = sum(map(len, own or (channels,)))
        if said != self._network.channels:
            raise ModelUnsupported(
                f"{path}: scores {self._network.channels} classes, but label set "
                f"{channels.name!r} has {said}"
            )
        self._input_height = config.input_height or self._network.input_height
        decision = Decision(
            _channel_labels(channels, self.label_set),
            chosen,
            config.temperature * self._network.temperature,
            config.confidence_threshold,
        )
        if isinstance(self._network, ReadingNetwork):
            self._read: Reader = self._network.reader(decision)
        else:
            self._read = CoarseReader(self._network, decision, threads)
        logger.info("%s: %d classes, %d threads", path, len(channels), threads)

    def warm_up(self, shape: tuple[int, int] = (480, 640)) -> None:
        """Run once on a black (H, W) image, so that the first real one is not the slow one."""
        self(np.zeros((*shape, 3), np.uint8))

    def __call__(self, rgb: np.ndarray, focal_px: float | None = None) -> Prediction:
        """Label one image.

        Args:
            rgb: (H, W, 3) uint8 RGB of any size.
            focal_px: fx of its camera. A network that was trained for one camera, as files of
                our own say, sees the rooms of another too near or too far by the ratio of their
                focal lengths; told it, its depth is in metres. None: taken for that camera.

        Raises:
            InvalidInput: not such an image, of a size that the network does not take, or a focal
                length that no camera has.
        """
        check_color(rgb, "rgb")
        if max(rgb.shape) > MAX_IMAGE_SIDE:
            raise InvalidInput(
                f"rgb: {rgb.shape[1]}x{rgb.shape[0]} image, want sides of up to {MAX_IMAGE_SIDE}"
            )
        if focal_px is not None and not (math.isfinite(focal_px) and focal_px > 0):
            raise InvalidInput(f"focal_px {focal_px}: want pixels above 0")
        resized = at_height(rgb, self._input_height or rgb.shape[0])
        zoom = resized.shape[1] / rgb.shape[1]
        return self._read(resized, rgb.shape[:2], self._depth_scale(zoom, focal_px))

    def _depth_scale(self, zoom: float, focal_px: float | None) -> float:
        """Return the metres per unit of the network's depth.

        It was trained on depth * canonical / fx with the fx of what it saw, here zoom * focal_px.
        """
        canonical = self._network.focal_px
        if canonical == 0:
            return 1.0
        return zoom * (focal_px or canonical) / canonical


def _choose(
    own: Sequence[LabelSet], wanted: str, path: os.PathLike
) -> tuple[LabelSet, slice, LabelSet]:
    """Return the set that is decided among, its channels, and the set of the labels that come out.

    A network of two data sets scores both; the decision is among the classes of one of them.
    """
    if not own and not wanted:
        raise InvalidInput(
            f"{path} is not in the registry: say with label_set which classes its channels are"
        )
    if len(own) < 2:
        channels = own[0] if own else load_label_set(wanted)
        return channels, slice(None), load_label_set(wanted) if wanted else channels
    start = 0
    for label_set in own:
        if label_set.name == wanted:
            return label_set, slice(start, start + len(label_set)), label_set
        start += len(label_set)
    names = " and ".join(label_set.name for label_set in own)
    raise InvalidInput(f"{path} knows {names}: say with label_set which, not {wanted!r}")


def _channel_labels(channels: LabelSet, wanted: LabelSet) -> np.ndarray:
    """Return the (C,) uint8 wanted label of each channel; channel k is the k-th class by id."""
    ids = np.array([c.id for c in channels.classes], np.uint8)
    return ids if wanted == channels else remap_table(channels, wanted)[ids]
