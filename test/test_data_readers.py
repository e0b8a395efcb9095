# SPDX-License-Identifier: Apache-2.0
"""Tiny folders in the true formats of the data sets, read back; damage is named, never skipped."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mtl_perception.conventions import DenseSlamError, InvalidInput
from mtl_perception.data.open_dataset import open_dataset
from mtl_perception.data.pseudo_labels import Expert, LabelledFile, write_pseudo_labels
from mtl_perception.data.sample import DataCorrupt, DataMissing
from mtl_perception.labels import LABEL_SETS

SHAPE = (6, 8)
NYU40 = LABEL_SETS["nyu40"]


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write a picture; colours are RGB."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    return path


def text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def color(level: int = 10, shape=SHAPE) -> np.ndarray:
    picture = np.full((*shape, 3), level, np.uint8)
    picture[..., 0] = 200  # red
    return picture


def gray(*first_row: int, dtype=np.uint8, rest: int = 0, shape=SHAPE) -> np.ndarray:
    pixels = np.full(shape, rest, dtype)
    pixels[0, : len(first_row)] = first_row
    return pixels


K_TEXT = "500 0 3.5\n0 510 2.5\n0 0 1\n"


# --- 7-Scenes style -----------------------------------------------------------------------------


def rgbd_folder(path: Path, numbers=(0, 2, 4, 6, 8)) -> Path:
    text(path / "camera-intrinsics.txt", K_TEXT)
    for n in numbers:
        save(path / f"frame-{n:06d}.color.png", color(n))
        save(path / f"frame-{n:06d}.depth.png", gray(0, 65535, dtype=np.uint16, rest=1000 + n))
    return path


def test_rgbd_frames_are_read_in_metres_with_their_camera(tmp_path):
    dataset = open_dataset(f"rgbd:{rgbd_folder(tmp_path / 'room')}")
    assert len(dataset) == 5 and dataset.label_set is None
    sample = dataset[1]
    assert sample.name == "frame-000002"
    assert sample.color[3, 3].tolist() == [200, 2, 2]
    assert sample.depth[0, :3].tolist() == [0, 0, np.float32(1.002)]
    assert sample.intrinsics.K.tolist() == [[500, 0, 3.5], [0, 510, 2.5], [0, 0, 1]]
    assert sample.labels is None and sample.neighbours == ()


def test_rgbd_range_names_both_its_ends(tmp_path):
    folder = rgbd_folder(tmp_path / "room")
    names = [s.name for s in open_dataset(f"rgbd:{folder}?frames=2-6")]
    assert names == ["frame-000002", "frame-000004", "frame-000006"]
    with pytest.raises(DataMissing, match="100"):
        open_dataset(f"rgbd:{folder}?frames=100-200")
    for wrong in ("6-2", "x", "3"):
        with pytest.raises(InvalidInput):
            open_dataset(f"rgbd:{folder}?frames={wrong}")


def test_frames_without_neighbours_are_no_samples_and_are_counted(tmp_path):
    folder = rgbd_folder(tmp_path / "room", (0, 2, 4, 6, 12, 14))
    dataset = open_dataset(f"rgbd:{folder}?neighbours=1")
    assert [s.name for s in dataset] == ["frame-000002", "frame-000004"]
    assert dataset.left_out == 4
    before, after = dataset[0].neighbours
    assert (before[0, 0, 1], after[0, 0, 1]) == (0, 4)


def test_rgbd_frames_have_the_pose_of_their_file(tmp_path):
    folder = rgbd_folder(tmp_path / "room")
    dataset = open_dataset(f"rgbd:{folder}?frames=2-8")
    pose = np.eye(4)
    pose[:3, 3] = 1, 2, 3
    np.savetxt(folder / "frame-000004.pose.txt", pose)
    assert dataset.pose(1).tolist() == pose.tolist()
    with pytest.raises(DataMissing, match="frame-000002.pose"):
        dataset.pose(0)
    np.savetxt(folder / "frame-000002.pose.txt", np.full((4, 4), 0.5))
    with pytest.raises(DataCorrupt, match="not a rotation"):
        dataset.pose(0)


def test_rgbd_folder_says_what_is_missing(tmp_path):
    with pytest.raises(DataMissing, match="no such folder"):
        open_dataset(f"rgbd:{tmp_path / 'none'}")
    folder = rgbd_folder(tmp_path / "room")
    (folder / "frame-000004.depth.png").unlink()
    with pytest.raises(DataMissing, match=r"1 of 5 files are missing: .*frame-000004.depth.png"):
        open_dataset(f"rgbd:{folder}")
    folder = rgbd_folder(tmp_path / "other")
    (folder / "camera-intrinsics.txt").unlink()
    with pytest.raises(DataMissing, match="camera-intrinsics"):
        open_dataset(f"rgbd:{folder}")
    assert open_dataset(f"rgbd:{folder}?camera=5,6,7,8")[0].intrinsics.fy == 6


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:50]), "cut short"),
        (lambda f: f.write_bytes(b"no picture"), "is not one of jpeg, png|lossless"),
        (lambda f: save(f, gray()), "uint8 values, want uint16"),
        (lambda f: save(f, gray(dtype=np.uint16, shape=(5, 8))), "8x5, but .* 8x6"),
    ],
)
def test_a_damaged_depth_image_is_named(tmp_path, damage, said):
    folder = rgbd_folder(tmp_path / "room")
    damage(folder / "frame-000004.depth.png")
    dataset = open_dataset(f"rgbd:{folder}")
    assert dataset[1].depth is not None
    with pytest.raises(DataCorrupt, match=rf"frame-000004\.depth\.png.*({said})"):
        dataset[2]


def test_a_camera_that_cannot_be_is_named(tmp_path):
    folder = rgbd_folder(tmp_path / "room")
    text(folder / "camera-intrinsics.txt", "0 0 1 0 0 1 0 0 1")
    with pytest.raises(DataCorrupt, match="camera-intrinsics.*focal"):
        open_dataset(f"rgbd:{folder}")[0]
    text(folder / "camera-intrinsics.txt", "1 2 nan")
    with pytest.raises(DataCorrupt, match="3x3 finite numbers"):
        open_dataset(f"rgbd:{folder}")


# --- TUM, ScanNet -------------------------------------------------------------------------------


def tum_folder(path: Path) -> Path:
    for name in ("rgb/1.png", "rgb/2.png", "rgb/3.png"):
        save(path / name, color())
    for i, name in enumerate(("depth/a.png", "depth/b.png")):
        save(path / name, gray(dtype=np.uint16, rest=5000 * (i + 1)))
    text(path / "rgb.txt", "# time file\n10.00 rgb/1.png\n10.10 rgb/2.png\n10.20 rgb/3.png\n")
    text(path / "depth.txt", "# time file\n10.195 depth/b.png\n10.01 depth/a.png\n")
    text(path / "camera-intrinsics.txt", K_TEXT)
    return path


def test_tum_images_pair_by_time_and_the_rest_is_counted(tmp_path):
    dataset = open_dataset(f"tum:{tum_folder(tmp_path)}")
    assert [(s.name, s.depth[0, 0]) for s in dataset] == [("10.000000", 1), ("10.200000", 2)]
    assert dataset.left_out == 1


@pytest.mark.parametrize(
    "line", ["nan rgb/1.png", "10.0", "10.0 ../secret.png", "10.0 /secret.png", "x y"]
)
def test_a_wrong_line_of_a_list_is_named(tmp_path, line):
    folder = tum_folder(tmp_path)
    text(folder / "rgb.txt", f"# time file\n{line}\n")
    with pytest.raises(DataCorrupt, match="rgb.txt, line 2"):
        open_dataset(f"tum:{folder}")


TSV = "id\traw_category\tnyu40id\n1\twall\t1\n2\tchair\t5\n1357\tthing\t40\n22\tnone\t0\n"


def scannet_scan(path: Path) -> Path:
    for name in ("0", "2", "10"):
        save(path / "color" / f"{name}.jpg", color(int(name), (12, 16)))
        save(path / "depth" / f"{name}.png", gray(0, 65535, dtype=np.uint16, rest=2500))
        ids = gray(dtype=np.uint16, shape=(12, 16))
        ids[:, 4:8], ids[:, 8:] = 2, 1357
        save(path / "label-filt" / f"{name}.png", ids)
    matrix = np.diag([1000.0, 1010, 1, 1])
    matrix[:2, 2] = 7.5, 5.5
    text(
        path / "intrinsic" / "intrinsic_color.txt", "\n".join(" ".join(map(str, r)) for r in matrix)
    )
    text(path.parent / "scannetv2-labels.combined.tsv", TSV)
    return path


def test_scannet_frames_come_at_the_size_of_their_depth_in_nyu40(tmp_path):
    dataset = open_dataset(f"scannet:{scannet_scan(tmp_path / 'scene0000_00')}")
    assert [s.name for s in dataset] == ["0", "2", "10"]
    sample = dataset[0]
    assert dataset.label_set is NYU40
    assert sample.labels[2].tolist() == [255, 255, 4, 4, 39, 39, 39, 39]
    assert sample.depth[0, :3].tolist() == [0, 0, 2.5]
    # Half the size: the middle of the image, between two pixels, stays the middle.
    assert sample.intrinsics.K.tolist() == [[500, 0, 3.5], [0, 505, 2.5], [0, 0, 1]]


def test_scannet_ids_that_the_table_lacks_are_refused(tmp_path):
    scan = scannet_scan(tmp_path / "scene0000_00")
    save(scan / "label-filt" / "2.png", gray(9, dtype=np.uint16, shape=(12, 16)))
    with pytest.raises(DataCorrupt, match=r"2\.png: ids \[9\]"):
        open_dataset(f"scannet:{scan}")[1]
    (tmp_path / "scannetv2-labels.combined.tsv").write_text("id\tnyu40id\n1\t41\n")
    with pytest.raises(DataCorrupt, match="line 2"):
        open_dataset(f"scannet:{scan}")
    (tmp_path / "scannetv2-labels.combined.tsv").unlink()
    with pytest.raises(DataMissing, match="combined.tsv"):
        open_dataset(f"scannet:{scan}")


# --- NYUDv2 -------------------------------------------------------------------------------------


def nyud_mat(path: Path, depth_value: float = 2.5) -> Path:
    """Three images of 8x6, as MATLAB would write them: axes reversed in HDF5."""
    h5py = pytest.importorskip("h5py", reason="needs h5py: the labelled NYUDv2 is HDF5")
    scipy_io = pytest.importorskip("scipy.io", reason="needs SciPy: splits.mat is MATLAB 5")
    path.mkdir()
    images = np.zeros((3, 3, 8, 6), np.uint8)
    images[:, 0] = 200  # red
    images[1, 2, 7, 0] = 99  # blue of the upper right pixel
    depths = np.full((3, 8, 6), 2.5, np.float32)
    depths[1, 7, 0] = depth_value
    with h5py.File(path / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"], file["depths"] = images, depths
    labels = np.zeros((6, 8, 3), np.uint8)
    labels[0, 7, 1], labels[5, 0, 1] = 40, 1
    scipy_io.savemat(path / "labels40.mat", {"labels40": labels})
    splits = {"trainNdxs": np.array([[1], [3]], np.uint16), "testNdxs": np.array([[2]], np.uint16)}
    scipy_io.savemat(path / "splits.mat", splits)
    return path


def test_labelled_nyud_is_read_upright_with_40_classes(tmp_path):
    folder = nyud_mat(tmp_path / "nyud")
    dataset = open_dataset(f"nyud:{folder}?split=test")
    assert len(dataset) == 1 and len(open_dataset(f"nyud:{folder}?split=train")) == 2
    sample = dataset[0]
    assert sample.name == "0002" and sample.color.shape == (6, 8, 3)
    assert sample.color[0, 7].tolist() == [200, 0, 99]
    assert (sample.labels[0, 7], sample.labels[5, 0], sample.labels[2, 2]) == (39, 0, 255)
    assert sample.depth[0, 7] == 2.5 and sample.intrinsics.fx == pytest.approx(518.857901)
    assert [s.name for s in open_dataset(f"nyud:{folder}")] == ["0001", "0002", "0003"]


@pytest.mark.parametrize(("value", "said"), [(np.nan, "1 NaN"), (-1, "1 negative")])
def test_impossible_depth_is_named_and_not_repaired(tmp_path, value, said):
    folder = nyud_mat(tmp_path / "nyud", value)
    with pytest.raises(DataCorrupt, match=f"image 0002: depth has .*{said}"):
        open_dataset(f"nyud:{folder}")[1]


def test_mat_files_that_are_not_nyud_are_refused(tmp_path):
    folder = nyud_mat(tmp_path / "nyud")
    from scipy.io import savemat

    savemat(folder / "splits.mat", {"testNdxs": np.array([[4]])})
    with pytest.raises(DataCorrupt, match=r"outside of 1\.\.3"):
        open_dataset(f"nyud:{folder}?split=test")
    with pytest.raises(DataCorrupt, match="trainNdxs"):
        open_dataset(f"nyud:{folder}?split=train")
    savemat(folder / "labels40.mat", {"labels40": np.zeros((6, 8, 2), np.uint8)})
    with pytest.raises(DataCorrupt, match=r"\(6, 8, 2\)"):
        open_dataset(f"nyud:{folder}")
    (folder / "labels40.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    with pytest.raises(DataCorrupt, match=r"labels40\.mat"):
        open_dataset(f"nyud:{folder}")
    (folder / "labels40.mat").unlink()
    with pytest.raises(DataMissing, match=r"labels40\.mat"):
        open_dataset(f"nyud:{folder}")
    nyud_mat(tmp_path / "two")
    (tmp_path / "two" / "nyu_depth_v2_labeled.mat").write_bytes(b"nothing")
    with pytest.raises(DataCorrupt, match="not a MATLAB 7.3"):
        open_dataset(f"nyud:{tmp_path / 'two'}")


def nyud_multi_task(path: Path) -> Path:
    normals = np.zeros((*SHAPE, 3), np.float32)
    normals[..., 0], normals[..., 1], normals[..., 2] = 0.6, 0, 0.8
    normals[0, 0] = 0
    for name in ("0001", "0002"):
        save(path / "images" / f"{name}.jpg", color())
        save(path / "segmentation" / f"{name}.png", gray(0, 1, 40, 255, rest=5))
        for kind, array in (("depth", np.full(SHAPE, 1.5, np.float32)), ("normals", normals)):
            (path / kind).mkdir(exist_ok=True)
            np.save(path / kind / f"{name}.npy", array)
    text(path / "gt_sets" / "train.txt", "0002\n")
    text(path / "gt_sets" / "val.txt", "0001\n")
    return path


def test_multi_task_nyud_counts_its_classes_from_one(tmp_path):
    folder = nyud_multi_task(tmp_path)
    (sample,) = open_dataset(f"nyud:{folder}?split=train")
    assert sample.name == "0002" and sample.normals is None
    assert sample.labels[0, :5].tolist() == [255, 0, 39, 255, 4] and sample.depth[3, 3] == 1.5
    turned = open_dataset(f"nyud:{folder}?normals=+0-1-2")[0].normals
    np.testing.assert_allclose(turned[3, 3], [0.6, 0, -0.8], atol=1e-6)
    assert turned[0, 0].tolist() == [0, 0, 0]
    with pytest.raises(InvalidInput, match="axes"):
        open_dataset(f"nyud:{folder}?normals=+0-1-1")[0]


def test_files_with_python_objects_are_not_loaded(tmp_path):
    folder = nyud_multi_task(tmp_path)
    np.save(folder / "depth" / "0001.npy", np.array([print], object), allow_pickle=True)
    with pytest.raises(DataCorrupt, match=r"0001\.npy"):
        open_dataset(f"nyud:{folder}?split=test")[0]


def test_arrays_that_cannot_be_are_named(tmp_path):
    folder = nyud_multi_task(tmp_path)
    dataset = open_dataset(f"nyud:{folder}?split=test&normals=+0+1+2")
    normals, depth = folder / "normals" / "0001.npy", folder / "depth" / "0001.npy"
    np.save(normals, np.full((*SHAPE, 3), np.nan))
    with pytest.raises(DataCorrupt, match=r"normals/0001\.npy.*finite"):
        dataset[0]
    np.save(depth, np.full((5, 8), 1.0))
    with pytest.raises(DataCorrupt, match=r"depth/0001\.npy: 8x5"):
        dataset[0]
    header = np.lib.format.header_data_from_array_1_0(np.zeros((1, 1)))
    with depth.open("wb") as file:  # claims 800 TB
        np.lib.format.write_array_header_1_0(file, {**header, "shape": (10**7, 10**7)})
    with pytest.raises(DataCorrupt, match=r"depth/0001\.npy"):
        dataset[0]
    depth.unlink()
    with pytest.raises(DataMissing, match=r"depth/0001\.npy"):
        dataset[0]


def test_lists_stay_inside_their_folder(tmp_path):
    folder = nyud_multi_task(tmp_path)
    for name in ("../0001", "/0001"):
        text(folder / "gt_sets" / "train.txt", f"0002\n{name}\n")
        with pytest.raises(DataCorrupt, match="train.txt, line 2.*leads out"):
            open_dataset(f"nyud:{folder}?split=train")


def test_png_nyud_uses_the_units_of_the_published_masks(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / "color" / f"{name}.png", color())
        save(tmp_path / "depth" / f"{name}.png", gray(0, dtype=np.uint16, rest=5000))
        save(tmp_path / "labels" / f"{name}.png", gray(0, 39, 255))
    text(tmp_path / "test.txt", "b\n")
    (sample,) = open_dataset(f"nyud:{tmp_path}?split=test")
    assert sample.name == "b" and sample.depth[0, :2].tolist() == [0, 1]
    assert sample.labels[0, :3].tolist() == [0, 39, 255]
    save(tmp_path / "labels" / "a.png", gray(40))
    with pytest.raises(DataCorrupt, match=r"a\.png: ids \[40\]"):
        open_dataset(f"nyud:{tmp_path}")[0]
    with pytest.raises(DataMissing, match=r"train\.txt"):
        open_dataset(f"nyud:{tmp_path}?split=train")
    with pytest.raises(DataMissing, match="not NYUDv2"):
        open_dataset(f"nyud:{tmp_path / 'color'}")


def test_masks_lie_beside_their_images(tmp_path):
    for stem, shape in (("000002", (480, 640)), ("000001", (468, 625))):
        save(tmp_path / f"{stem}.png", color(1, shape))
        save(tmp_path / f"{stem}_labels.png", gray(3, 255, shape=shape))
    save(tmp_path / "000002_depth.png", gray(dtype=np.uint16, rest=2500, shape=(480, 640)))
    small, full = open_dataset(f"masks:{tmp_path}")
    assert (small.name, small.depth) == ("000001", None) and full.depth[9, 9] == 0.5
    assert full.intrinsics.cx - small.intrinsics.cx == 7.5  # cut out of the middle
    (tmp_path / "000001_labels.png").unlink()
    with pytest.raises(DataMissing, match="000001_labels"):
        open_dataset(f"masks:{tmp_path}")


def test_the_real_nyud_samples_are_in_range(shared_data):
    dataset = open_dataset(f"masks:{shared_data / 'nyuv2_samples'}")
    samples = list(dataset)
    assert [s.color.shape for s in samples] == [(480, 640, 3)] + 3 * [(468, 625, 3)]
    assert samples[0].depth.max() == pytest.approx(5.23, abs=0.01)


# --- KITTI, Cityscapes, PASCAL ------------------------------------------------------------------

DATE, DRIVE = "2011_09_26", "2011_09_26_drive_0002_sync"
CALIBRATION = (
    "calib_time: 09-Jan-2012 13:57:47\n"
    "P_rect_02: 721.5 0 609.5 44.8 0 722.5 172.8 0.2 0 0 1 0.002\n"
    "P_rect_03: 700 0 600 -339 0 701 170 2 0 0 1 0.004\n"
)


def kitti_raw(path: Path) -> Path:
    text(path / DATE / "calib_cam_to_cam.txt", CALIBRATION)
    for camera in ("02", "03"):
        folder = path / DATE / DRIVE / f"image_{camera}" / "data"
        save(folder / "0000000005.png", color(int(camera)))
        inner = Path("train", DRIVE, "proj_depth", "groundtruth", f"image_{camera}")
        save(path / inner / "0000000005.png", gray(0, 256, dtype=np.uint16, rest=2560))
    text(path / "eigen.txt", f"{DATE}/{DRIVE} 0000000005 l\n{DATE}/{DRIVE} 5 r\n")
    return path


def test_kitti_depth_follows_the_users_list(tmp_path):
    folder = kitti_raw(tmp_path)
    left, right = open_dataset(f"kitti:{folder}?list={folder / 'eigen.txt'}")
    assert left.depth[0, :3].tolist() == [0, 1, 10]
    assert (left.intrinsics.fx, left.intrinsics.fy) == (721.5, 722.5)
    assert (right.intrinsics.fx, right.color[0, 0, 1]) == (700, 3)
    (folder / "train").rename(folder / "val")
    listed = f"{folder / 'eigen.txt'}&depth={folder}"
    assert open_dataset(f"kitti:{folder}?list={listed}")[0].depth[0, 1] == 1
    text(folder / "paths.txt", f"{DATE}/{DRIVE}/image_02/data/0000000005.png None 721.5\n")
    assert open_dataset(f"kitti:{folder}?list={folder / 'paths.txt'}")[0].depth[0, 1] == 1


def test_kitti_images_without_depth_are_named_or_counted(tmp_path):
    folder = kitti_raw(tmp_path)
    listed = text(folder / "eigen.txt", f"{DATE}/{DRIVE} 5 l\n{DATE}/{DRIVE} 7 l\n")
    with pytest.raises(DataMissing, match="0000000007"):
        open_dataset(f"kitti:{folder}?list={listed}")
    dataset = open_dataset(f"kitti:{folder}?list={listed}&missing=leave_out")
    assert (len(dataset), dataset.left_out) == (1, 1)
    text(listed, f"{DATE}/{DRIVE} 5 l\n\nsomething else\n")
    with pytest.raises(DataCorrupt, match="line 3"):
        open_dataset(f"kitti:{folder}?list={listed}")
    text(folder / DATE / "calib_cam_to_cam.txt", "P_rect_02: 1 2 3\n")
    text(listed, f"{DATE}/{DRIVE} 5 l\n")
    with pytest.raises(DataCorrupt, match="12 numbers"):
        open_dataset(f"kitti:{folder}?list={listed}")[0]
    with pytest.raises(InvalidInput, match="list=FILE"):
        open_dataset(f"kitti:{folder}")


def test_street_ids_become_the_19_judged_classes(tmp_path):
    save(tmp_path / "training" / "image_2" / "000000_10.png", color())
    ids = gray(7, 26, 33, 0, 9, 255)  # road, car, bicycle, unlabeled, parking, licence plate
    save(tmp_path / "training" / "semantic" / "000000_10.png", ids)
    dataset = open_dataset(f"kitti_semantics:{tmp_path}")
    assert dataset[0].labels[0, :6].tolist() == [0, 13, 18, 255, 255, 255]
    six = open_dataset(f"kitti_semantics:{tmp_path}?remap=kitti6")
    assert six.label_set.name == "kitti6" and six[0].labels[0, :3].tolist() == [2, 5, 255]
    save(tmp_path / "training" / "semantic" / "000000_10.png", gray(34))
    with pytest.raises(DataCorrupt, match=r"\[34\]"):
        dataset[0]


def cityscapes(path: Path, with_depth: bool) -> Path:
    for city in ("bonn", "aachen"):
        stem = f"{city}_000000_000019"
        save(path / "leftImg8bit/val" / city / f"{stem}_leftImg8bit.png", color())
        save(path / "gtFine/val" / city / f"{stem}_gtFine_labelIds.png", gray(7, 4, 33, rest=11))
        if with_depth:
            disparity = gray(0, 1, 257, dtype=np.uint16, rest=2561)
            save(path / "disparity/val" / city / f"{stem}_disparity.png", disparity)
            camera = {"intrinsic": {"fx": 1000, "fy": 1001, "u0": 4, "v0": 3}, "extrinsic": {}}
            text(path / "camera/val" / city / f"{stem}_camera.json", json.dumps(camera))
    return path


def test_cityscapes_is_read_city_by_city_with_train_ids(tmp_path):
    dataset = open_dataset(f"cityscapes:{cityscapes(tmp_path, False)}?split=val")
    names = [s.name for s in dataset]
    assert names == ["aachen/aachen_000000_000019", "bonn/bonn_000000_000019"]
    assert dataset[0].labels[0, :4].tolist() == [0, 255, 18, 2] and dataset[0].depth is None
    assert dataset[0].intrinsics.fx == 2262.52
    with pytest.raises(DataMissing, match="train"):
        open_dataset(f"cityscapes:{tmp_path}")
    (tmp_path / "gtFine/val/bonn/bonn_000000_000019_gtFine_labelIds.png").unlink()
    with pytest.raises(DataMissing, match="bonn_000000_000019_gtFine_labelIds"):
        open_dataset(f"cityscapes:{tmp_path}?split=val")


def test_cityscapes_disparity_becomes_depth(tmp_path):
    sample = open_dataset(f"cityscapes:{cityscapes(tmp_path, True)}?split=val")[0]
    assert sample.intrinsics.fx == 1000
    # Disparities of 1 and 10 pixels; 0 and 1 in the file are no depth.
    np.testing.assert_allclose(sample.depth[0, :4], [0, 0, 209.313, 20.9313], rtol=1e-6)
    text(tmp_path / "camera/val/aachen/aachen_000000_000019_camera.json", "{}")
    with pytest.raises(DataCorrupt, match="aachen_000000_000019_camera.json"):
        open_dataset(f"cityscapes:{tmp_path}?split=val")[0]


def test_pascal_takes_its_labels_from_either_folder(tmp_path):
    for name, folder in (("2008_000002", "VOC12"), ("2008_000003", "pascal-context")):
        save(tmp_path / "JPEGImages" / f"{name}.jpg", color())
        save(tmp_path / "semseg" / folder / f"{name}.png", gray(0, 20, 255))
        normal = np.full((*SHAPE, 3), 128, np.uint8)
        normal[1:, :, 2] = 255
        save(tmp_path / "normals_distill" / f"{name}.png", normal)
    text(tmp_path / "ImageSets/Context/val.txt", "2008_000002\n2008_000003\n")
    dataset = open_dataset(f"pascal:{tmp_path}?split=val")
    assert [s.labels[0, :3].tolist() for s in dataset] == [[0, 20, 255]] * 2
    assert dataset.label_set.names[20] == "tvmonitor" and dataset[0].normals is None
    normals = open_dataset(f"pascal:{tmp_path}?split=val&normals=+0+1-2")[0].normals
    np.testing.assert_allclose(normals[3, 3], [0, 0, -1], atol=0.01)
    assert normals[0, 0].tolist() == [0, 0, 0]  # grey is no direction
    save(tmp_path / "semseg/VOC12/2008_000002.png", gray(21))
    with pytest.raises(DataCorrupt, match=r"\[21\]"):
        dataset[0]


# --- pseudo-labels ------------------------------------------------------------------------------

EXPERT = Expert("net.tflite", "ab" * 32, NYU40, 0.5)


def by_brightness(_index: int, sample) -> np.ndarray:
    """An expert that says class 2, 4, 6 by the frame's green level, and 255 in the first row."""
    labels = sample.color[..., 1].copy()
    labels[0] = 255
    return labels


