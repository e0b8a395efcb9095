# SPDX-License-Identifier: Apache-2.0
"""Label sets: which id is which class, its colour for eyes, and how one set maps to another."""

import difflib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from pathlib import Path

import numpy as np

from mtl_perception.conventions import MAX_CLASSES, UNLABELLED, InvalidInput
from mtl_perception.label_files import parse_csv, parse_json, parse_yaml, read_text

BUILT_IN = ("nyu40", "nyu13", "kitti6", "cityscapes19", "ade20k32", "voc21")


@dataclass(frozen=True)
class LabelClass:
    """One class: what its id, its name and its colour are."""

    id: int  # 0..253
    name: str
    color: tuple[int, int, int]  # RGB, 0..255

    def __post_init__(self) -> None:
        """Refuse ids, names and colours that no label image can carry.

        Raises:
            InvalidInput: with the offending values.
        """
        if not _is_int(self.id) or not 0 <= self.id < MAX_CLASSES:
            raise InvalidInput(
                f"class {self.name!r}: id {self.id!r} is not in 0..{MAX_CLASSES - 1}"
            )
        if not isinstance(self.name, str) or not self.name.strip():
            raise InvalidInput(f"class {self.id}: name {self.name!r} is not a non-empty string")
        if not self.name.isprintable():  # line ends, or halves of characters that UTF-8 cannot send
            raise InvalidInput(
                f"class {self.id}: name {self.name!r} has characters without a shape"
            )
        if len(self.color) != 3 or not all(_is_int(c) and 0 <= c <= 255 for c in self.color):
            raise InvalidInput(f"class {self.name!r}: color {self.color} is not three of 0..255")


@dataclass(frozen=True)
class LabelSet:
    """The classes that a label image speaks of, in ascending order of id.

    ``remaps`` holds, by the name of another set, which class of ours is which class there.
    """

    name: str
    classes: tuple[LabelClass, ...]
    remaps: Mapping[str, Mapping[str, str]] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Sort the classes and refuse two of one id.

        Raises:
            InvalidInput: a name that cannot be printed, no class at all, or the names that
                share an id.
        """
        if not self.name.isprintable():
            raise InvalidInput(f"label set name {self.name!r} has characters without a shape")
        if not self.classes:
            raise InvalidInput(f"label set {self.name!r} has no classes")
        object.__setattr__(self, "classes", tuple(sorted(self.classes, key=lambda c: c.id)))
        for one, other in zip(self.classes, self.classes[1:], strict=False):
            if one.id == other.id:
                raise InvalidInput(
                    f"label set {self.name!r}: id {one.id} is both {one.name!r} and {other.name!r}"
                )

    def __len__(self) -> int:
        """Count of classes."""
        return len(self.classes)

    @cached_property
    def names(self) -> dict[int, str]:
        """Class name by id."""
        return {c.id: c.name for c in self.classes}

    def id_of(self, name: str) -> int:
        """Return the id of the class called ``name``.

        Raises:
            InvalidInput: no class has that name (near ones are listed), or several have it.
        """
        ids = [c.id for c in self.classes if c.name == name]
        if len(ids) == 1:
            return ids[0]
        if ids:
            raise InvalidInput(f"label set {self.name!r}: {name!r} names several ids: {ids}")
        near = difflib.get_close_matches(name, self.names.values(), n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "no name is near"
        raise InvalidInput(f"label set {self.name!r} has no class {name!r}: {hint}")

    @cached_property
    def palette(self) -> np.ndarray:
        """(256, 3) uint8 RGB by id; black for 255 and for ids without a class. Read-only."""
        palette = np.zeros((256, 3), np.uint8)
        for c in self.classes:
            palette[c.id] = c.color
        palette.setflags(write=False)
        return palette

    def colorize(self, labels: np.ndarray) -> np.ndarray:
        """Return the colours of class ids: (...) uint8 -> (..., 3) uint8 RGB.

        Raises:
            InvalidInput: ``labels`` is not uint8.
        """
        if labels.dtype != np.uint8:
            raise InvalidInput(f"colorize: want uint8 class ids, got {labels.dtype}")
        return self.palette[labels]

    def to_json(self) -> str:
        """Return name and classes as one line of JSON (the ``~/label_set`` topic)."""
        classes = [{"id": c.id, "name": c.name, "color": list(c.color)} for c in self.classes]
        return json.dumps({"name": self.name, "classes": classes})

    @staticmethod
    def from_json(text: str) -> "LabelSet":
        """Read what ``to_json`` wrote; remap tables do not travel.

        Raises:
            InvalidInput: not such a text.
        """
        return _label_set(*parse_json(text, "label set JSON"))


def remap_table(
    source: LabelSet, target: LabelSet, by_name: Mapping[str, str] | None = None
) -> np.ndarray:
    """Return the table that turns ids of ``source`` into ids of ``target``.

    Tables compose: ``b_to_c[a_to_b]``; and apply by indexing: ``table[labels]``.

    Args:
        source: the set that labels are in.
        target: the set that they are wanted in.
        by_name: source class name -> target class name. Without it the table that ``source``
            brings for ``target`` holds, or else classes of equal name map to each other.

    Returns:
        (256,) uint8; 255 for 255 and for every id without a counterpart.

    Raises:
        InvalidInput: ``by_name`` speaks of a class that is not in its set.
    """
    if by_name is None:
        by_name = source.remaps.get(target.name)
    if by_name is None:
        target_names = set(target.names.values())
        by_name = {name: name for name in source.names.values() if name in target_names}
    table = np.full(256, UNLABELLED, np.uint8)
    for source_name, target_name in by_name.items():
        table[source.id_of(source_name)] = target.id_of(target_name)
    return table


def load_label_set(name_or_path: str) -> LabelSet:
    """Return a built-in set by its name, or read one from a YAML or colour CSV file.

    The formats are described in ``mtl_perception.label_files``.

    Raises:
        InvalidInput: no such set or file, or a file that is not a label set.
    """
    if name_or_path in LABEL_SETS:
        return LABEL_SETS[name_or_path]
    path = Path(name_or_path)
    parse = {".yaml": parse_yaml, ".yml": parse_yaml, ".csv": parse_csv}.get(path.suffix.lower())
    if parse is None:
        near = difflib.get_close_matches(name_or_path, BUILT_IN, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise InvalidInput(
            f"no label set {name_or_path!r}{hint}: give one of {', '.join(BUILT_IN)}, "
            "a .yaml file or a colour .csv file"
        )
    return _label_set(*parse(read_text(path), str(path)))


class _BuiltInSets(Mapping[str, LabelSet]):
    """The label sets that ship with the package; each is read when first asked for."""

    def __getitem__(self, name: str) -> LabelSet:
        if name not in BUILT_IN:
            raise KeyError(name)
        return _built_in(name)

    def __iter__(self) -> Iterator[str]:
        return iter(BUILT_IN)

    def __len__(self) -> int:
        return len(BUILT_IN)

    def __contains__(self, name: object) -> bool:
        return name in BUILT_IN


LABEL_SETS: Mapping[str, LabelSet] = _BuiltInSets()
"""Built-in label sets by name."""


@cache
def _built_in(name: str) -> LabelSet:
    file = resources.files("mtl_perception") / "label_sets" / f"{name}.yaml"
    return _label_set(*parse_yaml(file.read_text("utf-8"), f"built-in label set {name}"))


def _label_set(
    name: str,
    rows: list[tuple[int, str, tuple[int, int, int]]],
    remaps: Mapping[str, Mapping[str, str]],
) -> LabelSet:
    return LabelSet(name, tuple(LabelClass(*row) for row in rows), remaps)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
