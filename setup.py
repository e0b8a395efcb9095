# SPDX-License-Identifier: Apache-2.0
"""All package metadata; pyproject.toml has none (colcon and pip disagree about a [project] table)."""

from glob import glob

from setuptools import find_packages, setup

NAME = "dense_semantic_slam"

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=["mtl_perception*", "slam_fusion*"]),
    package_data={"mtl_perception": ["label_sets/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
        (f"share/{NAME}/config", glob("config/*")),
    ],
    install_requires=["setuptools", "numpy", "pyyaml"],
    zip_safe=True,
    maintainer="dense_semantic_slam developers",
    maintainer_email="maintainers@example.org",
    description="Joint segmentation and depth networks fused into a labelled 3-D map, on ROS 2",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "dense-semantic-slam = slam_fusion.cli:main",
            "perception_node = mtl_perception.node:main",
            "fusion_node = slam_fusion.node:main",
            "play_node = slam_fusion.node_play:main",
        ]
    },
)
