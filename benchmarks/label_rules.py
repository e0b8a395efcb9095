# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks.label_rules``: rules that turn many labels of a voxel into one, compared.

A walk through synthetic rooms is seen through true depth and labels that are wrong in known ways.
Every rule gets the same labels of the same voxels in the same order.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import open3d as o3d

from mtl_perception.conventions import UNLABELLED
from mtl_perception.evaluation.calibration import CalibrationMeter
from mtl_perception.labels import LABEL_SETS
from mtl_perception.synthetic.camera import ROOM_CAMERA, render
from mtl_perception.synthetic.room import LABEL_SET
from slam_fusion.demo.room import RoomWalk
from slam_fusion.evaluation.label_scores import Confusion
from slam_fusion.frame import Frame
from slam_fusion.geometry import invert_se3
from slam_fusion.tsdf.evidence import SLOTS, add_evidence, evidence_of, verdict
from slam_fusion.tsdf.jit import jit
from slam_fusion.volume import LABEL_BAND_VOXELS, SemanticVolume, VolumeConfig

VOXEL_SIZE = 0.03
SEEDS = (8, 22, 35)
FRAMES = 72
CLASSES = len(LABEL_SETS[LABEL_SET])
PAIRS = (("chair", "sofa"), ("table", "desk"), ("cabinet", "bookshelf"), ("wall", "door"))
"""Classes that networks take for each other."""


@dataclass(frozen=True, eq=False)
class Seen:
    """One frame: which voxels it sees, at which pixels."""

    voxels: np.ndarray  # (M,) int64
    pixels: np.ndarray  # (M,) int64, row-major
    labels: np.ndarray  # (H, W) uint8, true
    instances: np.ndarray  # (H, W) uint16


@dataclass(frozen=True, eq=False)
class Said:
    """What a network says of one frame."""

    labels: np.ndarray  # (H, W) uint8
    confidence: np.ndarray  # (H, W) float32


def see(scene: RoomWalk) -> tuple[np.ndarray, list[Seen]]:
    """Return the true class of each surface voxel, and what each frame sees of them."""
    volume = SemanticVolume(VolumeConfig(voxel_size=VOXEL_SIZE))
    views = []
    for stamp_ns, T_world_camera in scene.poses:
        view = render(scene.room, ROOM_CAMERA, T_world_camera)
        volume.integrate(Frame(stamp_ns, "", ROOM_CAMERA, view.depth), T_world_camera)
        views.append((view, T_world_camera))
    centres = volume.occupied_voxels()[0] * VOXEL_SIZE
    near = scene.room.scene.compute_closest_points(o3d.core.Tensor(centres.astype(np.float32)))
    truth = scene.room.labels[near["primitive_ids"].numpy()]
    frames = []
    for view, T_world_camera in views:
        T = invert_se3(T_world_camera)
        x, y, z = T[:3, :3] @ centres.T + T[:3, 3:]
        with np.errstate(divide="ignore", invalid="ignore"):
            u = np.floor(ROOM_CAMERA.fx * x / z + ROOM_CAMERA.cx + 0.5)
            v = np.floor(ROOM_CAMERA.fy * y / z + ROOM_CAMERA.cy + 0.5)
        inside = (z > 0.1) & (u >= 0) & (u < ROOM_CAMERA.width) & (v >= 0)
        inside &= v < ROOM_CAMERA.height
        voxels = np.flatnonzero(inside)
        pixels = v[voxels].astype(np.int64) * ROOM_CAMERA.width + u[voxels].astype(np.int64)
        depth = view.depth.ravel()[pixels]
        close = np.abs(depth - z[voxels]) <= LABEL_BAND_VOXELS * VOXEL_SIZE
        close &= (depth > 0.1) & (depth < 5.0)
        frames.append(Seen(voxels[close], pixels[close], view.labels, view.instances))
    return truth, frames


# Ways of being wrong


def true_labels(frames: list[Seen], rng: np.random.Generator) -> Iterator[Said]:
    """Never wrong."""
    for frame in frames:
        yield Said(frame.labels, np.full(frame.labels.shape, 1.0, np.float32))


