# SPDX-License-Identifier: Apache-2.0
"""A run's configuration from a YAML file and from ``name=value`` texts (no torch)."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import yaml

from mtl_perception.conventions import InvalidInput
from mtl_perception.training.config import TrainConfig

MAX_BYTES = 1 << 20

T = TypeVar("T")


def load_config(path: Path, settings: Sequence[str] = ()) -> TrainConfig:
    """Read a run's configuration.

    Args:
        path: YAML with the names of ``TrainConfig``; what it leaves out has its default.
        settings: ``name=value``, name with dots for what is inside a group, value as in YAML;
            they win over the file.

    Raises:
        InvalidInput: no YAML of that kind, an unknown name, a value of another type.
        OSError: the file cannot be read.
    """
    if path.stat().st_size > MAX_BYTES:
        raise InvalidInput(f"{path}: {path.stat().st_size} bytes are no configuration")
    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(values, dict):
        raise InvalidInput(f"{path}: holds {type(values).__name__}, want name: value")
    for setting in settings:
        _set(values, setting)
    return config_of(values)


def config_of(values: Mapping[str, Any]) -> TrainConfig:
    """Return a configuration from plain values by name; what is left out has its default.

    Raises:
        InvalidInput: an unknown name, or a value of another type.
    """
    return _filled(TrainConfig, values, "")


def to_yaml(config: TrainConfig) -> str:
    """Return YAML that ``load_config`` reads to the same configuration."""
    return yaml.safe_dump(_lists(asdict(config)), sort_keys=False)


def _set(values: dict, setting: str) -> None:
    name, equals, text = setting.partition("=")
    if not equals:
        raise InvalidInput(f"{setting!r} is not name=value")
    *groups, last = name.strip().split(".")
    for group in groups:
        values = values.setdefault(group, {})
        if not isinstance(values, dict):
            raise InvalidInput(f"{setting!r}: {group} is no group of settings")
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidInput(f"{setting!r}: {' '.join(str(error).split())}") from None


def _filled(kind: type[T], values: Any, where: str) -> T:
    """Build a dataclass from plain values, checking names and types."""
    if not isinstance(values, Mapping):
        raise InvalidInput(f"{where or 'configuration'}: got {values!r}, want name: value")
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=2) or known
            raise InvalidInput(f"no setting {where}{name}: did you mean {' or '.join(near)}?")
    try:
        return kind(**{name: _value(hints[name], v, where + name) for name, v in values.items()})
    except TypeError:
        raise InvalidInput(f"{where}: lacks one of {', '.join(known)}") from None


def _value(kind: Any, value: Any, where: str) -> Any:
    if is_dataclass(kind):
        return _filled(kind, value, where + ".")  # type: ignore[arg-type]
    if get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise InvalidInput(f"{where}: got {value!r}, want a list")
        return tuple(_value(get_args(kind)[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if kind is float and type(value) is int:
        value = float(value)
    if kind is float and isinstance(value, str):  # YAML 1.1 takes 1e-3 for text
        value = _number(value, where)
    if type(value) is not kind:
        raise InvalidInput(f"{where}: got {value!r}, want {kind.__name__}")
    return value


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"{where}: got {text!r}, want float") from None


def _lists(values: Any) -> Any:
    """YAML's safe writer knows no tuples."""
    if isinstance(values, dict):
        return {k: _lists(v) for k, v in values.items()}
    return [_lists(v) for v in values] if isinstance(values, list | tuple) else values
