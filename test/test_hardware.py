# SPDX-License-Identifier: Apache-2.0
"""Diagnostics name the machine as its makers do."""

from pathlib import Path

import pytest

from mtl_perception import hardware

X86 = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel\t\t: 106\nmodel name\t: Xeon 8375C @ 2.9\n"


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any of the files; they are written into its folder."""
    monkeypatch.setattr(hardware, "_CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(hardware, "_BOARD", tmp_path / "board")
    monkeypatch.setattr(hardware, "_GPUS", tmp_path / "gpus")
    return tmp_path


def test_a_cpu_is_called_by_its_model(machine: Path) -> None:
    assert hardware.hardware_name("cpu")  # of an unknown machine: its architecture
    (machine / "board").write_bytes(b"NVIDIA Jetson AGX Orin\0")
    (machine / "cpuinfo").write_text("processor\t: 0\nBogoMIPS\t: 62.5\n")
    assert hardware.hardware_name("cpu") == "NVIDIA Jetson AGX Orin"
    (machine / "cpuinfo").write_text(X86)
    assert hardware.hardware_name("cpu") == "Xeon 8375C @ 2.9"


def test_a_gpu_that_the_runtime_cannot_name_is_asked_of_the_driver(machine: Path) -> None:
    assert hardware.hardware_name("NVIDIA H100 80GB HBM3") == "NVIDIA H100 80GB HBM3"
    assert hardware.hardware_name("cuda") == "cuda"
    (machine / "gpus" / "0000:01:00.0").mkdir(parents=True)
    information = machine / "gpus" / "0000:01:00.0" / "information"
    information.write_text("Model: \t\t NVIDIA GeForce RTX 4090\nIRQ:   \t\t 80\n")
    assert hardware.hardware_name("cuda") == "NVIDIA GeForce RTX 4090"
