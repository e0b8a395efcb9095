# SPDX-License-Identifier: Apache-2.0
"""Exported .onnx networks, run by ONNX Runtime: needs no torch, and is faster on CPUs."""

from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

from mtl_perception.conventions import InvalidInput
from mtl_perception.inference.dense_outputs import (
    MEAN,
    MIN_SIDE,
    READ,
    STD,
    check_size,
    check_tasks,
    to_output,
)
from mtl_perception.inference.scores import NetworkOutput
from mtl_perception.models import ModelCorrupt, ModelUnsupported
from mtl_perception.networks.checkpoint_metadata import NetworkMetadata

MAX_ONNX_BYTES = 1 << 30
"""Bound on what is read into memory; the largest network here takes 0.6 GB."""

# UnicodeDecodeError: a message of its own that quotes a damaged name.
_FAILURES = (
    UnicodeDecodeError,
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxNetwork:
    """A joint network: RGB image in, scores, depth and normals out.

    Attributes:
        channels: classes scored, over all label sets.
        gives_depth, gives_normals: whether it has those heads.
        runtime, device, precision: onnx, where it runs, fp32.
        label_sets: meaning of the channels, one set behind the other.
        focal_px, temperature, input_height: what the file says of itself.
    """

    runtime, precision = "onnx", "fp32"

    def __init__(self, path: Path, device: str, precision: str, threads: int) -> None:
        """Load a file that ``networks.export`` wrote.

        Args:
            path: the .onnx file.
            device: auto (cuda where ONNX Runtime has it), cpu, cuda.
            precision: auto, fp32.
            threads: of the CPU kernels.

        Raises:
            ModelCorrupt: too large, or not an ONNX file that ONNX Runtime can load.
            ModelUnsupported: no such device or precision, or not a network of ours.
        """
        if precision not in ("auto", "fp32"):
            raise ModelUnsupported(f"{path}: precision {precision!r}; ONNX Runtime has auto, fp32")
        self._path = path
        provider = _provider(device, path)
        self._session = _open(path, provider, threads)
        self.device = next(name for name, found in PROVIDERS.items() if found == provider)
        try:
            strings = self._session.get_modelmeta().custom_metadata_map
            metadata = NetworkMetadata.from_strings(strings)
            channels = _channels(self._session, path)
        except UnicodeDecodeError as error:
            raise ModelCorrupt(f"{path}: damaged names: {error}") from None
        except InvalidInput as error:
            raise ModelUnsupported(f"{path}: {error}") from None
        check_tasks(channels, path)
        self.label_sets = metadata.label_sets
        self.focal_px, self.temperature = metadata.focal_px, metadata.temperature
        self.input_height = metadata.input_height
        self.channels = channels["labels"]
        self.gives_depth, self.gives_normals = "depth" in channels, "normals" in channels
        levels = np.arange(256, dtype=np.float32)[:, np.newaxis] / 255
        mean, std = np.array(MEAN, np.float32), np.array(STD, np.float32)
        self._tables = ((levels - mean) / std).T.copy()  # (3, 256)
        self._wanted = [task for task in READ if task in channels]
        # A graph that cannot run is found now, not at the first image.
        self(np.zeros((2 * MIN_SIDE, 2 * MIN_SIDE, 3), np.uint8))

    def __call__(self, rgb: np.ndarray) -> NetworkOutput:
        """Run on one image.

        Args:
            rgb: (H, W, 3) uint8 RGB.

        Raises:
            InvalidInput: an image too small or too large.
            ModelUnsupported: the graph contradicts itself, or its scores are not finite.
        """
        check_size(rgb)
        x = np.empty((1, 3, *rgb.shape[:2]), np.float32)
        for plane, table, target in zip(cv2.split(rgb), self._tables, x[0], strict=True):
            cv2.LUT(plane, table, target)
        try:
            maps = self._session.run(self._wanted, {"images": x})
        except _FAILURES as error:
            raise ModelUnsupported(f"{self._path}: fails on {x.shape}: {error}") from None
        named = zip(self._wanted, maps, strict=True)
        return to_output({task: values[0] for task, values in named}, rgb.shape[:2])


def _channels(session: onnxruntime.InferenceSession, path: Path) -> dict[str, int]:
    """Return the channels of each task; refuse a graph with another input than an image."""
    inputs = [(x.name, x.type, x.shape[:2]) for x in session.get_inputs()]
    if inputs != [("images", "tensor(float)", [1, 3])]:
        raise ModelUnsupported(f"{path}: inputs {inputs}, want images (1, 3, H, W) float32")
    channels = {}
    for output in session.get_outputs():
        if len(output.shape) != 4 or not isinstance(output.shape[1], int):
            raise ModelUnsupported(f"{path}: {output.name} is {output.shape}, want (1, C, h, w)")
        channels[output.name] = output.shape[1]
    return channels


def _provider(device: str, path: Path) -> str:
    here = onnxruntime.get_available_providers()
    if device == "auto":
        return PROVIDERS["cuda"] if PROVIDERS["cuda"] in here else PROVIDERS["cpu"]
    if PROVIDERS.get(device) not in here:
        raise ModelUnsupported(f"{path}: device {device!r}; ONNX Runtime has {', '.join(here)}")
    return PROVIDERS[device]


def _open(path: Path, provider: str, threads: int) -> onnxruntime.InferenceSession:
    size = path.stat().st_size
    if size > MAX_ONNX_BYTES:
        raise ModelCorrupt(f"{path}: {size} bytes; ONNX files above {MAX_ONNX_BYTES} are refused")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that spin while they wait take the cores from what follows: measured on two cores, the
    # whole call is 2 ms faster without and takes 24 ms less of the CPU, the network takes as long.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # what it warns of while optimising is not for the user
    try:
        # From memory, so that a file cannot name others as its weights.
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=[provider])
    except _FAILURES as error:
        raise ModelCorrupt(f"{path}: ONNX Runtime cannot load it: {error}") from None
