# SPDX-License-Identifier: Apache-2.0
"""What a network file says of itself, as the strings that .safetensors and ONNX can carry.

| key            | value                                                                |
|----------------|----------------------------------------------------------------------|
| format         | ``dense_semantic_slam.network``                                      |
| format_version | ``1``                                                                |
| config         | JSON object: ``NetworkConfig.to_dict``                               |
| label_sets     | JSON list of ``LabelSet.to_json`` texts, in the order of the channels |

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


@dataclass(frozen=True)
class NetworkMetadata:
    """How a network was built, and what its channels mean."""

    config: Mapping[str, Any]  # NetworkConfig.to_dict, JSON types only
    label_sets: tuple[LabelSet, ...]  # one behind the other; two for a network of two data sets

    def to_strings(self) -> dict[str, str]:
        """Return the entries of the table above."""
        return {
            "format": FORMAT,
            "format_version": VERSION,
            "config": json.dumps(self.config),
            "label_sets": json.dumps([label_set.to_json() for label_set in self.label_sets]),
        }

    @staticmethod
    def from_strings(strings: Mapping[str, str]) -> "NetworkMetadata":
        """Read what ``to_strings`` wrote, among other entries.

        A label set that equals a built-in one comes back as that one, with its remap tables.

        Raises:
            InvalidInput: not a network file of ours, of another version, or damaged.
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
        return NetworkMetadata(config, tuple(_built_in_or_own(text) for text in texts))


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