def test_an_expert_fills_in_labels(tmp_path):
    images = open_dataset(f"rgbd:{rgbd_folder(tmp_path / 'room')}")
    assert write_pseudo_labels(images, by_brightness, EXPERT, tmp_path / "labels") == 5
    dataset = open_dataset(f"rgbd:{tmp_path / 'room'}?labels={tmp_path / 'labels'}")
    assert dataset.label_set == NYU40
    assert dataset[2].labels[0, 0] == 255 and (dataset[2].labels[1:] == 4).all()
    assert dataset[2].depth[3, 3] == np.float32(1.004)
    line = json.loads((tmp_path / "labels" / "index.jsonl").read_text().splitlines()[1])
    assert line["name"] == "frame-000000" and line["labelled"] == pytest.approx(5 / 6)
    part = open_dataset(f"rgbd:{tmp_path / 'room'}?frames=2-4&labels={tmp_path / 'labels'}")
    assert [s.labels[3, 3] for s in part] == [2, 4]


def test_killed_labelling_goes_on_where_it_stopped(tmp_path):
    images = open_dataset(f"rgbd:{rgbd_folder(tmp_path / 'room')}")
    whole, out = tmp_path / "whole", tmp_path / "labels"
    write_pseudo_labels(images, by_brightness, EXPERT, whole)
    seen: list[LabelledFile] = []

    def stop_at_three(line: LabelledFile) -> bool:
        seen.append(line)
        return len(seen) < 3

    assert write_pseudo_labels(images, by_brightness, EXPERT, out, stop_at_three) == 3
    with pytest.raises(DataMissing, match="3 of the 5"):
        open_dataset(f"rgbd:{tmp_path / 'room'}?labels={out}")
    # As a kill leaves it: half a line, a file whose line is not there, a file that got lost.
    with (out / "index.jsonl").open("a") as index:
        index.write('{"name": "frame-00')
    (out / "labels" / "frame-000006.png").write_bytes(b"half")
    (out / "labels" / "frame-000002.png").unlink()
    assert write_pseudo_labels(images, by_brightness, EXPERT, out) == 3
    for file in sorted((whole / "labels").iterdir()):
        assert (out / "labels" / file.name).read_bytes() == file.read_bytes()
    lines = [(f / "index.jsonl").read_text().splitlines() for f in (out, whole)]
    assert sorted(lines[0]) == sorted(lines[1]) and len(lines[0]) == 6


