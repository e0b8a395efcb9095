# SPDX-License-Identifier: Apache-2.0
"""All package metadata; pyproject.toml has none, as colcon and pip disagree about [project]."""

from glob import glob

from setuptools import find_packages, setup

NAME = "dense_semantic_slam"

# Lower bounds are the oldest versions that the tests have run on; constraints.txt pins exact ones.
NUMBA = "numba>=0.68"
OPENCV = "opencv-python>=4.11,<5"

EXTRAS = {
    "perception": [
        "ai-edge-litert>=2.3",
        "onnx>=1.23",
        "onnxruntime>=1.23",
        "safetensors>=0.8",
        NUMBA,
        OPENCV,
    ],
    # Joint networks on CPUs in less time than by ONNX Runtime, on newer ones in half of it.
    "openvino": ["openvino>=2026.4"],
    "fusion": [
        "open3d>=0.20",
        "rich>=15.0",
        "rosbags>=0.11.9",
        "scipy>=1.15",
        "typer>=0.29",
        NUMBA,
        OPENCV,
    ],
    # Fusion on an NVIDIA GPU; the tests run its kernels on the CPU as well.
    "gpu": ["warp-lang>=1.19"],
    # ROS 2 itself, for machines without it; never beside a sourced ROS install.
    "ros": [
        "ros-diagnostic-msgs>=5.5",
        "ros-geometry-msgs>=5.5",
        "ros-nav-msgs>=5.5",
        "ros-rclpy>=9.1",
        "ros-rmw-fastrtps-cpp>=9.3",
        "ros-rosgraph-msgs>=2.3",
        "ros-sensor-msgs>=5.5",
        "ros-std-msgs>=5.5",
        "ros-std-srvs>=5.5",
        "ros-visualization-msgs>=5.5",
    ],
    # ROS's build tool, likewise: a ROS install brings its own.
    "colcon": ["colcon-core>=0.21", "colcon-python-setup-py>=0.2.9", "colcon-ros>=0.5"],
    # The networks themselves: training, published weights, export.
    "torch": ["onnx>=1.23", "onnxscript>=0.7", "safetensors>=0.8", "torch>=2.13"],
    # The labelled NYUDv2, which is a MATLAB file.
    "datasets": ["h5py>=3.16", "scipy>=1.15"],
    "test": ["pytest>=9.2"],
    "dev": ["mypy>=2.4", "ruff>=0.17"],
}

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=["mtl_perception*", "slam_fusion*"]),
    package_data={
        "mtl_perception": [
            "*.yaml",
            "label_sets/*",
            "networks/data/*",
            "synthetic/*.yaml",
            "weights/*",
        ]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{NAME}/config", sorted(glob("config/*.*"))),
        (f"share/{NAME}/config/training", sorted(glob("config/training/*.yaml"))),
    ],
    python_requires=">=3.10",
    install_requires=["setuptools", "numpy>=1.26", "pyyaml>=6.0"],
    extras_require=EXTRAS,
    zip_safe=False,
    maintainer="dense_semantic_slam developers",
    maintainer_email="maintainers@example.org",
    description="Joint segmentation and depth networks fused into a labelled 3-D map, on ROS 2",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "dense-semantic-slam = slam_fusion.commands.cli:main",
            "perception_node = mtl_perception.node:main",
            "fusion_node = slam_fusion.node:main",
            "play_node = slam_fusion.play.node_play:main",
        ]
    },
)
