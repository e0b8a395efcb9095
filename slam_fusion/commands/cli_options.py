# SPDX-License-Identifier: Apache-2.0
"""Flags that several commands share; ``None`` means "not given", so defaults stay in one place."""

from pathlib import Path
from typing import Annotated, Any

import typer

RECORDING = "Recording"
MAP = "Map"
LABELS = "Labels"


def flag(help_text: str, panel: str | None = None, default: str = "") -> Any:
    """Return a typer option that is named after its parameter.

    Args:
        help_text: for people.
        panel: heading of the help that it belongs under.
        default: what the help calls the default; the value itself stays in the configuration,
            whose module would make ``--help`` slow. A test compares the two.
    """
    return typer.Option(help=help_text, rich_help_panel=panel, show_default=default or True)


Source = Annotated[
    Path, typer.Argument(help="rosbag2 folder, .mcap, .db3, .bag, or a folder of RGB-D images.")
]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]

ColorTopic = Annotated[str | None, flag("Colour images.", RECORDING)]
DepthTopic = Annotated[str | None, flag("Depth images.", RECORDING)]
LabelsTopic = Annotated[str | None, flag("Label images.", RECORDING)]
ConfidenceTopic = Annotated[str | None, flag("Confidence images.", RECORDING)]
CameraInfoTopic = Annotated[str | None, flag("CameraInfo of the depth images.", RECORDING)]
PoseTopic = Annotated[
    str | None, flag("PoseStamped, Odometry or TransformStamped, in place of TF.", RECORDING)
]
TrajectoryFile = Annotated[
    str | None, flag("TUM file or folder of frame-NNNNNN.pose.txt with the poses.", RECORDING)
]
CameraFrame = Annotated[str | None, flag("TF name of the optical frame.", RECORDING)]
IntrinsicsText = Annotated[str | None, flag("fx,fy,cx,cy or a file with a 3x3.", RECORDING)]
ApproxSync = Annotated[
    float | None,
    typer.Option(
        "--approx-sync",
        help="Seconds between images of one frame; 0 = equal stamps.",
        rich_help_panel=RECORDING,
    ),
]
Start = Annotated[
    float | None,
    typer.Option("--start", help="Seconds to skip at the start.", rich_help_panel=RECORDING),
]
Duration = Annotated[
    float | None, typer.Option("--duration", help="Seconds to use.", rich_help_panel=RECORDING)
]
Fps = Annotated[float | None, flag("Frame rate of numbered files.", RECORDING)]
DepthScale = Annotated[float | None, flag("Depth units per metre of image folders.", RECORDING)]
DepthFormat = Annotated[str | None, flag("auto, or label_fusion for its rotated bits.", RECORDING)]

GlobalFrame = Annotated[str | None, flag("Frame of the map.", MAP)]
VoxelSize = Annotated[float | None, flag("Edge of a voxel, metres.", MAP, "0.04")]
MinDepth = Annotated[float | None, flag("Nearest depth that is fused, metres.", MAP, "0.1")]
MaxDepth = Annotated[float | None, flag("Farthest depth that is fused, metres.", MAP, "5.0")]
DepthSourceName = Annotated[
    str | None, flag("Depth to fuse: sensor, network, or fused.", MAP, "sensor")
]
DepthFromMotion = Annotated[
    bool | None,
    flag("Correct a network's depth by points that are seen from several places.", MAP, "yes"),
]
EdgeRejection = Annotated[
    float | None, flag("Jump of depth that drops a pixel between surfaces; 0 = off.", MAP, "0.05")
]
WeighPixels = Annotated[
    bool | None,
    flag("Near, head-on and away from label borders pixels count for more.", MAP, "yes"),
]
CarveFreeSpace = Annotated[
    bool | None, flag("What the camera sees through leaves the map.", MAP, "yes")
]
ClassPolicies = Annotated[
    list[str] | None,
    typer.Option(
        "--class-policy",
        help="CLASS=integrate, ignore, dynamic or decay; may be given many times.",
        rich_help_panel=MAP,
        show_default="person=dynamic",
    ),
]
MaxRate = Annotated[
    float | None, flag("Frames fused per second at most, by stamps; 0 = all.", MAP, "0.0")
]
MemoryLimit = Annotated[int | None, flag("Memory that the volume may take, MiB.", MAP, "2048")]
DiskLimit = Annotated[
    int | None, flag("Disk for what does not fit in memory, MiB; 0 = none.", MAP, "16384")
]
FusionDevice = Annotated[str | None, flag("Where frames are fused: auto, cpu, cuda.", MAP, "auto")]

LabelSetName = Annotated[
    str | None, flag("Meaning of recorded ids: a built-in set, .yaml or colour .csv.", LABELS)
]
Model = Annotated[str | None, flag("Network: a name of `models list`, or a file.", LABELS)]
Threads = Annotated[int | None, flag("Threads of the network; 0 = all.", LABELS)]


def given(**options: Any) -> dict[str, Any]:
    """Return the options that the user gave."""
    return {name: value for name, value in options.items() if value is not None}
