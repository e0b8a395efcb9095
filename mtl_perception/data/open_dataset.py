# SPDX-License-Identifier: Apache-2.0
"""Data sets by a line of text: ``KIND:PATH?option=value&option=value``, several joined by `` + ``.

| kind    | what PATH is                                | options                      |
|---------|---------------------------------------------|------------------------------|
| shards  | folder of our own rendered shards           |                              |
| rgbd    | numbered RGB-D frames, 7-Scenes style       | frames, neighbours, camera   |

Every kind takes ``labels=DIR`` (pseudo-labels in place of its own), ``remap=LABEL_SET`` and
``every=N`` (each N-th sample), applied in this order.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.data.combine import Concatenated, EveryNth, Remapped
from mtl_perception.data.pseudo_labels import WithPseudoLabels
from mtl_perception.data.rgbd import RgbdFolder
from mtl_perception.data.sample import Dataset
from mtl_perception.labels import load_label_set


def open_dataset(spec: str) -> Dataset:
    """Open the data set that a line of text names; see the module.

    Raises:
        InvalidInput: not such a line; says which kinds or options there are.
        DataMissing, DataCorrupt: what the reader says of its files.
    """
    parts = [_open_one(part.strip()) for part in spec.split(" + ")]
    return parts[0] if len(parts) == 1 else Concatenated(parts)


def _open_one(spec: str) -> Dataset:
    kind, colon, rest = spec.partition(":")
    path, _, query = rest.partition("?")
    if not colon or not path or kind not in READERS:
        raise InvalidInput(
            f"{spec!r} is no data set: want KIND:PATH?option=value, KIND one of "
            f"{', '.join(READERS)}"
        )
    options = dict(_option(text, spec) for text in query.split("&") if text)
    labels, remap, every = (options.pop(name, "") for name in ("labels", "remap", "every"))
    dataset = _call(READERS[kind], Path(path).expanduser(), options, spec)
    if labels:
        dataset = WithPseudoLabels(dataset, Path(labels).expanduser())
    if remap:
        dataset = Remapped(dataset, load_label_set(remap))
    return EveryNth(dataset, _number(every, spec)) if every else dataset


def _option(text: str, spec: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise InvalidInput(f"{spec!r}: {text!r} is not option=value")
    return name, value


def _call(
    reader: Callable[..., Dataset], path: Path, options: Mapping[str, str], spec: str
) -> Dataset:
    """Call a reader with text for each of its keyword arguments."""
    known = [
        p.name for p in inspect.signature(reader).parameters.values() if p.kind == p.KEYWORD_ONLY
    ]
    if unknown := sorted(options.keys() - set(known)):
        raise InvalidInput(
            f"{spec!r}: no option {unknown[0]!r}; there are "
            f"{', '.join([*known, 'labels', 'remap', 'every'])}"
        )
    return reader(path, **options)


def _number(text: str, spec: str) -> int:
    if not text.isdecimal():
        raise InvalidInput(f"{spec!r}: {text!r} is not a whole number")
    return int(text)


def _camera(text: str) -> np.ndarray | None:
    """Return the (3, 3) K of "fx,fy,cx,cy", None for no text."""
    if not text:
        return None
    try:
        fx, fy, cx, cy = map(float, text.split(","))
    except ValueError:
        raise InvalidInput(f"camera {text!r} is not fx,fy,cx,cy") from None
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])


def _frames(text: str) -> tuple[int, int] | None:
    """Return the numbers of "FIRST-LAST", None for no text."""
    first, _, last = text.partition("-")
    if text and not (first.isdecimal() and last.isdecimal()):
        raise InvalidInput(f"frames {text!r} is not FIRST-LAST")
    return (int(first), int(last)) if text else None


def _rgbd(path: Path, *, frames: str = "", neighbours: str = "0", camera: str = "") -> Dataset:
    return RgbdFolder(path, _frames(frames), _number(neighbours, "neighbours"), _camera(camera))


def _shards(path: Path) -> Dataset:
    from mtl_perception.data.shards import ShardDataset

    return ShardDataset(path)


READERS: Mapping[str, Callable[..., Dataset]] = {"shards": _shards, "rgbd": _rgbd}
"""Reader by kind; its keyword arguments are the options, as text."""
