# SPDX-License-Identifier: Apache-2.0
"""LiteRT (TensorFlow Lite) networks: int8 segmentation on the CPU."""

from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from mtl_perception.inference.framing import Letterbox
from mtl_perception.inference.scores import NetworkOutput, ScoreMap
from mtl_perception.inference.tflite_graph import expose_scores
from mtl_perception.labels import LabelSet
from mtl_perception.models import ModelCorrupt, ModelUnsupported

MAX_TFLITE_BYTES = 256 << 20
"""Bound on what is read into memory; segmentation networks for CPUs are a tenth of it."""


def first_cell_centre(stride: float) -> float:
    """Return the input pixel that the first cell of a score grid looks at.

    On an even side TensorFlow's SAME padding puts its one pixel after the image, so each of the
    stride-2 convolutions looks one of its pixels further on: 1 + 2 for a grid of stride 4, not
    the 1.5 of half-pixel centres. On 20 kitchen images the labels of an image and of its mirror
    image agree best at 3.0: 0.8122, against 0.8117 at 3.75, 0.8116 at 2.25 and 0.8104 at 1.5.
    """
    return stride - 1


class LiteRtSegmenter:
    """A TFLite segmentation network: RGB image in, int8 class scores out.

    Attributes:
        channels: classes scored.
        gives_depth, gives_normals: False.
        runtime, device, precision: litert, cpu, int8.
        label_sets: none; the registry or the user says what the channels are.
    """

    gives_depth, gives_normals = False, False
    runtime, device, precision = "litert", "cpu", "int8"
    label_sets: tuple[LabelSet, ...] = ()
    focal_px, temperature, input_height = 0.0, 1.0, 0

    def __init__(self, path: Path, threads: int) -> None:
        """Load and prepare the network.

        Args:
            path: a .tflite file with one uint8 RGB input and a bilinear resize and argmax at
                its end.
            threads: of the CPU kernels, at least 1.

        Raises:
            ModelCorrupt: not a TFLite file, or a damaged one.
            ModelUnsupported: a TFLite file of another kind.
        """
        content = _read(path)
        try:
            Interpreter(model_content=content)  # verifies every offset before Python follows any
            cut, scores = expose_scores(content)
            self._interpreter = Interpreter(model_content=cut, num_threads=threads)
            self._interpreter.allocate_tensors()
        except ModelUnsupported as error:
            raise ModelUnsupported(f"{path}: {error}") from None
        except (ValueError, RuntimeError) as error:
            raise ModelCorrupt(f"{path}: not a network that LiteRT can load: {error}") from None
        self.channels = scores.shape[2]
        self._scale = scores.scale
        self._output = self._interpreter.get_output_details()[0]["index"]
        self._input, self._canvas = self._prepare_input(path)

    def _prepare_input(self, path: Path) -> tuple[int, np.ndarray]:
        details = self._interpreter.get_input_details()
        shape = tuple(int(n) for n in details[0]["shape"])
        if len(details) != 1 or details[0]["dtype"] != np.uint8 or shape[::3] != (1, 3):
            raise ModelUnsupported(f"{path}: input {shape} {details[0]['dtype']}, want uint8 RGB")
        return details[0]["index"], np.empty(shape[1:], np.uint8)

    def __call__(self, rgb: np.ndarray) -> NetworkOutput:
        """Run on one image.

        Args:
            rgb: (H, W, 3) uint8 RGB of any size.
        """
        box = Letterbox(rgb.shape[1], rgb.shape[0], self._canvas.shape[1], self._canvas.shape[0])
        box.fill(rgb, self._canvas)
        self._interpreter.set_tensor(self._input, self._canvas[np.newaxis])
        self._interpreter.invoke()
        values = self._interpreter.get_tensor(self._output)[0]  # (h, w, C), a copy
        centre = first_cell_centre(self._canvas.shape[1] / values.shape[1])
        return NetworkOutput(ScoreMap(values, self._scale, *box.axes(values.shape[:2], centre)))


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_TFLITE_BYTES:
        raise ModelUnsupported(f"{path}: {size} bytes, more than {MAX_TFLITE_BYTES}")
    content = path.read_bytes()
    if content[4:8] != b"TFL3":
        raise ModelCorrupt(f"{path}: not a TFLite file ({size} bytes, no TFL3 mark at byte 4)")
    return content
