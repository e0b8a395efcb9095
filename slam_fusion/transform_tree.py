# SPDX-License-Identifier: Apache-2.0
"""A tree of moving frames, as TF is: edges by time, chained up and down; no ROS."""

from array import array
from bisect import bisect_left

import numpy as np

from mtl_perception.conventions import InvalidInput
from slam_fusion.geometry import check_se3, interpolate_se3, invert_se3
from slam_fusion.poses import PoseNever, PoseNotYet

MAX_EDGES = 10_000
"""Frames of one tree at most: a robot has tens, a broken publisher makes names without end."""

_NUMBERS = 12  # rows 0..2 of the transform


def frame_name(name: str) -> str:
    """Return ``name`` as TF 2 spells it: ROS 1 wrote a leading slash."""
    return name.strip().lstrip("/")


class TransformTree:
    """Static and moving edges between named frames; a ``PoseSource`` for any camera frame.

    Moving edges are interpolated between samples and never extrapolated. Memory is bounded:
    each edge keeps its newest ``max_samples`` (about 100 bytes each), and at most a tenth more.
    """

    def __init__(
        self, global_frame: str = "odom", max_gap_s: float = 0.5, max_samples: int = 2_000_000
    ) -> None:
        """Start with no edges, open for more.

        Args:
            global_frame: the frame that ``at`` answers in.
            max_gap_s: samples of an edge further apart than this are not interpolated between.
            max_samples: samples kept per moving edge.
        """
        self.global_frame = frame_name(global_frame)
        self.max_gap_s = max_gap_s
        self._max_samples = max_samples
        self._edges: dict[str, _Edge] = {}  # by child: a frame has one parent
        self._open = True

    @property
    def frames(self) -> list[str]:
        """Names of all frames, sorted."""
        return sorted(self._edges.keys() | {edge.parent for edge in self._edges.values()})

    def add_static(self, parent: str, child: str, T_parent_child: np.ndarray) -> None:
        """Set an edge that holds at all times; a later one replaces it.

        Raises:
            InvalidInput: not rigid, a loop, a second parent, or an edge that moved before.
        """
        edge = self._edge(parent, child, is_static=True)
        edge.stamps_ns = array("q", [0])
        edge.numbers = _numbers(T_parent_child, child)

    def add_dynamic(
        self, parent: str, child: str, stamp_ns: int, T_parent_child: np.ndarray
    ) -> None:
        """Add a sample of a moving edge; samples may come late, repeated stamps are ignored.

        Raises:
            InvalidInput: not rigid, a loop, a second parent, or an edge that was static before.
        """
        numbers = _numbers(T_parent_child, child)
        edge = self._edge(parent, child, is_static=False)
        edge.add(stamp_ns, numbers)
        # A tenth beyond the limit, so that the cost of forgetting is shared by many samples.
        if len(edge.stamps_ns) > self._max_samples * 11 // 10:
            edge.keep_newest(self._max_samples)

    def close(self) -> None:
        """Say that no more samples will come: what is not there now never will be."""
        self._open = False

    def clear(self) -> None:
        """Forget the samples of moving edges (the clock jumped back); static edges stay."""
        self._edges = {child: edge for child, edge in self._edges.items() if edge.is_static}

    def ancestors(self, frame: str) -> list[str]:
        """Return ``frame``, its parent and so on up to the root of its tree."""
        chain = [frame_name(frame)]
        while (edge := self._edges.get(chain[-1])) is not None:
            chain.append(edge.parent)  # ends: _check_new refuses loops
        return chain

    def at(self, stamp_ns: int, camera_frame: str) -> np.ndarray:
        """Return T_global_camera; see ``lookup``."""
        return self.lookup(self.global_frame, camera_frame, stamp_ns)

    def lookup(self, target: str, source: str, stamp_ns: int) -> np.ndarray:
        """Return T_target_source, (4, 4) float64, at ``stamp_ns``.

        Raises:
            PoseNotYet: an edge's newest sample is older than the stamp, or the frames are not
                connected, and the tree is still open.
            PoseNever: the same in a closed tree; the stamp lies before the memory of an edge or
                in a gap of it.
        """
        target, source = frame_name(target), frame_name(source)
        if source == target and source not in self.frames:
            # Equal names are no transform: a camera that nobody places is not at the origin.
            raise self._missing(f"no transform names frame {source!r}; {self._known_frames()}")
        up, down = self.ancestors(source), self.ancestors(target)
        common = next((frame for frame in up if frame in down), None)
        if common is None:
            raise self._missing(
                f"frames {target!r} and {source!r} are not connected; {self._known_frames()}"
            )
        T_common_source = self._chain(up[: up.index(common)], stamp_ns)
        T_common_target = self._chain(down[: down.index(common)], stamp_ns)
        return invert_se3(T_common_target) @ T_common_source

    def _chain(self, children: list[str], stamp_ns: int) -> np.ndarray:
        """T_ancestor_first of the edges above ``children``, given from the bottom up."""
        T = np.eye(4)
        for child in children:
            T = self._sample(child, stamp_ns) @ T
        return T

    def _sample(self, child: str, stamp_ns: int) -> np.ndarray:
        edge = self._edges[child]
        if edge.is_static:
            return edge.transform(0)
        name = f"{edge.parent} -> {child}"
        edge.sort()
        stamps_ns = edge.stamps_ns
        after = bisect_left(stamps_ns, stamp_ns)
        if after == len(stamps_ns):
            age_ms = (stamp_ns - stamps_ns[-1]) / 1e6
            raise self._missing(f"{age_ms:.1f} ms after the newest transform {name}")
        if stamps_ns[after] == stamp_ns:
            return edge.transform(after)
        if after == 0:
            ahead_ms = (stamps_ns[0] - stamp_ns) / 1e6
            raise PoseNever(f"{ahead_ms:.1f} ms before the oldest transform {name}")
        gap_ns = stamps_ns[after] - stamps_ns[after - 1]
        if gap_ns > self.max_gap_s * 1e9:
            raise PoseNever(
                f"in a gap of {gap_ns / 1e6:.1f} ms of transform {name} "
                f"(max_gap_s={self.max_gap_s})"
            )
        alpha = (stamp_ns - stamps_ns[after - 1]) / gap_ns
        return interpolate_se3(edge.transform(after - 1), edge.transform(after), alpha)

    def _known_frames(self) -> str:
        return f"known frames: {', '.join(self.frames[:20]) or 'none'}"

    def _missing(self, why: str) -> PoseNotYet | PoseNever:
        return PoseNotYet(why) if self._open else PoseNever(why)

    def _edge(self, parent: str, child: str, is_static: bool) -> "_Edge":
        parent, child = frame_name(parent), frame_name(child)
        edge = self._edges.get(child)
        if edge is None:
            self._check_new(parent, child)
            edge = self._edges[child] = _Edge(parent, is_static)
        elif edge.parent != parent:
            raise InvalidInput(
                f"frame {child!r} has two parents: {edge.parent!r} and {parent!r}; "
                "remove one of the publishers"
            )
        elif edge.is_static != is_static:
            raise InvalidInput(f"transform {parent} -> {child} is both static and moving")
        return edge

    def _check_new(self, parent: str, child: str) -> None:
        if not parent or not child:
            raise InvalidInput(f"transform {parent!r} -> {child!r}: empty frame name")
        ancestors = self.ancestors(parent)
        if child in ancestors:
            loop = [child, *reversed(ancestors[: ancestors.index(child)]), child]
            raise InvalidInput(f"transforms form a loop: {' -> '.join(loop)}")
        if len(self._edges) >= MAX_EDGES:
            raise InvalidInput(f"more than {MAX_EDGES} frames, last {child!r}")


