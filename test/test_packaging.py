# SPDX-License-Identifier: Apache-2.0
"""The tree installs whole, depends on what it says, and keeps ROS at the rim."""

import ast
import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from fnmatch import fnmatch
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).resolve().parents[1]
NAME = "dense_semantic_slam"
PACKAGES = ("mtl_perception", "slam_fusion")
FOLDERS = (*PACKAGES, "launch", "config", "test", "benchmarks", "docs", "scripts", ".ci")

PROVIDED_BY = {"rosbag2_py": "rosbag2_transport", "tf2_ros": "tf2_ros_py"}
"""ROS modules whose Debian package has another name."""


def project_files() -> list[Path]:
    """Files of the project, without what builds and runs leave behind."""
    files = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        files += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    return [path for path in files if path.suffix not in (".pyc", ".nbi", ".nbc")]


def module_files() -> list[Path]:
    """Python files of the two packages."""
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def may_import_ros(path: Path) -> bool:
    """Whether the file is one of those in which ROS belongs."""
    return path.name.startswith(("node", "ros"))


def needs_torch(path: Path) -> bool:
    """Whether the file is one of those that load torch or a runtime beside it."""
    torch_only = not {"networks", "training"}.isdisjoint(path.relative_to(ROOT).parts)
    loaders = ("torch_", "onnx_", "openvino_", "tensorrt_", "cuda_", "tensor_", "quantise")
    return torch_only or path.name.startswith(loaders)


def needs_warp(path: Path) -> bool:
    """Whether the file is one of those that load Warp."""
    return path.name.startswith("warp_")


def imported_modules(path: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


def top_level(names: set[str]) -> set[str]:
    """First parts of dotted names."""
    return {name.split(".")[0] for name in names}


def banned_modules() -> set[str]:
    """ROS modules that the lint rule of pyproject.toml keeps out of the cores."""
    text = (ROOT / "pyproject.toml").read_text()
    section = text.split("[tool.ruff.lint.flake8-tidy-imports.banned-api]")[1].split("\n[")[0]
    return set(re.findall(r"^(\w+)\.msg = ", section, re.MULTILINE))


@pytest.fixture
def metadata(monkeypatch) -> dict:
    """Arguments that setup.py hands to setuptools."""
    caught: dict = {}
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: caught.update(arguments))
    runpy.run_path("setup.py")
    return caught


@pytest.fixture
def manifest() -> ElementTree.Element:
    """Root of package.xml."""
    return ElementTree.parse(ROOT / "package.xml").getroot()


def test_data_files_hold_marker_manifest_launch_and_config(metadata):
    installed = {name for _, names in metadata["data_files"] for name in names}
    wanted = {f"resource/{NAME}", "package.xml"}
    for folder in ("launch", "config"):
        wanted |= {str(p.relative_to(ROOT)) for p in (ROOT / folder).rglob("*.*") if p.is_file()}
    assert {name for name in wanted if "__pycache__" not in name} <= installed


def test_every_package_and_data_file_is_installed(metadata):
    for package in PACKAGES:
        patterns = metadata["package_data"].get(package, [])
        for path in (ROOT / package).rglob("*"):
            if not path.is_file() or "__pycache__" in path.parts:
                continue
            if path.suffix == ".py":
                assert ".".join(path.relative_to(ROOT).parent.parts) in metadata["packages"], path
            else:
                name = str(path.relative_to(ROOT / package))
                depth = name.count("/")  # setuptools' * stops at a slash, fnmatch's does not
                fitting = [p for p in patterns if p.count("/") == depth and fnmatch(name, p)]
                assert fitting, path


def test_entry_points_name_functions_that_exist(metadata):
    for entry in metadata["entry_points"]["console_scripts"]:
        module, function = entry.split(" = ")[1].split(":")
        tree = ast.parse((ROOT / (module.replace(".", "/") + ".py")).read_text())
        assert function in {getattr(node, "name", None) for node in tree.body}, entry


def test_manifest_and_setup_agree(metadata, manifest):
    assert manifest.findtext("name") == metadata["name"] == NAME
    assert manifest.findtext("version") == metadata["version"]
    assert manifest.findtext("description") == metadata["description"]
    assert manifest.findtext("license") == metadata["license"]
    assert manifest.findtext("export/build_type") == "ament_python"


