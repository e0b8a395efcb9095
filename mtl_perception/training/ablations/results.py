# SPDX-License-Identifier: Apache-2.0
"""Results on disk and as a table with spreads, and what they allow to say (no torch).

``DIR/STUDY/ARM-SEED.json`` holds what an arm reached with a seed, and with which budget.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mtl_perception.atomic_file import atomic_file
from mtl_perception.conventions import InvalidInput

MEASURES: Mapping[str, tuple[str, bool]] = {
    "mean_iou": ("mIoU", True),
    "pixel_accuracy": ("pixel accuracy", True),
    "depth_rel": ("depth rel", False),
    "depth_rmse": ("depth RMSE, m", False),
    "normal_angle": ("normals, degrees", False),
}
"""Heading of each measure that a table shows, and whether more is better."""

CONFIDENCE = 0.95
"""Of the intervals of differences."""


@dataclass(frozen=True)
class Result:
    """What an arm reached with one seed."""

    arm: str
    seed: int
    measures: dict[str, float]  # by name, on the test images; of the expert as "expert NAME"
    loss: float  # of the last step
    seconds: float


def result_file(folder: Path, study: str, arm: str, seed: int) -> Path:
    """Return where the result of an arm and a seed lies."""
    return folder / study / f"{re.sub(r'[^a-z0-9]+', '-', arm.lower())}-{seed}.json"


def load_result(path: Path, about: Mapping[str, Any]) -> Result | None:
    """Read a result; None = there is none yet.

    Raises:
        InvalidInput: the file is damaged, or of another budget than ``about``; names it.
    """
    if not path.exists():
        return None
    try:
        stored = json.loads(path.read_text())
        was, result = stored["about"], Result(**stored["result"])
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} is damaged ({error}): delete it to do this arm again") from None
    differ = [f"{k} was {was.get(k)!r}, is {v!r}" for k, v in about.items() if was.get(k) != v]
    if differ:
        raise InvalidInput(f"{path} is of another budget: {'; '.join(differ)}")
    return result


def store_result(path: Path, result: Result, about: Mapping[str, Any]) -> None:
    """Write a result, whole or not at all.

    Raises:
        OSError: the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(json.dumps({"about": about, "result": asdict(result)}, indent=1).encode())


def table(results: Sequence[Result]) -> str:
    """Return a Markdown table: a row per arm, mean and standard deviation over the seeds."""
    names = [m for m in MEASURES if any(m in r.measures for r in results)]
    lines = [
        f"| arm | seeds | {' | '.join(MEASURES[m][0] for m in names)} | s per run |",
        "|---|---|" + "---|" * (len(names) + 1),
    ]
    for arm in dict.fromkeys(r.arm for r in results):
        own = [r for r in results if r.arm == arm]
        cells = [_mean_and_spread([r.measures[m] for r in own if m in r.measures]) for m in names]
        seconds = np.mean([r.seconds for r in own])
        lines.append(f"| {arm} | {len(own)} | {' | '.join(cells)} | {seconds:.0f} |")
    return "\n".join(lines)


def _mean_and_spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    if len(values) == 1:
        return f"{values[0]:.3f}"
    return f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


@dataclass(frozen=True)
class Difference:
    """An arm against its baseline in one measure, seed by seed."""

    arm: str
    baseline: str
    measure: str  # a name of MEASURES
    mean: float  # arm - baseline, over the seeds that both have
    half_width: float  # of the 95 % interval of Student's t; infinite with one seed
    seeds: int

    @property
    def verdict(self) -> str:
        """Say whether the arm is better, worse, or not told apart from its baseline."""
        if not abs(self.mean) > self.half_width:
            return "not told apart"
        return "better" if (self.mean > 0) == MEASURES[self.measure][1] else "worse"

    def __str__(self) -> str:
        """Return one line for people."""
        spread = f"± {self.half_width:.3f}" if np.isfinite(self.half_width) else "(one seed)"
        return (
            f"{self.arm} against {self.baseline}, {MEASURES[self.measure][0]}: "
            f"{self.mean:+.3f} {spread}: {self.verdict}"
        )


def differences(results: Sequence[Result], pairs: Sequence[tuple[str, str]]) -> list[Difference]:
    """Compare arms with their baselines, paired by seed: both had the same images in one order.

    Args:
        results: of one study.
        pairs: (arm, baseline); measures that only one of them has are passed over.
    """
    found = []
    for arm, baseline in pairs:
        for measure in MEASURES:
            a, b = (by_seed(results, name, measure) for name in (arm, baseline))
            apart = [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]
            if apart:
                mean, half = float(np.mean(apart)), half_width(apart)
                found.append(Difference(arm, baseline, measure, mean, half, len(apart)))
    return found


def half_width(values: Sequence[float]) -> float:
    """Return half of the 95 % interval of Student's t for a mean; infinite for one value."""
    from scipy.stats import t as student

    if len(values) < 2:
        return float("inf")
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    return float(student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * error)


def by_seed(results: Sequence[Result], arm: str, measure: str) -> dict[int, float]:
    """Return an arm's values of a measure by seed."""
    return {r.seed: r.measures[measure] for r in results if r.arm == arm and measure in r.measures}