class _Edge:
    """Samples of T_parent_child, packed; sorted by stamp when they are asked for."""

    def __init__(self, parent: str, is_static: bool) -> None:
        self.parent = parent
        self.is_static = is_static
        self.stamps_ns = array("q")
        self.numbers = array("d")
        self._is_sorted = True

    def add(self, stamp_ns: int, numbers: array) -> None:
        # Appended even when late: inserting each sample of a log that runs backwards would take
        # time that grows with the square of its length.
        if self.stamps_ns and stamp_ns <= self.stamps_ns[-1]:
            self._is_sorted = False
        self.stamps_ns.append(stamp_ns)
        self.numbers.extend(numbers)

    def sort(self) -> None:
        """Put the samples in order of stamp; of equal stamps the first that came stays."""
        if self._is_sorted:
            return
        stamps_ns, order = np.unique(np.frombuffer(self.stamps_ns, np.int64), return_index=True)
        rows = np.frombuffer(self.numbers).reshape(-1, _NUMBERS)[order]
        self.stamps_ns = array("q", stamps_ns.tobytes())
        self.numbers = array("d", rows.tobytes())
        self._is_sorted = True

    def keep_newest(self, count: int) -> None:
        self.sort()
        surplus = max(0, len(self.stamps_ns) - count)
        del self.stamps_ns[:surplus]
        del self.numbers[: surplus * _NUMBERS]

    def transform(self, index: int) -> np.ndarray:
        T = np.eye(4)
        T[:3] = np.reshape(self.numbers[index * _NUMBERS : (index + 1) * _NUMBERS], (3, 4))
        return T


def _numbers(T_parent_child: np.ndarray, child: str) -> array:
    return array("d", check_se3(T_parent_child, f"transform to {child!r}")[:3].ravel().tolist())