def test_labels_of_two_experts_never_mix(tmp_path):
    images = open_dataset(f"rgbd:{rgbd_folder(tmp_path / 'room')}")
    write_pseudo_labels(images, by_brightness, EXPERT, tmp_path / "labels")
    for other in (replace(EXPERT, sha256="cd" * 32), replace(EXPERT, confidence_threshold=0.6)):
        with pytest.raises(InvalidInput, match="choose another folder"):
            write_pseudo_labels(images, by_brightness, other, tmp_path / "labels")


def test_labels_that_changed_after_the_expert_are_refused(tmp_path):
    images = open_dataset(f"rgbd:{rgbd_folder(tmp_path / 'room')}")
    out = tmp_path / "labels"
    write_pseudo_labels(images, by_brightness, EXPERT, out)
    dataset = open_dataset(f"rgbd:{tmp_path / 'room'}?labels={out}")
    save(out / "labels" / "frame-000002.png", gray(7))
    with pytest.raises(DataCorrupt, match="frame-000002.png: its sha256"):
        dataset[1]
    (out / "labels" / "frame-000004.png").unlink()
    with pytest.raises(DataMissing, match=r"frame-000004\.png"):
        dataset[2]
    assert write_pseudo_labels(images, by_brightness, EXPERT, out) == 2
    assert dataset[1].labels[3, 3] == 2


