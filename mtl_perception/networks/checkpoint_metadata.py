# SPDX-License-Identifier: Apache-2.0
"""What a network file says of itself, as the strings that .safetensors and ONNX can carry.

| key            | value                                                                |
|----------------|----------------------------------------------------------------------|
| format         | ``dense_semantic_slam.network``                                      |
| format_version | ``1``                                                                |
| config         | JSON object: ``NetworkConfig.to_dict``                               |
| label_sets     | JSON list of ``LabelSet.to_json`` texts, in the order of the channels |
| focal_px       | number: see ``NetworkMetadata``; these three may be missing          |
| temperature    | number                                                               |
| input_height   | whole number                                                         |

No torch here: an exported network is run without it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtl_perception.conventions import InvalidInput
from mtl_perception.labels import LABEL_SETS, LabelSet

FORMAT = "dense_semantic_slam.network"
VERSION = "1"

MAX_TEXT = 1 << 20
"""Longest value that is read: 250 classes with long names take 30 kB."""


FOCAL_PX = (1.0, 1e5)
"""Range of the focal lengths that a camera can have, in pixels."""

TEMPERATURE = (0.01, 100.0)
"""Range of temperatures: beyond it the confidence is 0 or 1 for every image."""

INPUT_HEIGHT = (32, 8192)
"""Range of heights of an image that a network can be run on."""


@dataclass(frozen=True)
class NetworkMetadata:
    """How a network was built, what its channels mean, and which images it was made for."""

    config: Mapping[str, Any]  # NetworkConfig.to_dict, JSON types only
    label_sets: tuple[LabelSet, ...]  # one behind the other; two for a network of two data sets
    focal_px: float = 0.0  # fx of the camera that its depth is metric for, in pixels of the image
    # that it sees; 0: not known, depth is used as it is
    temperature: float = 1.0  # scores are divided by it: found on held-out data for calibration
    input_height: int = 0  # images are brought to this height; 0: they are run at their own size

    def __post_init__(self) -> None:
        """Refuse numbers that no network can have.

        Raises:
            InvalidInput: names the entry, its value and what is allowed.
        """
        _check("focal_px", self.focal_px, FOCAL_PX, or_zero=True)
        _check("temperature", self.temperature, TEMPERATURE)
        _check("input_height", self.input_height, INPUT_HEIGHT, or_zero=True)

    def to_strings(self) -> dict[str, str]:
        """Return the entries of the table above."""
        return {
            "format": FORMAT,
            "format_version": VERSION,
            "config": json.dumps(self.config),
            "label_sets": json.dumps([label_set.to_json() for label_set in self.label_sets]),
            "focal_px": json.dumps(self.focal_px),
            "temperature": json.dumps(self.temperature),
            "input_height": json.dumps(self.input_height),
        }

    @staticmethod
    def from_strings(strings: Mapping[str, str]) -> "NetworkMetadata":
        """Read what ``to_strings`` wrote, among other entries.

        A label set that equals a built-in one comes back as that one, with its remap tables.
        The numbers of the table may be missing, as in the files of earlier versions.

        Raises:
            InvalidInput: not a network file of ours, of another version, damaged, or with a
                number out of its range.
        """
        if strings.get("format") != FORMAT:
            raise InvalidInput(f"its metadata say format {strings.get('format')!r}, not {FORMAT!r}")
        if strings.get("format_version") != VERSION:
            raise InvalidInput(
                f"format_version {strings.get('format_version')!r}, known is {VERSION!r}"
            )
        config, texts = _json(strings, "config", dict), _json(strings, "label_sets", list)
        if not all(isinstance(text, str) for text in texts):
            raise InvalidInput("label_sets in its metadata are not texts")
        return NetworkMetadata(
            config,
            tuple(_built_in_or_own(text) for text in texts),
            _number(strings, "focal_px", NetworkMetadata.focal_px),
            _number(strings, "temperature", NetworkMetadata.temperature),
            _number(strings, "input_height", NetworkMetadata.input_height),
        )


def _check(name: str, value: float, bounds: tuple[float, float], or_zero: bool = False) -> None:
    low, high = bounds
    if not (low <= value <= high or (or_zero and value == 0)):
        allowed = f"{low:g} to {high:g}" + (", or 0 for not known" if or_zero else "")
        raise InvalidInput(f"{name} {value!r}, want {allowed}")


def _number(strings: Mapping[str, str], key: str, default: Any) -> Any:
    """Return a number of the default's type, or the default where the file does not say it."""
    if key not in strings:
        return default
    value = _json(strings, key, object)
    if type(value) not in (int, type(default)):
        raise InvalidInput(f"{key} {value!r} in its metadata: want {type(default).__name__}")
    return value


def _json(strings: Mapping[str, str], key: str, kind: type) -> Any:
    text = strings.get(key, "")
    if len(text) > MAX_TEXT:
        raise InvalidInput(f"{key} in its metadata is {len(text)} characters long")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{key} in its metadata is not JSON: {error}") from None
    if not isinstance(value, kind):
        raise InvalidInput(f"{key} in its metadata is not a {kind.__name__}")
    return value


def _built_in_or_own(text: str) -> LabelSet:
    own = LabelSet.from_json(text)
    return LABEL_SETS[own.name] if own == LABEL_SETS.get(own.name) else own
