# SPDX-License-Identifier: Apache-2.0
"""Data sets by a line of text: ``KIND:PATH?option=value&option=value``, several joined by `` + ``.

| kind            | what PATH is                                     | options                    |
|-----------------|--------------------------------------------------|----------------------------|
| shards          | folder of our own rendered shards                |                            |
| rgbd            | numbered RGB-D frames, 7-Scenes style            | frames, neighbours, camera |
| tum             | TUM RGB-D sequence: rgb.txt, depth.txt           | camera                     |
| scannet         | one exported ScanNet scan                        | table                      |
| nyud            | NYUDv2: the labelled .mat, or folders made of it | split, normals             |
| masks           | NAME.png with NAME_labels.png, NAME_depth.png    | camera                     |
| kitti           | KITTI raw data with annotated depth              | list, depth, missing       |
| kitti_semantics | KITTI's 200 labelled images                      | camera                     |
| cityscapes      | Cityscapes, fine labels                          | split                      |
| pascal          | PASCAL-Context in multi-task folders             | split, normals, camera     |

``frames=0-798`` chooses numbers, both ends included; ``neighbours=1`` brings the frames before and
after; ``camera=fx,fy,cx,cy`` in pixels; ``split=train``; ``normals=+0-1-2`` says which channel is
our x, y and z; ``list``, ``depth`` and ``table`` are paths;
``missing=leave_out`` leaves out images whose depth is not there.
Every kind takes ``labels=DIR`` (pseudo-labels in place of its own), ``remap=LABEL_SET`` and
``every=N`` (each N-th sample), applied in this order.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.data.cityscapes import open_cityscapes
from mtl_perception.data.combine import Concatenated, EveryNth, Remapped
from mtl_perception.data.kitti import open_kitti_depth, open_kitti_semantics
from mtl_perception.data.nyud import open_masks, open_nyud
from mtl_perception.data.pascal import open_pascal
from mtl_perception.data.pseudo_labels import WithPseudoLabels
from mtl_perception.data.rgbd import RgbdFolder
from mtl_perception.data.sample import Dataset
from mtl_perception.data.scannet import ScannetFolder
from mtl_perception.data.shards import ShardDataset
from mtl_perception.data.tum import open_tum
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


def _shards(path: Path) -> Dataset:
    return ShardDataset(path)


def _rgbd(path: Path, *, frames: str = "", neighbours: str = "0", camera: str = "") -> Dataset:
    return RgbdFolder(path, _frames(frames), _number(neighbours, "neighbours"), _camera(camera))


def _tum(path: Path, *, camera: str = "") -> Dataset:
    return open_tum(path, _camera(camera))


def _scannet(path: Path, *, table: str = "") -> Dataset:
    return ScannetFolder(path, Path(table) if table else None)


def _nyud(path: Path, *, split: str = "", normals: str = "") -> Dataset:
    return open_nyud(path, split, normals)


def _masks(path: Path, *, camera: str = "") -> Dataset:
    return open_masks(path, _camera(camera))


def _kitti(path: Path, *, list: str = "", depth: str = "", missing: str = "") -> Dataset:  # noqa: A002
    if not list or missing not in ("", "leave_out"):
        raise InvalidInput("kitti: want list=FILE of the split, and missing=leave_out or nothing")
    return open_kitti_depth(path, Path(list), Path(depth) if depth else None, bool(missing))


def _kitti_semantics(path: Path, *, camera: str = "") -> Dataset:
    return open_kitti_semantics(path, _camera(camera))


def _cityscapes(path: Path, *, split: str = "train") -> Dataset:
    return open_cityscapes(path, split)


def _pascal(path: Path, *, split: str = "train", normals: str = "", camera: str = "") -> Dataset:
    return open_pascal(path, split, normals, _camera(camera))


READERS: Mapping[str, Callable[..., Dataset]] = {
    "shards": _shards,
    "rgbd": _rgbd,
    "tum": _tum,
    "scannet": _scannet,
    "nyud": _nyud,
    "masks": _masks,
    "kitti": _kitti,
    "kitti_semantics": _kitti_semantics,
    "cityscapes": _cityscapes,
    "pascal": _pascal,
}
"""Reader by kind; its keyword arguments are the options, as text."""