def test_an_expert_must_speak_its_label_set(tmp_path):
    images = open_dataset(f"rgbd:{rgbd_folder(tmp_path / 'room')}")
    with pytest.raises(DataCorrupt, match=r"net.tflite on frame-000000: class ids \[40\]"):
        write_pseudo_labels(images, lambda *_: gray(40), EXPERT, tmp_path / "labels")


@pytest.mark.parametrize(
    ("number", "line", "said"),
    [
        (0, "{}", "first line"),
        (0, "[]", "not a JSON object"),
        (2, "{", "line 3: not JSON"),
        (2, '{"name": "frame-000000"}', "missing"),
        (2, '{"name": "../../x", "sha256": "00", "labelled": 1.0}', "not a name for a file"),
        (2, '{"name": 3, "sha256": "00", "labelled": 1.0}', "line 3"),
    ],
)
def test_a_damaged_index_is_named(tmp_path, number, line, said):
    images = open_dataset(f"rgbd:{rgbd_folder(tmp_path / 'room')}")
    write_pseudo_labels(images, by_brightness, EXPERT, tmp_path / "labels")
    index = tmp_path / "labels" / "index.jsonl"
    lines = index.read_text().splitlines()
    lines[number] = line
    index.write_text("\n".join(lines) + "\n")
    with pytest.raises(DataCorrupt, match=said):
        write_pseudo_labels(images, by_brightness, EXPERT, tmp_path / "labels")


