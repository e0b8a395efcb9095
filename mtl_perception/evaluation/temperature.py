# SPDX-License-Identifier: Apache-2.0
"""The one number that makes confidence honest: scores divided by a temperature.

Guo et al. 2017 (arXiv 1706.04599), "temperature scaling". Labels stay as they are.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from mtl_perception.conventions import InvalidInput
from mtl_perception.evaluation.calibration import CalibrationMetrics

LOWEST, HIGHEST = 0.25, 8.0
"""Between these the temperature is sought."""

TRIES = 10
"""Evaluations that a search takes: the range of 32 to 1 shrinks to 8 percent."""

_GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True)
class Fit:
    """A temperature that was tried, and what it gave."""

    temperature: float
    metrics: CalibrationMetrics


def fit_temperature(
    judge: Callable[[float], CalibrationMetrics | None], tries: int = TRIES
) -> list[Fit]:
    """Search the temperature of least log loss, by golden section over its logarithm.

    Args:
        judge: evaluates the data set at a temperature; the same images every time.
        tries: how often it is called.

    Returns:
        Every try, best first.

    Raises:
        InvalidInput: the data set has no labels that the network has too, or ``tries`` is below 2.
    """
    if tries < 2:
        raise InvalidInput(f"{tries} tries: want 2 or more")
    done: dict[float, Fit] = {}

    def loss(log_temperature: float) -> float:
        temperature = math.exp(log_temperature)
        metrics = judge(temperature)
        if metrics is None:
            raise InvalidInput("no labels to calibrate with")
        done[temperature] = Fit(temperature, metrics)
        return metrics.log_loss

    low, high = math.log(LOWEST), math.log(HIGHEST)
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(tries - 2):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - _GOLDEN * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + _GOLDEN * (high - low)
            at_right = loss(right)
    return sorted(done.values(), key=lambda fit: fit.metrics.log_loss)