def test_every_package_that_make_installs_is_pinned(metadata):
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    extras = metadata["extras_require"].values()
    for requirement in sum(extras, metadata["install_requires"]):
        assert re.match(r"[\w.-]+", requirement)[0] in pinned, requirement


def test_every_ros_module_that_is_imported_is_declared(manifest):
    declared = {element.text for element in manifest.iter("exec_depend")}
    files = [*module_files(), *(ROOT / "launch").glob("*.py")]
    used = set().union(*(top_level(imported_modules(path)) for path in files)) & banned_modules()
    assert "rclpy" in used
    bundled = {"builtin_interfaces", "rcl_interfaces"}  # dependencies of rclpy itself
    assert {PROVIDED_BY.get(name, name) for name in used - bundled} <= declared


def test_ros_appears_only_in_nodes_and_adapters():
    banned = banned_modules()
    found = {
        str(path.relative_to(ROOT)): top_level(imported_modules(path)) & banned
        for path in module_files()
        if not may_import_ros(path)
    }
    assert not {path: modules for path, modules in found.items() if modules}


def test_perception_never_imports_fusion():
    for path in (ROOT / "mtl_perception").rglob("*.py"):
        assert "slam_fusion" not in top_level(imported_modules(path)), path


def test_cores_import_without_ros_and_the_command_line_without_weight():
    cores = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in module_files()
        if not (may_import_ros(path) or needs_torch(path) or needs_warp(path))
        and path.name not in ("__init__.py", "__main__.py")
    ]
    script = f"""
import importlib, sys
importlib.import_module("slam_fusion.commands.cli")
heavy = {{"open3d", "numba", "scipy", "cv2", "torch", "onnxruntime", "rclpy", "ai_edge_litert"}}
assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))
for name in {cores}:
    importlib.import_module(name)
    assert "rclpy" not in sys.modules, name
    assert not {{"torch", "onnxruntime", "warp"}} & set(sys.modules), name
"""
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr


def test_init_files_hold_a_docstring_and_nothing_else():
    for path in module_files():
        if path.name != "__init__.py":
            continue
        docstring, *rest = ast.parse(path.read_text()).body
        assert isinstance(docstring, ast.Expr), path
        if path.parent.parent == ROOT:  # what must come before all other imports
            assert imported_modules(path) <= {"mtl_perception", "mtl_perception.one_tbb"}, path
        else:
            assert not rest, path


def test_no_file_names_a_place_of_one_machine():
    place = re.compile(r"(?<![\w.~-])/(?:work|root|tmp|home/\w+|Users/\w+)/\w")
    for path in project_files():
        text = path.read_bytes().decode(errors="ignore")
        assert not place.search(text), f"{path}: {place.search(text)}"


def test_colcon_builds_the_tree(tmp_path):
    if importlib.util.find_spec("colcon_core") is None:
        pytest.skip("colcon is not in this environment (extra: colcon)")
    source = tmp_path / "src" / NAME
    for folder in (*PACKAGES, "launch", "config", "resource"):
        shutil.copytree(ROOT / folder, source / folder)
    for name in ("setup.py", "setup.cfg", "pyproject.toml", "package.xml"):
        shutil.copy(ROOT / name, source)

    colcon = [sys.executable, "-m", "colcon", "--log-base", str(tmp_path / "log"), "build"]
    run = subprocess.run(colcon, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr

    prefix = tmp_path / "install" / NAME
    share = prefix / "share" / NAME
    assert (prefix / "share/ament_index/resource_index/packages" / NAME).is_file()
    assert (share / "package.xml").is_file()
    for folder in ("launch", "config"):
        source_names = {path.name for path in (ROOT / folder).glob("*.*")}
        assert source_names <= {path.name for path in (share / folder).iterdir()}
    (packages,) = prefix.glob("lib/python*/site-packages")
    for path in module_files():
        assert (packages / path.relative_to(ROOT)).is_file()
    scripts = {path.name for path in (prefix / "lib" / NAME).iterdir()}
    assert scripts == {"dense-semantic-slam", "perception_node", "fusion_node", "play_node"}