# --- lines of text ------------------------------------------------------------------------------


def test_data_sets_are_joined_thinned_and_remapped_by_text(tmp_path):
    one, two = rgbd_folder(tmp_path / "one"), rgbd_folder(tmp_path / "two", (0, 2, 4))
    for folder, out in ((one, "l1"), (two, "l2")):
        write_pseudo_labels(open_dataset(f"rgbd:{folder}"), by_brightness, EXPERT, tmp_path / out)
    dataset = open_dataset(
        f"rgbd:{one}?labels={tmp_path / 'l1'}&every=2&remap=nyu13 + "
        f"rgbd:{two}?labels={tmp_path / 'l2'}&remap=nyu13"
    )
    names = [s.name for s in dataset]
    assert len(dataset) == 6 and [n.rpartition("/")[2] for n in names] == [
        *("frame-000000", "frame-000004", "frame-000008"),
        *("frame-000000", "frame-000002", "frame-000004"),
    ]
    nyu13 = LABEL_SETS["nyu13"]
    assert dataset.label_set is nyu13 and len(set(names)) == 6
    assert nyu13.names[dataset[1].labels[3, 3]] == "chair"  # 4 in NYU40
    with pytest.raises(IndexError):
        dataset[6]
    with pytest.raises(InvalidInput, match="differ"):
        open_dataset(
            f"rgbd:{one}?labels={tmp_path / 'l1'} + rgbd:{two}?labels={tmp_path / 'l2'}&remap=nyu13"
        )


