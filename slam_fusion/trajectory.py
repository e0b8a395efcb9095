# SPDX-License-Identifier: Apache-2.0
"""Camera poses by time, from TUM trajectories or folders of 4x4 matrices."""

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import InvalidInput
from slam_fusion.geometry import (
    check_se3,
    interpolate_se3,
    matrix_from_quat_xyzw,
    quat_xyzw_from_matrix,
    se3,
)
from slam_fusion.poses import PoseNever

MAX_POSES = 5_000_000
"""Poses read from one file at most: 14 hours at 100 Hz."""

FIRST_STAMP_NS = 10**9
"""Stamp of frame 0 of a numbered folder: TF takes a stamp of zero for "the newest there is"."""

MAX_LINE = 1024
"""Characters of a trajectory line at most; longer ones are not text of this kind."""


class Trajectory:
    """Poses of one camera at increasing stamps; a finished ``PoseSource``."""

    def __init__(
        self, stamps_ns: np.ndarray, T_world_camera: np.ndarray, max_gap_s: float = 0.5
    ) -> None:
        """Take poses that are already sorted.

        Args:
            stamps_ns: (N,) int64, strictly increasing.
            T_world_camera: (N, 4, 4) float64.
            max_gap_s: neighbours further apart than this are not interpolated between.

        Raises:
            InvalidInput: shapes disagree, stamps do not increase, a matrix is not rigid.
        """
        self.stamps_ns = np.asarray(stamps_ns, np.int64)
        T_world_camera = np.asarray(T_world_camera, np.float64)
        if self.stamps_ns.ndim != 1 or T_world_camera.shape != (len(self.stamps_ns), 4, 4):
            raise InvalidInput(
                f"trajectory: want (N,) stamps and (N, 4, 4) poses, "
                f"got {self.stamps_ns.shape} and {T_world_camera.shape}"
            )
        late = np.flatnonzero(np.diff(self.stamps_ns) <= 0)
        if len(late):
            raise InvalidInput(
                f"trajectory: stamp {self.stamps_ns[late[0] + 1]} of pose {late[0] + 1} is not "
                f"after {self.stamps_ns[late[0]]}"
            )
        if not max_gap_s > 0:
            raise InvalidInput(f"max_gap_s={max_gap_s} is not positive")
        checked = [check_se3(T, f"pose {i}") for i, T in enumerate(T_world_camera)]
        self.T_world_camera = np.array(checked, np.float64).reshape(-1, 4, 4)
        self.max_gap_s = max_gap_s

    @classmethod
    def from_poses(
        cls, poses: Iterable[tuple[int, np.ndarray]], max_gap_s: float = 0.5
    ) -> "Trajectory":
        """Build from (stamp_ns, T_world_camera) pairs in stamp order."""
        pairs = list(poses)
        stamps_ns = np.array([stamp_ns for stamp_ns, _ in pairs], np.int64)
        T_world_camera = np.array([T for _, T in pairs], np.float64).reshape(-1, 4, 4)
        return cls(stamps_ns, T_world_camera, max_gap_s)

    @classmethod
    def load_tum(cls, path: Path, max_gap_s: float = 0.5) -> "Trajectory":
        """Read ``timestamp tx ty tz qx qy qz qw`` lines: seconds, metres, camera in world.

        Stamps are read as decimals, so nanoseconds survive. Empty lines and ``#`` comments pass.

        Raises:
            InvalidInput: names the file and the line.
            OSError: the file cannot be read.
        """
        pairs: list[tuple[int, np.ndarray]] = []
        with path.open(encoding="utf-8", errors="replace") as file:
            number = 0
            while line := file.readline(MAX_LINE):
                number += 1
                words = line.split("#")[0].split()
                if not words:
                    continue
                pair = _parse_tum(words, f"{path} line {number}")
                if pairs and pair[0] <= pairs[-1][0]:
                    raise InvalidInput(f"{path} line {number}: stamp {words[0]} does not increase")
                pairs.append(pair)
                if len(pairs) > MAX_POSES:
                    raise InvalidInput(f"{path}: more than {MAX_POSES} poses")
        if not pairs:
            raise InvalidInput(f"{path} holds no poses (timestamp tx ty tz qx qy qz qw)")
        return cls.from_poses(pairs, max_gap_s)

    @classmethod
    def load_pose_folder(
        cls, folder: Path, fps: float = 30.0, max_gap_s: float = 0.5
    ) -> "Trajectory":
        """Read ``frame-NNNNNN.pose.txt`` files: 4x4 camera-to-world, see ``frame_stamp_ns``.

        Raises:
            InvalidInput: no such files, or one that is not a rigid 4x4; names the file.
        """
        files = list(folder.glob("frame-*.pose.txt"))
        if not files:
            raise InvalidInput(f"{folder} holds no frame-NNNNNN.pose.txt files")
        stamped = sorted((frame_stamp_ns(file, fps), file) for file in files)
        return cls.from_poses(
            [(stamp_ns, load_pose(file)) for stamp_ns, file in stamped], max_gap_s
        )

    def save_tum(self, path: Path) -> None:
        """Write a TUM trajectory, atomically; stamps keep their nanoseconds."""
        with atomic_file(path) as file:
            file.write(b"# timestamp tx ty tz qx qy qz qw\n")
            for stamp_ns, T in zip(self.stamps_ns.tolist(), self.T_world_camera, strict=True):
                numbers = (*T[:3, 3], *quat_xyzw_from_matrix(T[:3, :3]))
                seconds, nanoseconds = divmod(stamp_ns, 10**9)
                text = " ".join(f"{number:.9f}" for number in numbers)
                file.write(f"{seconds}.{nanoseconds:09d} {text}\n".encode())

    def __len__(self) -> int:
        """Count of poses."""
        return len(self.stamps_ns)

    def at(self, stamp_ns: int, camera_frame: str = "") -> np.ndarray:
        """Return T_world_camera at ``stamp_ns``; exact at samples, never extrapolated.

        Args:
            stamp_ns: time of the image.
            camera_frame: ignored, a trajectory has one camera.

        Raises:
            PoseNever: outside the trajectory, or in a gap wider than ``max_gap_s``.
        """
        if not len(self):
            raise PoseNever("the trajectory is empty")
        after = int(np.searchsorted(self.stamps_ns, stamp_ns))
        if after < len(self) and self.stamps_ns[after] == stamp_ns:
            return self.T_world_camera[after].copy()
        if after == 0:
            raise PoseNever(f"{_ms(self.stamps_ns[0] - stamp_ns)} before the first pose")
        if after == len(self):
            raise PoseNever(f"{_ms(stamp_ns - self.stamps_ns[-1])} after the last pose")
        before_ns, after_ns = self.stamps_ns[after - 1 : after + 1].tolist()
        if after_ns - before_ns > self.max_gap_s * 1e9:
            raise PoseNever(
                f"in a gap of {_ms(after_ns - before_ns)} between poses "
                f"(max_gap_s={self.max_gap_s})"
            )
        alpha = (stamp_ns - before_ns) / (after_ns - before_ns)
        return interpolate_se3(self.T_world_camera[after - 1], self.T_world_camera[after], alpha)


