# SPDX-License-Identifier: Apache-2.0
"""Cityscapes (Cordts et al. 2016): images, fine labels, and depth where its disparity is there."""

import json
from pathlib import Path

import numpy as np

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.data.files import read_gray, require_folder
from mtl_perception.data.image_files import (
    ImageFiles,
    OneCamera,
    Reading,
    SampleFiles,
    camera_matrix,
)
from mtl_perception.data.sample import DataCorrupt, Dataset
from mtl_perception.data.text_files import intrinsics_of, read_text
from mtl_perception.labels import LABEL_SETS

SPLITS = ("train", "val", "test")

LABEL_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Label id in the files, in the order of the 19 classes that are judged."""

LAST_LABEL_ID = 33

CAMERA = OneCamera(
    camera_matrix(2262.52, 2265.3017905988554, 1096.98, 513.137), "Cityscapes' usual camera"
)
BASELINE = 0.209313
"""Metres between its two cameras."""


def id_table_of_cityscapes() -> np.ndarray:
    """Return the class of each label id: (256,) int16; 255 for those not judged, -1 for no id."""
    table = np.full(256, -1, np.int16)
    table[: LAST_LABEL_ID + 1] = UNLABELLED
    table[UNLABELLED] = UNLABELLED  # id -1, the licence plate, in eight bits
    table[list(LABEL_IDS)] = np.arange(len(LABEL_IDS))
    return table


def open_cityscapes(path: Path, split: str) -> Dataset:
    """Open ``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` with ``gtFine/.../*_gtFine_labelIds.png``.

    Where the folders ``disparity`` and ``camera`` exist, samples have depth and their own camera.

    Raises:
        DataMissing: files are missing; their count and the first names.
        InvalidInput: no such split.
    """
    if split not in SPLITS:
        raise InvalidInput(f"split {split!r} is not one of {', '.join(SPLITS)}")
    folder = path / "leftImg8bit" / split
    require_folder(folder, "CITY/*_leftImg8bit.png")
    has_camera = (path / "camera").is_dir()
    has_depth = has_camera and (path / "disparity").is_dir()

    def beside(stem: str, city: str, kind: str, ending: str) -> Path:
        return path / kind / split / city / f"{stem}_{ending}"

    rows = []
    for image in sorted(folder.glob("*/*_leftImg8bit.png")):
        stem, city = image.name.removesuffix("_leftImg8bit.png"), image.parent.name
        rows.append(
            SampleFiles(
                f"{city}/{stem}",
                image,
                beside(stem, city, "disparity", "disparity.png") if has_depth else None,
                beside(stem, city, "gtFine", "gtFine_labelIds.png"),
                camera=beside(stem, city, "camera", "camera.json") if has_camera else None,
            )
        )
    reading = Reading(
        _camera,
        depth_of=depth_of_disparity,
        label_set=LABEL_SETS["cityscapes19"],
        id_table=id_table_of_cityscapes(),
    )
    return ImageFiles(f"Cityscapes {split}", rows, reading)


def depth_of_disparity(path: Path, camera: Intrinsics) -> np.ndarray:
    """Return the depth of a disparity PNG: (H, W) float32 metres, 0 = unknown.

    The file holds disparity * 256 + 1 in pixels, 0 = unknown; depth = baseline * fx / disparity.
    """
    raw = read_gray(path, np.uint16).astype(np.float32)
    disparity = (raw - 1) / 256
    known = disparity > 0
    return np.divide(
        np.float32(BASELINE * camera.fx), disparity, out=np.zeros_like(raw), where=known
    )


def _camera(files: SampleFiles, shape: tuple[int, int]) -> Intrinsics:
    if files.camera is None:
        return CAMERA(files, shape)
    try:
        values = json.loads(read_text(files.camera))["intrinsic"]
        K = camera_matrix(*(float(values[name]) for name in ("fx", "fy", "u0", "v0")))
    except (KeyError, RecursionError, TypeError, ValueError):
        raise DataCorrupt(f"{files.camera}: no intrinsic fx, fy, u0, v0 in it") from None
    return intrinsics_of(K, shape, files.camera)