def flips(frames: list[Seen], rng: np.random.Generator) -> Iterator[Said]:
    """30 % of the pixels say any class; nobody knows which, so all are 0.7 certain."""
    for frame in frames:
        wrong = rng.random(frame.labels.shape) < 0.3
        anything = rng.integers(0, CLASSES, frame.labels.shape).astype(np.uint8)
        labels = np.where(wrong, anything, frame.labels)
        yield Said(labels, np.full(labels.shape, 0.7, np.float32))


def certain_flips(frames: list[Seen], rng: np.random.Generator) -> Iterator[Said]:
    """The same, but the network claims to be certain."""
    for said in flips(frames, rng):
        yield Said(said.labels, np.full(said.labels.shape, 1.0, np.float32))


def borders(frames: list[Seen], rng: np.random.Generator) -> Iterator[Said]:
    """Borders lie up to some eight pixels beside the edges, smoothly, anew in each frame."""
    for frame in frames:
        height, width = frame.labels.shape
        shift = rng.normal(0, 4, (2, 7, 9)).astype(np.float32)
        dx, dy = (cv2.resize(s, (width, height), interpolation=cv2.INTER_CUBIC) for s in shift)
        v, u = np.indices(frame.labels.shape).astype(np.float32)
        labels = cv2.remap(
            frame.labels, u + dx, v + dy, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE
        )
        yield Said(labels, np.full(labels.shape, 0.95, np.float32))


def wrong_frames(frames: list[Seen], rng: np.random.Generator) -> Iterator[Said]:
    """In a fifth of the frames half of the objects have another class, all over."""
    for frame in frames:
        labels = frame.labels.copy()
        if rng.random() < 0.2:
            for instance in np.unique(frame.instances):
                if rng.random() < 0.5:
                    labels[frame.instances == instance] = rng.integers(0, CLASSES)
        yield Said(labels, np.full(labels.shape, 0.9, np.float32))


def pairs(frames: list[Seen], rng: np.random.Generator) -> Iterator[Said]:
    """Each object whose class has a look-alike is taken for it in 4 of 10 frames."""
    ids = LABEL_SETS[LABEL_SET]
    other = {}
    for a, b in PAIRS:
        other |= {ids.id_of(a): ids.id_of(b), ids.id_of(b): ids.id_of(a)}
    for frame in frames:
        labels = frame.labels.copy()
        confidence = np.full(labels.shape, 0.98, np.float32)
        for class_id, twin in other.items():
            confidence[frame.labels == class_id] = 0.6
            for instance in np.unique(frame.instances[frame.labels == class_id]):
                if rng.random() < 0.4:
                    labels[(frame.instances == instance) & (frame.labels == class_id)] = twin
        yield Said(labels, confidence)


NOISES = (true_labels, flips, certain_flips, borders, wrong_frames, pairs)

# Rules


