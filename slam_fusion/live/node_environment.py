# SPDX-License-Identifier: Apache-2.0
"""What nodes need around them: the transport profile, a ROS domain, the files of ``config/``."""

import os
import socket
import sys
from pathlib import Path

from mtl_perception.conventions import DenseSlamError

PACKAGE = "dense_semantic_slam"

LAST_DOMAIN = 101
"""The ports of higher ROS domains are among those that Linux gives to anybody."""

_DOMAIN_PORTS, _FIRST_PORT = 250, 7410  # UDP: per domain, and of its first participant


class NodeProcessError(DenseSlamError):
    """A node could not be started, or ended by itself when it should have run."""


def node_environment() -> dict[str, str]:
    """Environment for nodes: ours, plus the shared-memory profile of Fast DDS unless one is set.

    With the default transport most of a camera's images are lost between two processes.
    """
    environment = dict(os.environ)
    prefix = "FASTRTPS" if environment.get("ROS_DISTRO") == "humble" else "FASTDDS"
    environment.setdefault(f"{prefix}_DEFAULT_PROFILES_FILE", str(config_file("fastdds_shm.xml")))
    environment.setdefault("PYTHONUNBUFFERED", "1")
    return environment


def private_environment() -> dict[str, str]:
    """Variables that keep nodes among themselves: this machine only, a ROS domain nobody is in.

    For tests and demonstrations, which may run side by side; on a robot the user's settings rule.

    Raises:
        NodeProcessError: every domain is in use.
    """
    # Each run starts at another domain, or two that look at the same time would find the same.
    for attempt in range(LAST_DOMAIN):
        domain = 1 + (os.getpid() + attempt) % LAST_DOMAIN
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("", _FIRST_PORT + _DOMAIN_PORTS * domain))
            except OSError:
                continue
        return {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    raise NodeProcessError(f"all ROS domains 1..{LAST_DOMAIN} are in use on this machine")


def config_file(name: str) -> Path:
    """Locate a file of ``config/``: beside the source, or where pip or colcon installed it.

    Raises:
        NodeProcessError: lists the folders searched.
    """
    folders = [
        Path(__file__).resolve().parents[2] / "config",
        Path(sys.prefix) / "share" / PACKAGE / "config",
        *(
            Path(prefix) / "share" / PACKAGE / "config"
            for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
            if prefix
        ),
    ]
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    raise NodeProcessError(f"{name} is not in {', '.join(map(str, folders))}")