def stamp_ns_from_text(text: str) -> int:
    """Read decimal seconds as integer nanoseconds, exactly.

    Raises:
        InvalidInput: not a number of seconds that a ROS stamp can hold.
    """
    try:
        seconds = Decimal(text)
    except InvalidOperation:
        raise InvalidInput(f"{text!r} is not a stamp in seconds") from None
    if not seconds.is_finite() or not 0 <= seconds < 2**31:
        raise InvalidInput(f"stamp {text} s is not in 0..2^31")
    return int((seconds * 10**9).to_integral_value())


def frame_stamp_ns(path: Path, fps: float) -> int:
    """Stamp of ``frame-NNNNNN.<kind>``: its number over the frame rate, counted from one second.

    Raises:
        InvalidInput: the name holds no number, or fps is not positive.
    """
    digits = path.name.split(".")[0].removeprefix("frame-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise InvalidInput(f"{path.name}: want frame-NNNNNN")
    if not 0 < fps <= 10_000:
        raise InvalidInput(f"fps={fps} is not in 0..10000")
    return FIRST_STAMP_NS + round(int(digits) * 10**9 / Decimal(fps))


def load_pose(path: Path) -> np.ndarray:
    """Read a rigid 4x4 matrix, whitespace separated; (4, 4) float64.

    Raises:
        InvalidInput: not 16 numbers, or not rigid; names the file.
    """
    return check_se3(load_matrix(path, 4), str(path))


def load_matrix(path: Path, side: int) -> np.ndarray:
    """Read a (side, side) float64 matrix of text.

    Raises:
        InvalidInput: wrong count or not numbers; names the file and the line.
        OSError: the file cannot be read.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        lines = file.read(MAX_LINE * side).splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            rows.append(_floats(line.split(), side, f"{path} line {number}"))
    if len(rows) != side:
        raise InvalidInput(f"{path}: want {side} rows of {side} numbers, got {len(rows)} rows")
    return np.array(rows, np.float64)


def _parse_tum(words: Sequence[str], where: str) -> tuple[int, np.ndarray]:
    numbers = _floats(words[1:], 7, where)
    try:
        R = matrix_from_quat_xyzw(np.array(numbers[3:]))
        return stamp_ns_from_text(words[0]), se3(R, np.array(numbers[:3]))
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None


def _floats(words: Sequence[str], count: int, where: str) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise InvalidInput(f"{where}: not numbers: {' '.join(words)[:80]!r}") from None
    if len(numbers) != count or not np.all(np.isfinite(numbers)):
        raise InvalidInput(f"{where}: want {count} finite numbers, got {' '.join(words)[:80]!r}")
    return numbers


def _ms(duration_ns: int) -> str:
    return f"{int(duration_ns) / 1e6:.1f} ms"
