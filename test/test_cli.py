# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import pytest

from mtl_perception.models import list_models
from slam_fusion.commands import cli, cli_map, cli_options, cli_tools, doctor
from slam_fusion.live.node_environment import private_environment
from slam_fusion.mapper import MapperConfig
from slam_fusion.output.ply import read_ply, write_ply

HEAVY = ("open3d", "numba", "cv2", "rclpy", "rosbags", "scipy", "torch", "ai_edge_litert")


def run_cli(monkeypatch, *arguments) -> int:
    """Run the command line in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["dense-semantic-slam", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        cli.main()
    return done.value.code or 0


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from slam_fusion.commands import cli; sys.argv = ['x', '--help']\n"
        "try: cli.main()\n"
        f"except SystemExit: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for command in (
        "demo",
        "bench",
        "map",
        "view",
        "run",
        "play",
        "to-bag",
        "eval",
        "eval-masks",
        "models",
        "doctor",
    ):
        assert command in done.stdout


def test_flags_are_fields_of_what_they_configure():
    from slam_fusion.mapper import MapperConfig
    from slam_fusion.recordings.recording import RecordingOptions

    known = {f.name for f in (*fields(RecordingOptions), *fields(MapperConfig))}
    own = {"source", "out", "labels", "label_set", "model", "threads", "as_json", "return"}
    assert set(cli_map.map_command.__annotations__) - own <= known
    own |= {"storage", "compression", "overwrite"}
    assert set(cli_tools.to_bag.__annotations__) - own <= known


def test_the_help_names_the_defaults_that_are_used():
    for alias, value in (
        (cli_options.VoxelSize, MapperConfig().voxel_size),
        (cli_options.MinDepth, MapperConfig().min_depth),
        (cli_options.MaxDepth, MapperConfig().max_depth),
        (cli_options.MemoryLimit, MapperConfig().memory_limit_mb),
        (cli_options.DiskLimit, MapperConfig().disk_limit_mb),
        (cli_options.FusionDevice, MapperConfig().device),
    ):
        (option,) = alias.__metadata__
        assert option.show_default == str(value)


def test_options_not_given_keep_their_defaults():
    assert cli_options.given(a=None, b=0, c="") == {"b": 0, "c": ""}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["map", "no/such.mcap", "-o", "OUT"], "no/such.mcap"),
        (["map", "HERE", "-o", "OUT"], "error:"),
        (["map", "HERE", "-o", "FILE"], "cannot write in"),
        (["map", "HERE", "-o", "OUT", "--voxel-size", "-1"], "voxel_size"),
        (["view", "HERE", "-o", "OUT"], "map.npz"),
        (["eval", "FILE", "FILE"], "not a zip file"),
        (["map", "HERE", "-o", "OUT", "--start", "1e300"], "start_s"),
        (["map", "HERE", "-o", "OUT", "--trajectory", "FILE"], "error:"),
        (["to-bag", "HERE", "-o", "FILE"], "error:"),
        (["models", "verify", "no-such-model"], "no model called"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(monkeypatch, capsys, tmp_path, arguments, words):
    (tmp_path / "file").write_text("text")
    (tmp_path / "here").mkdir()
    places = {"OUT": tmp_path / "out", "FILE": tmp_path / "file", "HERE": tmp_path / "here"}
    assert run_cli(monkeypatch, *(places.get(a, a) for a in arguments)) == 2
    error = capsys.readouterr().err
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_an_unknown_flag_is_refused(monkeypatch, capsys):
    assert run_cli(monkeypatch, "map", "x", "-o", "y", "--no-such-flag") == 2
    assert "--no-such-flag" in capsys.readouterr().err


@pytest.fixture(scope="module")
def kitchen_map(tmp_path_factory, shared_data):
    """Folder of a coarse map of the first half second of the kitchen, made by the command."""
    out = tmp_path_factory.mktemp("kitchen")
    command = [sys.executable, "-m", "slam_fusion.commands.cli", "map"]
    command += [shared_data / "seven_scenes_kitchen", "-o", out, "--labels", "none"]
    command += ["--voxel-size", "0.05", "--duration", "0.5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_map_prints_its_summary_as_json(kitchen_map):
    out, summary = kitchen_map
    assert summary["frames"] == {"fused": 8}
    assert json.loads((out / "summary.json").read_text()) == summary


def test_ctrl_c_saves_what_is_mapped_and_exits_with_130(monkeypatch, capsys, tmp_path, shared_data):
    @contextmanager
    def interrupt_at_the_third_frame(_total, quiet):
        yield lambda count: os.kill(os.getpid(), signal.SIGINT) if count == 3 else None

    monkeypatch.setattr(cli_map, "_progress_bar", interrupt_at_the_third_frame)
    arguments = ["-o", tmp_path, "--labels", "none", "--voxel-size", "0.05", "--json"]
    code = run_cli(monkeypatch, "map", shared_data / "seven_scenes_kitchen", *arguments)
    summary = json.loads(capsys.readouterr().out)
    assert code == 130
    assert summary["interrupted"] and summary["frames"] == {"fused": 3}
    assert (tmp_path / "map.npz").is_file()


def test_a_recording_without_poses_in_reach_leaves_exit_code_1(
    monkeypatch, capsys, tmp_path, shared_data
):
    (tmp_path / "poses.txt").write_text("100.0 0 0 0 0 0 0 1\n")
    arguments = ["-o", tmp_path / "out", "--labels", "none", "--duration", "0.2"]
    arguments += ["--trajectory", tmp_path / "poses.txt"]
    assert run_cli(monkeypatch, "map", shared_data / "seven_scenes_kitchen", *arguments) == 1
    printed = capsys.readouterr()
    assert "pose_never" in printed.out and "ledger.csv says why" in printed.err


def test_view_draws_a_saved_map_also_from_a_pose_of_the_user(
    monkeypatch, capsys, tmp_path, kitchen_map
):
    np.savetxt(tmp_path / "pose.txt", np.eye(4))
    arguments = ["-o", tmp_path / "png", "--pose", tmp_path / "pose.txt", "--up", "0,-1,0"]
    assert run_cli(monkeypatch, "view", kitchen_map[0], *arguments) == 0
    names = [line.rsplit("/", 1)[1] for line in capsys.readouterr().out.splitlines()]
    assert names == ["dollhouse.png", "plan.png", "inside.png", "pose.png"]
    assert all((tmp_path / "png" / name).is_file() for name in names)


@pytest.mark.parametrize("up", ["0,0", "0,0,0", "up", "nan,0,1"])
def test_an_up_that_is_no_direction_is_refused(monkeypatch, capsys, tmp_path, up, kitchen_map):
    assert run_cli(monkeypatch, "view", kitchen_map[0], "-o", tmp_path, "--up", up) == 2
    assert "three numbers" in capsys.readouterr().err


def test_a_folder_becomes_a_bag_that_maps_the_same(
    monkeypatch, capsys, tmp_path, shared_data, kitchen_map
):
    kitchen = shared_data / "seven_scenes_kitchen"
    assert run_cli(monkeypatch, "to-bag", kitchen, "-o", tmp_path / "bag", "--duration", "0.5") == 0
    assert "8 frames" in capsys.readouterr().out
    arguments = ["-o", tmp_path / "out", "--labels", "none", "--voxel-size", "0.05", "--json"]
    assert run_cli(monkeypatch, "map", tmp_path / "bag", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == {"fused": 8}


def shifted_truth(kitchen_map, path, shift_m):
    mesh = read_ply(kitchen_map[0] / "mesh.ply")
    write_ply(path, replace(mesh, positions=mesh.positions + np.float32(shift_m)))
    return path


def test_eval_of_a_map_against_its_own_mesh_finds_no_error(monkeypatch, capsys, kitchen_map):
    assert run_cli(monkeypatch, "eval", kitchen_map[0], kitchen_map[0] / "mesh.ply", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["error_rms"] < 1e-5 and report["gap_mean"] < 1e-5
    assert report["map_points"] > 1000 and report["normal_consistency"] > 0.95


def test_eval_measures_how_far_the_map_is_off(monkeypatch, capsys, tmp_path, kitchen_map):
    truth = shifted_truth(kitchen_map, tmp_path / "truth.ply", [0.0, 0.0, 0.015])
    map_file = kitchen_map[0] / "map.npz"
    assert run_cli(monkeypatch, "eval", map_file, truth, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert 0.002 < report["error_mean"] <= 0.015
    assert run_cli(monkeypatch, "eval", map_file, truth) == 0
    assert capsys.readouterr().out.startswith("surface error   median")


@pytest.mark.parametrize(
    ("truth", "words"), [("CLOUD", "no triangles"), ("NAN", "not finite"), ("EMPTY", "not a PLY")]
)
def test_a_truth_that_is_no_surface_is_refused(
    monkeypatch, capsys, tmp_path, kitchen_map, truth, words
):
    (tmp_path / "EMPTY").write_bytes(b"")
    shifted_truth(kitchen_map, tmp_path / "NAN", [np.nan, 0.0, 0.0])
    write_ply(tmp_path / "CLOUD", read_ply(kitchen_map[0] / "cloud.ply"))
    assert run_cli(monkeypatch, "eval", kitchen_map[0], tmp_path / truth) == 2
    error = capsys.readouterr().err
    assert words in error and len(error.strip().splitlines()) == 1


def test_a_broken_network_file_is_a_row_of_the_list_not_its_end(monkeypatch, capsys, tmp_path):
    for entry in list_models():
        (tmp_path / entry.file).write_bytes(b"cut short")
    monkeypatch.setenv("DENSE_SLAM_MODELS", str(tmp_path))
    assert run_cli(monkeypatch, "models", "list") == 0
    assert "truncated or another file" in capsys.readouterr().out


def test_a_library_that_hangs_is_a_finding_of_the_doctor(monkeypatch):
    monkeypatch.setattr(doctor, "IMPORT_TIMEOUT_S", 0.2)
    check = doctor._command_output("sleeper", "import time; time.sleep(30)", "wake it")
    assert not check.ok and "no answer" in check.found and check.remedy == "wake it"


def test_models_are_listed_for_machines(monkeypatch, capsys):
    assert run_cli(monkeypatch, "models", "list", "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["sha256"] and row["licence"] and "found" in row for row in rows)


def test_the_doctor_finds_what_mapping_needs(monkeypatch, capsys):
    assert run_cli(monkeypatch, "doctor", "--json") == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["open3d"]["ok"] and checks["numba threads"]["ok"]
    assert all(check["remedy"] for check in checks.values() if not check["ok"])


def test_play_is_stopped_by_a_signal_and_leaves_no_node_behind(shared_data):
    pytest.importorskip("rclpy", reason="the nodes need rclpy")
    command = [sys.executable, "-m", "slam_fusion.commands.cli", "play", "--loop"]
    command.append(str(shared_data / "seven_scenes_kitchen"))
    environment = os.environ | private_environment()
    play = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    node_pid = None
    try:
        assert any("playing" in line for line in play.stderr)
        children = f"/proc/{play.pid}/task/{play.pid}/children"
        with open(children) as file:
            node_pid = int(file.read().split()[0])
    finally:
        play.send_signal(signal.SIGTERM)
        play.communicate(timeout=30)
    assert play.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(node_pid, 0)