def test_two_folders_of_one_name_can_be_told_apart(tmp_path):
    specs = [f"rgbd:{rgbd_folder(tmp_path / scene / 'seq-01', (0, 2))}" for scene in ("a", "b")]
    assert [s.name for s in open_dataset(" + ".join(specs))] == [
        *("seq-01/frame-000000", "seq-01/frame-000002"),
        *("seq-01#2/frame-000000", "seq-01#2/frame-000002"),
    ]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("", "KIND:PATH"),
        ("photos:/x", "rgbd, tum, scannet, nyud"),
        ("rgbd:", "KIND:PATH"),
        ("rgbd:{}?frame=1-2", "no option 'frame'; there are frames"),
        ("rgbd:{}?frames", "not option=value"),
        ("rgbd:{}?every=0", "want 1 or more"),
        ("rgbd:{}?every=two", "not a whole number"),
        ("rgbd:{}?camera=1,2,3", "fx,fy,cx,cy"),
        ("rgbd:{}?remap=nyu40", "no labels"),
        ("cityscapes:{}?split=all", "train, val, test"),
        ("pascal:{}?split=test", "train, val"),
        ("nyud:{}?split=val", "train or test"),
    ],
)
def test_a_line_that_names_no_data_set_says_why(tmp_path, spec, said):
    with pytest.raises(InvalidInput, match=said):
        open_dataset(spec.replace("{}", str(rgbd_folder(tmp_path / "room"))))


def test_every_error_of_a_reader_is_one_for_the_user():
    assert issubclass(DataMissing, DenseSlamError) and issubclass(DataCorrupt, DenseSlamError)
