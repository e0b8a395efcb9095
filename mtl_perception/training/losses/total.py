# SPDX-License-Identifier: Apache-2.0
"""What an objective returns."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Losses:
    """Losses of one batch, scalars."""

    total: Tensor  # what is minimised
    parts: Mapping[str, Tensor]  # by name, before they are weighted
