# SPDX-License-Identifier: Apache-2.0
"""PASCAL-Context in the folders of multi-task learning (Maninis et al. 2019)."""

from pathlib import Path

import numpy as np

from mtl_perception.conventions import InvalidInput
from mtl_perception.data.files import require_folder
from mtl_perception.data.image_files import (
    ImageFiles,
    OneCamera,
    Reading,
    SampleFiles,
    camera_matrix,
    id_table,
)
from mtl_perception.data.sample import Dataset
from mtl_perception.data.text_files import read_names
from mtl_perception.labels import LABEL_SETS

SPLITS = ("train", "val")


def open_pascal(
    path: Path, split: str, normals: str = "", camera: np.ndarray | None = None
) -> Dataset:
    """Open ``JPEGImages`` with ``semseg/VOC12`` or ``semseg/pascal-context`` (21 classes).

    Args:
        path: the folder; ``ImageSets/Context/SPLIT.txt`` lists the names.
        split: train or val.
        normals: read ``normals_distill``, whose axes are these (``turned_normals``). An expert for
            rooms made them: outdoors they mean little.
        camera: (3, 3) K; these are pictures from the web, so there is none. None = a focal length
            of 500 pixels and the middle of a 500x375 image, which labels do not care about.

    Raises:
        DataMissing: files are missing; their count and the first names.
        InvalidInput: no such split.
    """
    if split not in SPLITS:
        raise InvalidInput(f"split {split!r} is not one of {', '.join(SPLITS)}")
    require_folder(path / "JPEGImages", "*.jpg")
    rows = []
    for name in read_names(path / "ImageSets" / "Context" / f"{split}.txt"):
        voc = path / "semseg" / "VOC12" / f"{name}.png"
        rows.append(
            SampleFiles(
                name,
                path / "JPEGImages" / f"{name}.jpg",
                labels=voc if voc.exists() else path / "semseg" / "pascal-context" / f"{name}.png",
                normals=path / "normals_distill" / f"{name}.png" if normals else None,
            )
        )
    K = camera_matrix(500, 500, 249.5, 187) if camera is None else camera
    reading = Reading(
        OneCamera(K, "the given camera"),
        label_set=LABEL_SETS["voc21"],
        id_table=id_table(LABEL_SETS["voc21"]),
        normal_axes=normals,
    )
    return ImageFiles(f"PASCAL-Context {split}", rows, reading)
