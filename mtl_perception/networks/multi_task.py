# SPDX-License-Identifier: Apache-2.0
"""What PAD-Net and MTI-Net share: tasks that are predicted, exchanged, and predicted again."""

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.config import TASKS, LabelledConfig

PUBLIC_NAMES = {
    "labels": "semseg",
    "depth": "depth",
    "normals": "normals",
    "contours": "edge",
    "parts": "human_parts",
    "saliency": "sal",
}
"""Name of each task within the keys of the public PAD-Net and MTI-Net files."""

CHANNELS = {"depth": 1, "normals": 3, "contours": 1, "parts": 7, "saliency": 1}
"""Channels of the tasks that have the same in every data set; parts: background and six."""

TWO_TASKS = ("labels", "depth")
"""Tasks of NYUD."""

FOUR_TASKS = ("labels", "depth", "normals", "contours")
"""Those, and two that no annotation is needed for: they help as intermediate predictions."""

FIVE_TASKS = ("labels", "parts", "saliency", "contours", "normals")
"""Tasks of PASCAL-Context."""


@dataclass(frozen=True)
class MultiTaskConfig(LabelledConfig):
    """A network with intermediate predictions; the defaults are NYUD's two tasks."""

    intermediate: tuple[str, ...] = TWO_TASKS  # predicted first; features are joined in this order

    def __post_init__(self) -> None:
        """Refuse what no network can be built for.

        Raises:
            InvalidInput: with the offending values.
        """
        super().__post_init__()
        known = all(task in TASKS for task in self.intermediate)
        if not known or len(set(self.intermediate)) != len(self.intermediate):
            raise InvalidInput(
                f"intermediate {self.intermediate}: want some of {', '.join(TASKS)}, each once"
            )
        if not set(self.tasks) <= set(self.intermediate):
            raise InvalidInput(f"tasks {self.tasks}: want some of {self.intermediate}")
        if len(self.intermediate) < 2:
            raise InvalidInput(f"intermediate {self.intermediate}: one task has none to learn from")

    @property
    def channels(self) -> dict[str, int]:
        """Channels of every intermediate prediction, and so of the final ones."""
        known = {"labels": self.label_channels, **CHANNELS}
        return {task: known[task] for task in self.intermediate}

    def check_choice(self, field: str, choices: Iterable[str | int]) -> None:
        """Refuse a value of ``field`` that is not among ``choices``.

        Raises:
            InvalidInput: with the value and the choices.
        """
        if getattr(self, field) not in choices:
            raise InvalidInput(
                f"{self.method}: {field} {getattr(self, field)!r}, want "
                f"{', '.join(map(str, choices))}"
            )


@dataclass(frozen=True, eq=False)
class Predictions:
    """All that such a network predicts; each map is (B, channels of the task, h, w), raw."""

    final: dict[str, Tensor]  # by task
    intermediate: tuple[dict[str, Tensor], ...]  # by task; of several scales, finest first