class Rule(Protocol):
    """How labels of one voxel become one label."""

    bytes_per_voxel: int

    def __init__(self, count: int) -> None:
        """Start with ``count`` voxels that were never seen."""
        ...

    def add(self, voxels: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> None:
        """Take the labels (M,) uint8 and confidences (M,) float32 of distinct voxels."""
        ...

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return labels (count,) uint8, 255 where never seen, and probabilities, float32."""
        ...


class LastWins(Rule):
    """The newest label."""

    bytes_per_voxel = 1

    def __init__(self, count: int) -> None:
        self.label = np.full(count, UNLABELLED, np.uint8)
        self.confidence = np.zeros(count, np.float32)

    def add(self, voxels: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> None:
        self.label[voxels], self.confidence[voxels] = labels, confidence

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        return self.label, self.confidence


class Histogram(Rule):
    """A float per class: votes, or the sums or products of whole distributions."""

    bytes_per_voxel = 4 * CLASSES

    def __init__(self, count: int) -> None:
        self.table = np.zeros((count, CLASSES), np.float32)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        seen = self.table.any(axis=1)
        share = self.shares()
        label = np.where(seen, share.argmax(axis=1), UNLABELLED).astype(np.uint8)
        return label, np.where(seen, share.max(axis=1), 0).astype(np.float32)

    def shares(self) -> np.ndarray:
        return self.table / np.maximum(self.table.sum(axis=1, keepdims=True), 1e-9)


class MajorityVote(Histogram):
    """One vote per pixel."""

    def add(self, voxels: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> None:
        self.table[voxels, labels] += 1


class SumOfDistributions(Histogram):
    """Each pixel's whole distribution is added."""

    def add(self, voxels: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> None:
        rest = (1 - confidence) / (CLASSES - 1)
        self.table[voxels] += rest[:, None]
        self.table[voxels, labels] += confidence - rest


class BayesHistogram(Histogram):
    """Each pixel's whole distribution is multiplied in, as in SemanticFusion."""

    def add(self, voxels: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> None:
        sure = np.clip(confidence, 1e-3, 1 - 1e-3)
        rest = np.log((1 - sure) / (CLASSES - 1))
        self.table[voxels] += rest[:, None]
        self.table[voxels, labels] += np.log(sure) - rest

    def shares(self) -> np.ndarray:
        odds = np.exp(self.table - self.table.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


class FourSlots(Rule):
    """The volume's own rule."""

    bytes_per_voxel = 3 * SLOTS

    def __init__(self, count: int) -> None:
        self.labels = np.zeros((count, SLOTS), np.uint8)
        self.evidence = np.zeros((count, SLOTS), np.uint16)

    def add(self, voxels: np.ndarray, labels: np.ndarray, confidence: np.ndarray) -> None:
        _add_all(self.labels, self.evidence, voxels, labels, confidence)

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        return _judge_all(self.labels, self.evidence)


@jit
def _add_all(slot_labels, evidence, voxels, labels, confidence):  # type: ignore[no-untyped-def]
    for i in range(len(voxels)):
        units = evidence_of(confidence[i])
        if units > 0:
            add_evidence(slot_labels, evidence, voxels[i], labels[i], units)


@jit
def _judge_all(slot_labels, evidence):  # type: ignore[no-untyped-def]
    label = np.empty(len(slot_labels), np.uint8)
    confidence = np.empty(len(slot_labels), np.float32)
    for i in range(len(slot_labels)):
        label[i], confidence[i] = verdict(slot_labels[i], evidence[i])
    return label, confidence


RULES = {
    "last label wins": LastWins,
    "majority vote": MajorityVote,
    "sum of distributions": SumOfDistributions,
    "Bayes histogram": BayesHistogram,
    "ours, four slots": FourSlots,
}


def main() -> None:
    """Print the table."""
    walks = [see(RoomWalk(seed=seed, frames=FRAMES)) for seed in SEEDS]
    _add_all(*FourSlots(1).__dict__.values(), *(np.zeros(0, t) for t in ("i8", "u1", "f4")))
    print(f"{'':22}{'bytes':>6}{'ms/frame':>9}  " + "".join(f"{n.__name__:>16}" for n in NOISES))
    print(f"{'':37}  " + f"{'mIoU':>9}{'ECE':>7}" * len(NOISES))
    for name, rule in RULES.items():
        cells, seconds = [], []
        for noise in NOISES:
            confusion, calibration = Confusion(), CalibrationMeter()
            for truth, frames in walks:
                state = rule(len(truth))
                rng = np.random.default_rng(0)
                for frame, said in zip(frames, noise(frames, rng), strict=True):
                    labels = said.labels.ravel()[frame.pixels]
                    confidence = said.confidence.ravel()[frame.pixels]
                    start = time.perf_counter()
                    state.add(frame.voxels, labels, confidence)
                    seconds.append(time.perf_counter() - start)
                label, confidence = state.result()
                seen = label != UNLABELLED
                confusion.add(truth[seen], label[seen])
                calibration.add(truth[seen], label[seen], confidence[seen])
            scores = confusion.scores({})
            cells.append(f"{100 * scores.mean_iou:9.2f}{calibration.metrics().ece:7.3f}")
        print(
            f"{name:22}{rule.bytes_per_voxel:6}{1e3 * np.median(seconds):9.2f}  " + "".join(cells)
        )


if __name__ == "__main__":
    main()
