# SPDX-License-Identifier: Apache-2.0
"""Reading label sets from text.

YAML (the built-in sets are written in it; the JSON of the ``~/label_set`` topic has the same
keys)::

    name: mine
    classes:
      - {id: 0, name: floor, color: [220, 220, 220]}
    remap:                  # optional: our class -> class of another set
      nyu40: {floor: floor}

Colour CSV (Hydra and Kimera use it), with or without its header line; ``alpha`` is not used::

    name,red,green,blue,alpha,id
    floor,220,220,220,255,0

In both, id 255 may be listed: it is what "unlabelled" always is, and is left out. Repeated
rows count once; one id with two names or colours is refused.
"""

import csv
import io
import json
from pathlib import Path
from typing import Any

import yaml

from mtl_perception.conventions import MAX_CLASSES, UNLABELLED, InvalidInput

MAX_FILE_BYTES = 131_072
"""Room for 254 classes with long names and remaps; larger files are not label sets."""

MAX_SCALAR_CHARACTERS = 256
"""Longest name or number in a YAML file."""

CSV_COLUMNS = ["name", "red", "green", "blue", "alpha", "id"]

Row = tuple[int, str, tuple[int, int, int]]
"""Id, name, RGB as they stood in the file."""

LabelText = tuple[str, list[Row], dict[str, dict[str, str]]]
"""Name of the set, its rows without repetitions, its remap tables."""


def read_text(path: Path) -> str:
    """Return the text of a small file.

    Raises:
        InvalidInput: it cannot be read, is larger than ``MAX_FILE_BYTES``, or is not UTF-8.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise InvalidInput(f"{path} is larger than {MAX_FILE_BYTES} bytes: not a label set")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise InvalidInput(f"label set {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidInput(f"label set {path} is not UTF-8 text: {error}") from error


def parse_yaml(text: str, origin: str) -> LabelText:
    """Read the YAML form.

    Args:
        text: the file.
        origin: what to call it in errors.

    Raises:
        InvalidInput: not YAML, or not of the form above; says where.
    """
    _check_length(text, origin)
    try:
        document = yaml.load(text, _PlainLoader)
    # The last four are what PyYAML raises for values that their tag does not fit.
    except (
        *(yaml.YAMLError, RecursionError, ValueError),
        *(AttributeError, IndexError, KeyError, TypeError),
    ) as error:
        raise InvalidInput(f"{origin} is not YAML: {_first_line(error)}") from error
    return _label_text(document, origin)


def parse_json(text: str, origin: str) -> LabelText:
    """Read the JSON form.

    Args:
        text: the message.
        origin: what to call it in errors.

    Raises:
        InvalidInput: not JSON, or not of the form above; says where.
    """
    _check_length(text, origin)
    try:
        document = json.loads(text)
    except (RecursionError, ValueError) as error:
        raise InvalidInput(f"{origin} is not JSON: {_first_line(error)}") from error
    return _label_text(document, origin)


def parse_csv(text: str, origin: str) -> LabelText:
    """Read the colour CSV form; the set takes the file's stem as its name.

    Args:
        text: the file.
        origin: its path, also what to call it in errors.

    Raises:
        InvalidInput: a row that does not have the six columns; says which line.
    """
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            if not any(cells) or [cell.lower() for cell in cells] == CSV_COLUMNS:
                continue
            rows.append(_csv_row(cells, f"{origin}, line {reader.line_num}"))
    except csv.Error as error:
        raise InvalidInput(f"{origin}, line {reader.line_num}: {error}") from error
    return Path(origin).stem, _distinct(rows, origin), {}


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases and long values: printed in an error, those may fill the memory."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"aliases (*{event.anchor}) are not used in label sets")
        if isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_SCALAR_CHARACTERS:
            raise yaml.YAMLError(f"{event.value[:40]!r}... is too long")
        return super().compose_node(parent, index)


def _label_text(document: Any, origin: str) -> LabelText:
    _check_keys(document, {"name", "classes"}, {"remap"}, origin)
    if not isinstance(document["name"], str) or not isinstance(document["classes"], list):
        raise InvalidInput(f"{origin}: name must be a string and classes a list")
    rows = []
    for number, item in enumerate(document["classes"]):
        where = f"{origin}, class {number}"
        _check_keys(item, {"id", "name", "color"}, set(), where)
        if not isinstance(item["color"], list):
            raise InvalidInput(f"{where}: color must be a list [red, green, blue]")
        rows.append((item["id"], item["name"], tuple(item["color"])))
    return document["name"], _distinct(rows, origin), _remaps(document.get("remap"), origin)


def _check_length(text: str, origin: str) -> None:
    if len(text) > MAX_FILE_BYTES:
        raise InvalidInput(f"{origin} is longer than {MAX_FILE_BYTES} characters: not a label set")


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _csv_row(cells: list[str], where: str) -> Row:
    if len(cells) != len(CSV_COLUMNS):
        raise InvalidInput(f"{where}: want {','.join(CSV_COLUMNS)}, got {','.join(cells)[:80]!r}")
    try:
        red, green, blue, _alpha, class_id = (int(cell) for cell in cells[1:])
    except ValueError:
        raise InvalidInput(f"{where}: not whole numbers: {','.join(cells[1:])[:80]!r}") from None
    return class_id, cells[0], (red, green, blue)


def _distinct(rows: list[Any], origin: str) -> list[Row]:
    """Return the rows without repetitions and without 255; refuse contradictions."""
    by_id: dict[int, Row] = {}
    for row in rows:
        class_id, name, color = row
        if not isinstance(class_id, int):
            raise InvalidInput(f"{origin}: class {name!r} has id {class_id!r}, want a whole number")
        if class_id == UNLABELLED:
            continue
        if by_id.setdefault(class_id, row) != row:
            raise InvalidInput(
                f"{origin}: id {class_id} is both {by_id[class_id][1:]} and {(name, color)}"
            )
    if len(by_id) > MAX_CLASSES:
        raise InvalidInput(f"{origin} has {len(by_id)} classes, at most {MAX_CLASSES} fit")
    return list(by_id.values())


def _remaps(remaps: Any, origin: str) -> dict[str, dict[str, str]]:
    if remaps is None:
        return {}
    if not isinstance(remaps, dict) or not all(isinstance(t, dict) for t in remaps.values()):
        raise InvalidInput(f"{origin}: remap must hold one table per target set")
    for target, table in remaps.items():
        if not all(isinstance(name, str) for pair in table.items() for name in pair):
            raise InvalidInput(f"{origin}: remap to {target!r} must map class names to class names")
    return remaps


def _check_keys(value: Any, required: set[str], optional: set[str], where: str) -> None:
    if not isinstance(value, dict):
        raise InvalidInput(f"{where}: want a table with {', '.join(sorted(required))}")
    missing = sorted(required - value.keys())
    unknown = sorted(map(str, value.keys() - required - optional))
    if missing or unknown:
        raise InvalidInput(f"{where}: missing {missing}, unknown {unknown}")
