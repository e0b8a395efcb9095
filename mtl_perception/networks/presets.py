# SPDX-License-Identifier: Apache-2.0
"""Networks by name, and configurations to and from plain dictionaries."""

import difflib
from collections.abc import Mapping
from typing import Any

from torch import nn

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks import mti_net, nekrasov_config, pad_net, xdistill_depth
from mtl_perception.networks.config import NetworkConfig, read_config

PRESETS: Mapping[str, NetworkConfig] = {
    **nekrasov_config.presets(),
    **pad_net.presets(),
    **mti_net.presets(),
    **xdistill_depth.presets(),
}
"""Configurations by name; every method brings its own through ``presets()``."""

METHODS: Mapping[str, type[NetworkConfig]] = {c.method: type(c) for c in PRESETS.values()}
"""Configuration class by name of the method."""


def build(config: NetworkConfig | str) -> nn.Module:
    """Return a network with fresh random weights.

    Args:
        config: a configuration, or the name of a preset.

    Raises:
        InvalidInput: no preset has that name; near ones are listed.
    """
    return (find_preset(config) if isinstance(config, str) else config).build()


def find_preset(name: str) -> NetworkConfig:
    """Return the configuration called ``name``.

    Raises:
        InvalidInput: no preset has that name; near ones are listed.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=3) or PRESETS
        raise InvalidInput(f"no network {name!r}: did you mean {' or '.join(near)}?")
    return PRESETS[name]


def config_from_dict(values: Mapping[str, Any]) -> NetworkConfig:
    """Return the configuration that ``NetworkConfig.to_dict`` wrote, from JSON as well.

    Raises:
        InvalidInput: an unknown method, a field that the method does not have, lacks, or has
            with another type.
    """
    method = str(values.get("method"))
    if method not in METHODS:
        raise InvalidInput(f"network method {method!r} is not one of {', '.join(METHODS)}")
    return read_config(METHODS[method], values)
