# SPDX-License-Identifier: Apache-2.0
"""Camera images in, labelled 3-D map out: perception, fusion, optionally RViz and a bag."""

import os
from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PythonExpression
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

PACKAGE = "dense_semantic_slam"

TOPICS = {
    "image": "/camera/color/image_raw",
    "camera_info": "/camera/color/camera_info",
    "depth": "/camera/aligned_depth_to_color/image_raw",
}
"""Defaults: a RealSense with ``align_depth``; colour and depth share one CameraInfo."""


def generate_launch_description() -> LaunchDescription:
    """Declare the arguments and the processes."""
    share = Path(get_package_share_directory(PACKAGE))
    value = LaunchConfiguration
    use_sim_time = {"use_sim_time": value("use_sim_time")}

    arguments = [
        DeclareLaunchArgument(
            "image",
            default_value=TOPICS["image"],
            description="Topic of the rectified colour image",
        ),
        DeclareLaunchArgument(
            "camera_info",
            default_value=TOPICS["camera_info"],
            description="Topic of the CameraInfo that colour and depth share",
        ),
        DeclareLaunchArgument(
            "depth",
            default_value=TOPICS["depth"],
            description="Topic of the depth image, registered to the colour image",
        ),
        DeclareLaunchArgument(
            "global_frame", default_value="odom", description="TF frame that the map is built in"
        ),
        DeclareLaunchArgument(
            "pose_source",
            default_value="tf",
            choices=["tf", "odometry", "pose", "transform"],
            description="Where poses come from: TF, or the topic odom, pose or transform",
        ),
        DeclareLaunchArgument(
            "perception_config",
            default_value=str(share / "config" / "perception.yaml"),
            description="Parameter file of the perception node",
        ),
        DeclareLaunchArgument(
            "fusion_config",
            default_value=str(share / "config" / "fusion.yaml"),
            description="Parameter file of the fusion node",
        ),
        DeclareLaunchArgument(
            "output_folder", default_value=".", description="Folder that ~/save_map writes to"
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=["true", "false"],
            description="Take the time from /clock (set it when a bag plays)",
        ),
        DeclareLaunchArgument(
            "bag", default_value="", description="Bag to play with its clock; empty plays none"
        ),
        DeclareLaunchArgument(
            "bag_rate", default_value="1.0", description="Speed at which the bag is played"
        ),
        DeclareLaunchArgument(
            "rviz",
            default_value="true",
            choices=["true", "false"],
            description="Show map, images and TF in RViz",
        ),
    ]
    perception = Node(
        package=PACKAGE,
        executable="perception_node",
        name="perception",
        output="screen",
        parameters=[value("perception_config"), use_sim_time],
        remappings=[("image", value("image")), ("camera_info", value("camera_info"))],
    )
    fusion = Node(
        package=PACKAGE,
        executable="fusion_node",
        name="fusion",
        output="screen",
        parameters=[
            value("fusion_config"),
            use_sim_time,
            {
                name: ParameterValue(value(name), value_type=str)
                for name in ("global_frame", "pose_source", "output_folder")
            },
        ],
        remappings=[
            ("depth", value("depth")),
            ("color", value("image")),
            ("camera_info", value("camera_info")),
            ("predicted_depth", "perception/depth/image"),
            ("labels", "perception/semantic/labels"),
            ("confidence", "perception/semantic/confidence"),
            ("label_set", "perception/label_set"),
        ],
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        name="rviz",
        arguments=["-d", str(share / "config" / "slam.rviz"), "-f", value("global_frame")],
        parameters=[use_sim_time],
        remappings=[("image", value("image"))],
        condition=IfCondition(value("rviz")),
    )
    bag = ExecuteProcess(
        cmd=[
            *("ros2", "bag", "play", value("bag"), "--clock", "--rate", value("bag_rate")),
            *("--qos-profile-overrides-path", str(share / "config" / "tf_static_qos.yaml")),
        ],
        output="screen",
        condition=IfCondition(PythonExpression(['len(r"""', value("bag"), '""") > 0'])),
    )
    # Images larger than Fast DDS's default shared-memory segment would be lost between the nodes.
    prefix = "FASTRTPS" if os.environ.get("ROS_DISTRO") == "humble" else "FASTDDS"
    profile = f"{prefix}_DEFAULT_PROFILES_FILE"
    transport = SetEnvironmentVariable(
        profile, os.environ.get(profile, str(share / "config" / "fastdds_shm.xml"))
    )
    return LaunchDescription([*arguments, transport, perception, fusion, rviz, bag])
