# SPDX-License-Identifier: Apache-2.0
"""NYU Depth v2 (Silberman et al. 2012): the labelled .mat, or folders made from it.

Three forms, told apart by what the folder holds:

- ``nyu_depth_v2_labeled.mat`` with ``labels40.mat`` (the 40 classes of Gupta et al. 2013) and
  ``splits.mat``; needs h5py (extra ``datasets``) and SciPy;
- ``gt_sets/train.txt`` with ``images/*.jpg``, ``segmentation/*.png`` (0 = void, 1..40),
  ``depth/*.npy`` (metres), ``normals/*.npy``: the multi-task form of Vandenhende et al.;
- ``color/``, ``depth/`` (16 bits, 1/5000 m), ``labels/`` (0..39, 255 = void) of PNGs, split by
  ``train.txt`` and ``test.txt`` of names: the unit and ids of Nekrasov et al.
"""

from pathlib import Path

import numpy as np

from mtl_perception.conventions import UNLABELLED, Intrinsics, InvalidInput
from mtl_perception.data.files import require_folder
from mtl_perception.data.image_files import (
    ImageFiles,
    OneCamera,
    Reading,
    SampleFiles,
    id_table,
)
from mtl_perception.data.nyud_mat import CAMERA, MAT_FILE, NyudMat
from mtl_perception.data.sample import DataMissing, Dataset
from mtl_perception.data.text_files import intrinsics_of, read_names
from mtl_perception.labels import LABEL_SETS


def open_nyud(path: Path, split: str = "", normals: str = "") -> Dataset:
    """Open NYUDv2 in the form that its files show; see the module.

    Args:
        path: the folder.
        split: train or test ("val" of the multi-task form is its test); "" = all.
        normals: read the multi-task form's normals, whose axes are these (``turned_normals``).

    Raises:
        DataMissing: no form of it, or files are missing; says which.
        DataCorrupt: a file is wrong.
        InvalidInput: no such split; normals of a form that has none.
    """
    if split not in ("", "train", "test"):
        raise InvalidInput(f"split {split!r} is not train or test")
    require_folder(path, MAT_FILE)
    has_normals = (path / "gt_sets").is_dir()
    if normals and not has_normals:
        raise InvalidInput(f"{path}: this form of NYUDv2 has no normals")
    if (path / MAT_FILE).exists():
        return NyudMat(path, split)
    if has_normals:
        return _multi_task_form(path, split, normals)
    if (path / "color").is_dir():
        return _png_form(path, split)
    raise DataMissing(
        f"{path} is not NYUDv2: no {MAT_FILE}, no gt_sets/ (multi-task form), no color/ (PNG form)"
    )


def _multi_task_form(path: Path, split: str, normals: str) -> Dataset:
    lists = {"": ["train", "val"], "train": ["train"], "test": ["val"]}[split]
    names = [n for part in lists for n in read_names(path / "gt_sets" / f"{part}.txt")]
    rows = [
        SampleFiles(
            name,
            path / "images" / f"{name}.jpg",
            path / "depth" / f"{name}.npy",
            path / "segmentation" / f"{name}.png",
            path / "normals" / f"{name}.npy" if normals else None,
        )
        for name in names
    ]
    table = id_table(LABEL_SETS["nyu40"], first=1, unknown=0)
    table[255] = UNLABELLED
    reading = Reading(CAMERA, label_set=LABEL_SETS["nyu40"], id_table=table, normal_axes=normals)
    return ImageFiles(f"NYUDv2 {split}".strip(), rows, reading)


def _png_form(path: Path, split: str) -> Dataset:
    if split:
        names = read_names(path / f"{split}.txt")
    else:
        names = sorted(file.stem for file in (path / "color").glob("*.png"))
    rows = [
        SampleFiles(name, *(path / part / f"{name}.png" for part in ("color", "depth", "labels")))
        for name in names
    ]
    nyu40 = LABEL_SETS["nyu40"]
    reading = Reading(CAMERA, label_set=nyu40, id_table=id_table(nyu40))
    return ImageFiles(f"NYUDv2 {split}".strip(), rows, reading)


def open_masks(path: Path, camera: np.ndarray | None = None) -> Dataset:
    """Open a folder of single NYUD images with masks beside them.

    ``NAME.png``, ``NAME_labels.png`` (0..39, 255) and, for some, ``NAME_depth.png`` (1/5000 m).
    Images smaller than 640x480 are taken as cut out of the middle of one.

    Raises:
        DataMissing: nothing there, or an image without its mask.
    """
    require_folder(path, "NAME.png with NAME_labels.png")
    stems = sorted(f.stem for f in path.glob("*.png") if not f.stem.endswith(("_labels", "_depth")))
    rows = []
    for stem in stems:
        depth = path / f"{stem}_depth.png"
        has_depth = depth.exists()
        rows.append(
            SampleFiles(
                stem,
                path / f"{stem}.png",
                depth if has_depth else None,
                path / f"{stem}_labels.png",
            )
        )
    nyu40 = LABEL_SETS["nyu40"]
    how = _cut_out if camera is None else OneCamera(camera, "the given camera")
    return ImageFiles(path.name, rows, Reading(how, label_set=nyu40, id_table=id_table(nyu40)))


def _cut_out(files: SampleFiles, shape: tuple[int, int]) -> Intrinsics:
    K = CAMERA.K.copy()
    K[:2, 2] -= (640 - shape[1]) / 2, (480 - shape[0]) / 2
    return intrinsics_of(K, shape, CAMERA.origin)
