# SPDX-License-Identifier: Apache-2.0
"""Commands that start ROS nodes as processes: ``run``, ``play``. ``ros2 launch`` is not needed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from slam_fusion.commands import cli_options as flags

if TYPE_CHECKING:
    from slam_fusion.live.processes import NodeSpec

IMAGE = "/camera/color/image_raw"
DEPTH = "/camera/depth/image_raw"
CAMERA_INFO = "/camera/color/camera_info"


def run(
    image: Annotated[str, typer.Option(help="Topic of the rectified colour image.")] = IMAGE,
    depth: Annotated[str, typer.Option(help="Topic of the registered depth image.")] = DEPTH,
    camera_info: Annotated[str, typer.Option(help="Topic of their CameraInfo.")] = CAMERA_INFO,
    pose: Annotated[
        str, typer.Option(help="Topic of the camera's PoseStamped; empty takes poses from TF.")
    ] = "",
    perception_config: Annotated[
        Path | None, typer.Option(help="Parameter file of the perception node.")
    ] = None,
    fusion_config: Annotated[
        Path | None, typer.Option(help="Parameter file of the fusion node.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Save the map here at the end (Ctrl-C).")
    ] = None,
    use_sim_time: Annotated[bool, typer.Option(help="Take the time from /clock.")] = False,
) -> None:
    """Run the perception and the fusion node until Ctrl-C."""
    from slam_fusion.live.processes import NodeSpec, config_file
    from slam_fusion.output.export import prepare_folder

    fusion_parameters: dict[str, str | bool] = {"use_sim_time": use_sim_time}
    if pose:
        fusion_parameters["pose_source"] = "pose"
    if out:
        prepare_folder(out)
        fusion_parameters |= {"output_folder": str(out.resolve()), "save_on_shutdown": True}
    perception = NodeSpec(
        "perception",
        {"use_sim_time": use_sim_time},
        [perception_config or config_file("perception.yaml")],
        {"image": image, "camera_info": camera_info},
    )
    fusion = NodeSpec(
        "fusion",
        fusion_parameters,
        [fusion_config or config_file("fusion.yaml")],
        {
            "color": image,
            "depth": depth,
            "camera_info": camera_info,
            "predicted_depth": "perception/depth/image",
            "labels": "perception/semantic/labels",
            "confidence": "perception/semantic/confidence",
            "label_set": "perception/label_set",
            **({"pose": pose} if pose else {}),
        },
    )
    _run(fusion, perception)


def play(
    source: flags.Source,
    rate: Annotated[float | None, typer.Option(help="Speed; 1.0 = as recorded.")] = None,
    loop: Annotated[bool, typer.Option(help="Start again at the end.")] = False,
    wait_for_subscribers: Annotated[
        str | None, typer.Option(help='Start when these have one: "depth,color", or all.')
    ] = None,
    start_s: flags.Start = None,
    duration_s: flags.Duration = None,
    trajectory: flags.TrajectoryFile = None,
    intrinsics: flags.IntrinsicsText = None,
    fps: flags.Fps = None,
    depth_scale: flags.DepthScale = None,
    depth_format: flags.DepthFormat = None,
) -> None:
    """Publish a recording over DDS: images, /clock, and the camera's pose (camera_pose)."""
    from slam_fusion.live.processes import NodeSpec

    parameters = flags.given(
        recording=str(source),
        rate=rate,
        loop=loop,
        wait_for_subscribers=wait_for_subscribers,
        start_s=start_s,
        duration_s=duration_s,
        trajectory=trajectory,
        intrinsics=intrinsics,
        fps=fps,
        depth_scale=depth_scale,
        depth_format=depth_format,
    )
    _run(NodeSpec("play", parameters))


def _run(*specs: "NodeSpec") -> None:
    """Run nodes until one ends, or Ctrl-C or SIGTERM comes; then stop the others.

    Raises:
        NodeProcessError: a node failed.
    """
    from slam_fusion.commands.interrupt import stop_on_signal
    from slam_fusion.live.processes import NodeProcesses

    # Innermost, so that both signals end the loop below; then the nodes are stopped in order.
    with NodeProcesses() as nodes, stop_on_signal("stopping the nodes") as stop:
        for spec in specs:
            nodes.start(spec)
        while len(nodes.running()) == len(specs) and not stop.wait(0.2):
            pass
        nodes.check()


COMMANDS = {"run": run, "play": play}
