# SPDX-License-Identifier: Apache-2.0
"""The finest stage of a Nekrasov decoder by a kernel of our own, between two parts of its graph."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from mtl_perception.inference.chain_kernel import TOGETHER, finest_stage
from mtl_perception.inference.crew import Crew
from mtl_perception.inference.framing import spanning
from mtl_perception.inference.lanes import LANES
from mtl_perception.inference.upsample import neighbours_of
from mtl_perception.networks.graph_builder import EXACT_UNTIL
from mtl_perception.networks.nekrasov_config import HEADS
from mtl_perception.networks.nekrasov_graph import COARSE, FACTORS, GAIN, HEAD_INPUT, LATERAL

CACHE_LINE = 64
"""Bytes. Lanes that begin at one are read and written in half the time."""


@dataclass(frozen=True, eq=False)
class FinestWeights:
    """What the stage multiplies by; C channels."""

    lateral: np.ndarray  # (c * C,) float32, input by input
    factors: np.ndarray  # (4 * C,) float32, pool by pool
    gains: Mapping[str, np.ndarray]  # (C,) float32 by task


def finest_weights(content: bytes) -> FinestWeights | None:
    """Return the weights of a graph's finest stage; None if the graph does not name its parts.

    Args:
        content: the serialised ONNX graph.
    """
    graph = onnx.load_from_string(content).graph
    values = {name for node in graph.node for name in node.output}
    stored = {t.name: t for t in graph.initializer}
    tasks = [output.name for output in graph.output]
    gains = {task: GAIN.format(HEADS.get(task, task)) for task in tasks}
    needed = {EXACT_UNTIL, COARSE, *map(HEAD_INPUT.format, tasks)}
    if not (needed <= values and {LATERAL, *FACTORS, *gains.values()} <= stored.keys()):
        return None

    def array(name: str) -> np.ndarray:
        return numpy_helper.to_array(stored[name])

    lateral = array(LATERAL)  # (C, c, 1, 1)
    if len(lateral) % LANES:
        return None
    return FinestWeights(
        lateral[:, :, 0, 0].T.ravel(),
        np.concatenate([array(name).ravel() for name in FACTORS]),
        {task: array(name).ravel() for task, name in gains.items()},
    )


def stage_nodes(graph: onnx.GraphProto) -> set[str]:
    """Return the names of the operators of a graph's finest stage; none if it does not name it."""
    makers = {name: node for node in graph.node for name in node.output}
    waiting = [HEAD_INPUT.format(output.name) for output in graph.output]
    found: set[str] = set()
    while waiting:
        node = makers.get(waiting.pop())
        if node is None or node.name in found or {EXACT_UNTIL, COARSE} & set(node.output):
            continue
        found.add(node.name)
        waiting.extend(node.input)
    return found


class FinestStage:
    """Computes what the heads take. One call at a time."""

    def __init__(self, weights: FinestWeights, threads: int, bf16: bool = False) -> None:
        """Prepare for any size of image; the results are float32, or the bits of bf16 in uint16."""
        self._weights = weights
        self._gains = np.concatenate(list(weights.gains.values()))
        self._crew = Crew(threads)
        self._written: np.ndarray = np.empty(0, np.uint16 if bf16 else np.float32)

    def __call__(self, fine: np.ndarray, coarse: np.ndarray) -> dict[str, np.ndarray]:
        """Return (1, h, w, C) by task, which stay until the next call.

        Args:
            fine: (c, h, w) float32.
            coarse: (C, h', w') float32.
        """
        height, width = fine.shape[1:]
        channels = len(coarse)
        shape = (len(self._weights.gains), 1, height, width, channels)
        if self._written.shape != shape:
            self._written = _aligned(shape, self._written.dtype)
        beyond = -width % TOGETHER
        padded = np.pad(fine, ((0, 0), (0, 0), (0, beyond)))
        rows = tuple(neighbours_of(spanning(height, coarse.shape[1]), height))
        columns = tuple(neighbours_of(spanning(width, coarse.shape[2]), width))

        def process(first: int, end: int) -> None:
            finest_stage(
                padded,
                coarse,
                rows,
                columns,
                self._weights.lateral,
                self._weights.factors,
                self._gains,
                self._written.reshape(-1),
                first,
                end,
            )

        self._crew.share_out(process, channels // LANES)
        return dict(zip(self._weights.gains, self._written, strict=True))


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an uninitialised array that begins at a cache line."""
    size = int(np.prod(shape)) * dtype.itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : start + size].view(dtype).reshape(shape)
