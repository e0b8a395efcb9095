# SPDX-License-Identifier: Apache-2.0
import pytest

from slam_fusion.recordings.bag_topics import ImageTopic, find_pose_topic, find_topics
from slam_fusion.recordings.recording import BadRecording, RecordingOptions

IMAGE, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"


def found(images: dict[str, str], infos: list[str], **options):
    types = dict.fromkeys(images, IMAGE) | dict.fromkeys(infos, INFO)
    topics = [ImageTopic(name, encoding) for name, encoding in images.items()]
    return find_topics(topics, types, RecordingOptions(**options))


def test_realsense_with_aligned_depth():
    topics = found(
        {
            "/camera/camera/color/image_raw": "rgb8",
            "/camera/camera/depth/image_rect_raw": "16UC1",
            "/camera/camera/aligned_depth_to_color/image_raw": "16UC1",
            "/camera/camera/infra1/image_rect_raw": "mono8",
        },
        [
            "/camera/camera/color/camera_info",
            "/camera/camera/depth/camera_info",
            "/camera/camera/aligned_depth_to_color/camera_info",
        ],
    )
    assert topics.depth == "/camera/camera/aligned_depth_to_color/image_raw"
    assert topics.color == "/camera/camera/color/image_raw"
    assert topics.camera_info == "/camera/camera/aligned_depth_to_color/camera_info"


def test_azure_kinect_registers_either_way():
    topics = found(
        {
            "/rgb/image_raw": "bgra8",
            "/depth_to_rgb/image_raw": "32FC1",
            "/depth/image_raw": "32FC1",
            "/ir/image_raw": "mono16",
        },
        ["/rgb/camera_info", "/depth/camera_info", "/depth_to_rgb/camera_info"],
    )
    assert topics.depth == "/depth_to_rgb/image_raw" and topics.color == "/rgb/image_raw"
    assert topics.camera_info == "/depth_to_rgb/camera_info"


def test_zed_takes_its_colour_image_of_many():
    topics = found(
        {
            "/zed/zed_node/depth/depth_registered": "32FC1",
            "/zed/zed_node/rgb/image_rect_color": "bgra8",
            "/zed/zed_node/left/image_rect_color": "bgra8",
            "/zed/zed_node/right/image_rect_color": "bgra8",
            "/zed/zed_node/confidence/confidence_map": "32FC1",
            "/zed/zed_node/disparity/disparity_image": "32FC1",
        },
        ["/zed/zed_node/depth/camera_info", "/zed/zed_node/rgb/camera_info"],
    )
    assert topics.depth == "/zed/zed_node/depth/depth_registered"
    assert topics.color == "/zed/zed_node/rgb/image_rect_color"
    assert topics.confidence == ""  # of the depth: there are no labels that it could be of


def test_tum_bag_of_ros_1():
    topics = found(
        {"/camera/rgb/image_color": "rgb8", "/camera/depth/image": "32FC1"},
        ["/camera/rgb/camera_info", "/camera/depth/camera_info"],
    )
    assert topics.depth == "/camera/depth/image" and topics.color == "/camera/rgb/image_color"


def test_labels_confidence_and_pictures_of_a_perception_node():
    topics = found(
        {
            "/camera/color/image_raw": "rgb8",
            "/camera/depth/image_raw": "16UC1",
            "/perception/semantic/labels": "mono8",
            "/perception/semantic/confidence": "mono8",
            "/perception/semantic/color": "rgb8",
            "/perception/semantic/overlay": "rgb8",
            "/perception/normals": "32FC3",
        },
        ["/camera/depth/camera_info"],
    )
    assert topics.labels == "/perception/semantic/labels"
    assert topics.confidence == "/perception/semantic/confidence"
    assert topics.color == "/camera/color/image_raw"


def test_compressed_topics_are_found_and_raw_ones_preferred():
    topics = found(
        {
            "/cam/depth/image_raw/compressedDepth": "16UC1; compressedDepth png",
            "/cam/color/image_raw/compressed": "rgb8; jpeg compressed bgr8",
            "/cam/color/image_raw": "rgb8",
        },
        ["/cam/depth/camera_info"],
    )
    assert topics.depth == "/cam/depth/image_raw/compressedDepth"
    assert topics.color == "/cam/color/image_raw"
    assert topics.camera_info == "/cam/depth/camera_info"


def test_one_topic_cannot_be_two_kinds_of_image():
    images = {"/c/depth/image": "16UC1", "/c/color/image": "rgb8"}
    with pytest.raises(BadRecording, match="two kinds of image: /c/depth/image, /c/color/image"):
        found(images, ["/c/depth/camera_info"], labels_topic="/c/color/image")


def test_sixteen_bit_labels_are_not_depth():
    topics = found(
        {"/cam/depth/image": "32FC1", "/cam/semantic_segmentation/image": "mono16"},
        ["/cam/depth/camera_info"],
    )
    assert topics.depth == "/cam/depth/image"
    assert topics.labels == "/cam/semantic_segmentation/image"


def test_the_camera_info_of_two_cameras_must_be_named_when_none_is_beside_the_depth():
    images = {"/depth": "32FC1", "/image": "rgb8"}
    infos = ["/left/info", "/right/info"]
    with pytest.raises(BadRecording, match="--camera-info-topic .*/left/info, /right/info"):
        found(images, infos)
    assert found(images, infos, camera_info_topic="/left/info").camera_info == "/left/info"
    assert found(images, [], intrinsics="1,1,1,1").camera_info == ""


def test_the_only_pose_topic_serves_a_bag_without_tf():
    pose, odometry = "geometry_msgs/msg/PoseStamped", "nav_msgs/msg/Odometry"
    assert find_pose_topic({"/p": pose}, RecordingOptions()) == "/p"
    assert find_pose_topic({"/p": pose, "/tf": "tf2_msgs/msg/TFMessage"}, RecordingOptions()) == ""
    with pytest.raises(BadRecording, match="pose_topic is ambiguous: /odom, /p"):
        find_pose_topic({"/p": pose, "/odom": odometry}, RecordingOptions())
    assert (
        find_pose_topic({"/p": pose, "/odom": odometry}, RecordingOptions(pose_topic="/odom"))
        == "/odom"
    )
