# SPDX-License-Identifier: Apache-2.0
"""``models export``: from published weights to a file that the predictor runs."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from mtl_perception.inference.runtimes import require_modules
from mtl_perception.models import ModelUnsupported
from slam_fusion.commands import cli

needs_torch = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("torch", "safetensors", "onnx", "onnxscript"))),
    reason="needs torch, safetensors, onnx, onnxscript: see docs/installation.md",
)


def run_cli(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of ``dense-semantic-slam`` with these arguments."""
    monkeypatch.setattr(sys, "argv", ["dense-semantic-slam", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        cli.main()
    return exit_.value.code or 0


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights in the way of the released files."""
    import torch
    from joint_networks import lively_network

    path = tmp_path_factory.mktemp("released") / "kitti.ckpt"
    torch.save({"state_dict": lively_network("nekrasov-kitti").state_dict()}, path)
    return path


@needs_torch
def test_published_weights_become_files_that_agree(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    from mtl_perception.predictor import Predictor, PredictorConfig

    ours, onnx = tmp_path / "kitti.safetensors", tmp_path / "kitti.onnx"
    arguments = ("models", "export", released, ours, "--network", "nekrasov-kitti")
    assert run_cli(monkeypatch, *arguments) == 0
    assert "343 entries set, file known as: the network's own names" in capsys.readouterr().out
    assert run_cli(monkeypatch, "models", "export", ours, onnx) == 0
    rgb = np.random.default_rng(0).integers(0, 256, (70, 130, 3), np.uint8)
    one, other = (
        Predictor(PredictorConfig(model=str(file), device="cpu")) for file in (ours, onnx)
    )
    assert one.label_set.name == other.label_set.name == "kitti6"
    assert (one(rgb).labels == other(rgb).labels).mean() > 0.999
    np.testing.assert_allclose(one(rgb).depth, other(rgb).depth, rtol=1e-3, atol=1e-4)


@needs_torch
@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("net.pt", ("--network", "nekrasov-kitti"), "ends in .onnx or .safetensors"),
        ("net.onnx", ("--network", "nekrasov-nyud"), "segm.weight (6, 256, 3, 3), want (40,"),
        ("net.onnx", ("--network", "nekrasow-nyud"), "did you mean nekrasov-nyud"),
        ("net.onnx", (), "(published weights need --network)"),
    ],
)
def test_what_cannot_be_exported_is_one_line(
    released: Path, tmp_path: Path, monkeypatch, capsys, output: str, options: tuple, message: str
) -> None:
    assert run_cli(monkeypatch, "models", "export", released, tmp_path / output, *options) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@needs_torch
def test_an_encoder_alone_is_not_exported(tmp_path: Path, monkeypatch, capsys) -> None:
    import torch
    from joint_networks import lively_network

    state = lively_network().state_dict()
    encoder = {name: tensor for name, tensor in state.items() if name.startswith("layer")}
    torch.save(encoder, tmp_path / "encoder.pth")
    arguments = (tmp_path / "encoder.pth", tmp_path / "net.onnx", "--network", "nekrasov-nyud")
    assert run_cli(monkeypatch, "models", "export", *arguments) == 2
    assert "holds an encoder only" in capsys.readouterr().err


def test_a_missing_package_is_named_with_what_to_type() -> None:
    require_modules("this test", "numpy")
    with pytest.raises(ModelUnsupported, match="this test: needs no_such.*pip install no-such"):
        require_modules("this test", "numpy", "no_such")
