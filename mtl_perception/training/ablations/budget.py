# SPDX-License-Identifier: Apache-2.0
"""What every arm of an ablation may spend (no torch)."""

from dataclasses import dataclass

from mtl_perception.conventions import InvalidInput


@dataclass(frozen=True)
class AblationConfig:
    """The budget, the same for all arms of a study."""

    steps: int = 250
    batch: int = 8  # images of a step
    seeds: int = 3
    height: int = 64  # of the images, pixels
    images: int = 1200  # to learn from, at most
    test_images: int = 150  # to be judged on, at most
    start: str = ""  # weights for the encoder, of MobileNet-v2 .tflite too; "" = none
    precision: str = "auto"  # as that of a training run
    threads: int = 2
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse budgets of nothing.

        Raises:
            InvalidInput: with the values.
        """
        for name, least in _LEAST.items():
            if getattr(self, name) < least:
                raise InvalidInput(f"ablation: {name} {getattr(self, name)}, want {least} or more")


_LEAST = {"steps": 1, "batch": 1, "seeds": 1, "images": 1, "test_images": 1, "height": 32}

EXPERT_PATIENCE = 2
"""Times the steps of an arm that an expert learns labels alone."""

SAYS_NOTHING = ("seeds", "threads", "device")
"""Fields of the budget that do not change a finished arm."""
