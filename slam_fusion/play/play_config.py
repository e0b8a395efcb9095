# SPDX-License-Identifier: Apache-2.0
"""Parameters of the play node, and its command line, which says the same in plain flags."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass

from mtl_perception.conventions import InvalidInput


@dataclass(frozen=True)
class PlayConfig:
    """How to play; what to read is in ``RecordingOptions``."""

    recording: str = ""  # path of a bag or an RGB-D folder
    rate: float = 1.0  # seconds of the recording per second
    loop: bool = False  # start again at the end; the clock jumps back
    clock_hz: float = 100.0  # rate of /clock
    # Start when these have a subscriber: kinds such as "depth,color"; all of those; or topics of
    # other nodes, "/perception/depth/image".
    wait_for_subscribers: str = ""

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            InvalidInput: names the parameter and its value.
        """
        if not self.recording:
            raise InvalidInput("recording is empty: give the path of a bag or an RGB-D folder")
        if not 0.001 <= self.rate <= 1000:
            raise InvalidInput(f"rate={self.rate} is not in 0.001..1000")
        if not 1 <= self.clock_hz <= 1000:
            raise InvalidInput(f"clock_hz={self.clock_hz} is not in 1..1000")


def ros_arguments(arguments: Sequence[str]) -> list[str]:
    """Turn ``play_node BAG --rate 2 ...`` into ROS arguments; ``--ros-args ...`` pass through."""
    parser = argparse.ArgumentParser(
        "play_node", description="Play a recording over DDS with its own clock."
    )
    parser.add_argument("recording", nargs="?", help="bag or RGB-D folder")
    parser.add_argument("--rate", type=float, help="speed, 1.0 = as recorded")
    parser.add_argument("--loop", action="store_true", default=None, help="start again at the end")
    parser.add_argument("--start", type=float, dest="start_s", help="skip this many seconds")
    parser.add_argument("--duration", type=float, dest="duration_s", help="play this many seconds")
    parser.add_argument("--clock-hz", type=float, help="rate of /clock")
    parser.add_argument(
        "--wait-for-subscribers",
        nargs="?",
        const="all",
        help="start when these topics have a subscriber: depth,color,... or all",
    )
    own = list(arguments)
    split = own.index("--ros-args") if "--ros-args" in own else len(own)
    given = {name: v for name, v in vars(parser.parse_args(own[:split])).items() if v is not None}
    translated = ["--ros-args"]
    for name, value in given.items():
        translated += ["-p", f"{name}:={json.dumps(value)}"]
    return [*translated, *own[split + 1 :]]
