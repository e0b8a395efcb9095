# SPDX-License-Identifier: Apache-2.0
"""Networks learn what is annotated, and a run that was stopped ends where it would have anyway."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: see docs/installation.md")

import torch.nn.functional as F  # noqa: E402

from mtl_perception.conventions import Intrinsics, InvalidInput  # noqa: E402
from mtl_perception.data.sample import DataCorrupt, Sample  # noqa: E402
from mtl_perception.data.shard_index import ShardIndex  # noqa: E402
from mtl_perception.data.shard_write import write_shard  # noqa: E402
from mtl_perception.networks.checkpoint import load_network  # noqa: E402
from mtl_perception.networks.mobilenet_v2 import MobileNetV2  # noqa: E402
from mtl_perception.networks.presets import build, find_preset  # noqa: E402
from mtl_perception.training.balance import class_weights  # noqa: E402
from mtl_perception.training.batch import Batch, stack  # noqa: E402
from mtl_perception.training.config import (  # noqa: E402
    LossConfig,
    OptimizerConfig,
    Source,
    TrainConfig,
    ValidationConfig,
    ViewConfig,
)
from mtl_perception.training.config_file import load_config, to_yaml  # noqa: E402
from mtl_perception.training.engine import Engine, TrainingDiverged  # noqa: E402
from mtl_perception.training.initial import start_decoder  # noqa: E402
from mtl_perception.training.loader import Mixture  # noqa: E402
from mtl_perception.training.objective import objective_for  # noqa: E402
from mtl_perception.training.photometric import Photometric  # noqa: E402
from mtl_perception.training.run import NETWORK_FILE, train  # noqa: E402
from mtl_perception.training.run_state import STATE_FILE, RunCorrupt, load_run  # noqa: E402
from mtl_perception.training.schedule import ScheduleConfig  # noqa: E402
from mtl_perception.training.transforms import look, whole  # noqa: E402
from slam_fusion.commands import cli_train  # noqa: E402

torch.set_num_threads(1)

CPU = torch.device("cpu")
SIDE = 64
CAMERA = Intrinsics(SIDE, SIDE, 60.0, 60.0, 31.5, 31.5)


def fake_sample(number: int, **lacks: None) -> Sample:
    """Two halves with a class, a colour, a depth and a normal each."""
    rng = np.random.default_rng(number)
    split = int(rng.integers(20, 44))
    left = np.arange(SIDE) < split
    labels = np.where(left, number, number + 5).astype(np.uint8) * np.ones((SIDE, 1), np.uint8)
    depth = np.where(left, 1.0 + number / 4, 3.0).astype(np.float32) * np.ones(
        (SIDE, 1), np.float32
    )
    normals = np.zeros((SIDE, SIDE, 3), np.float32)
    normals[:, :split] = (0.6, 0.0, -0.8)
    normals[:, split:] = (0.0, -0.6, -0.8)
    color = np.where(left[None, :, None], (200, 30 * number, 40), (30, 200, 60 * number))
    color = (color + rng.integers(0, 20, color.shape)) * np.ones((SIDE, 1, 1), int)
    given = {"depth": depth.astype(np.float32), "labels": labels, "normals": normals, **lacks}
    return Sample(f"s{number}", color.clip(0, 255).astype(np.uint8), CAMERA, **given)


def batch_of(*samples: Sample) -> Batch:
    return stack([look(sample, whole(sample, 0)) for sample in samples])


def tiny_config(**changes: object) -> TrainConfig:
    """A run of a few steps on 32x32 views."""
    plain = TrainConfig(
        network="nekrasov-nyud",
        view=ViewConfig(32, 32, 0.5, 1.0),
        schedule=ScheduleConfig(warmup=2),
        steps=6,
        batch=2,
        precision="float32",
        device="cpu",
        threads=1,
        workers=1,
        save_every=2,
    )
    return replace(plain, **changes)


def engine_of(config: TrainConfig, seed: int = 0) -> Engine:
    torch.manual_seed(seed)
    network = build(config.network)
    start_decoder(network)
    return Engine(config, network, objective_for(network.config, config.loss), CPU)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """A data set of four samples."""
    folder = tmp_path / "shards"
    folder.mkdir()
    shard = write_shard(folder / "room-0.shard", 0, [(fake_sample(i), None) for i in range(4)])
    ShardIndex("nyu40", {"of": "test"}, (shard,)).save(folder)
    return folder


def test_four_images_are_learnt_by_heart() -> None:
    rates = OptimizerConfig(encoder_lr=2e-3, decoder_lr=2e-3, average=0.9)
    config = tiny_config(
        network="nekrasov-nyud-normals", steps=40, optimizer=rates, loss=LossConfig(stride=2)
    )
    engine = engine_of(config)
    batch = batch_of(*map(fake_sample, range(4)))
    told = []
    for _ in range(config.steps):
        told.append(engine.step(batch).losses)
        engine.state.step += 1
    assert told[0]["labels"] > 3 and told[-1]["labels"] < 0.5
    assert told[-1]["depth"] < 0.35 * told[0]["depth"]
    assert told[-1]["normals"] < 0.1


@pytest.mark.parametrize("missing", ["labels", "depth", "normals"])
def test_a_missing_annotation_leaves_its_head_exactly_alone(missing: str) -> None:
    config = tiny_config(network="nekrasov-nyud-normals")
    engine = engine_of(config)
    batch = batch_of(*(fake_sample(i, **{missing: None}) for i in range(2)))
    losses = engine.objective(engine.network.train()(batch.images), batch)
    losses.total.backward()
    assert float(losses.parts[missing]) == 0
    heads = {"labels": "segm", "depth": "depth", "normals": "normal"}
    for task, name in heads.items():
        for part in (name, f"pre_{name}"):
            gradient = engine.network.heads[part].weight.grad
            assert (float(gradient.abs().max()) == 0) == (task == missing)
    assert float(engine.network.encoder.layer1[0].weight.grad.abs().max()) > 0


def test_what_is_frozen_keeps_its_weights_and_statistics(tmp_path: Path) -> None:
    kept = "encoder.layer1"
    engine = engine_of(tiny_config(optimizer=OptimizerConfig(freeze=(kept,))))
    before = {k: v.clone() for k, v in engine.network.state_dict().items()}
    engine.step(batch_of(fake_sample(0), fake_sample(1)))
    moved = {k for k, v in engine.network.state_dict().items() if not torch.equal(v, before[k])}
    frozen = {k for k in before if k.startswith("layer1.")}  # released names leave the part out
    assert frozen and not moved & frozen
    assert {"layer8.0.output.2.0.weight", "conv8.weight"} <= moved
    with pytest.raises(InvalidInput, match="'encoder.layer9': the network has no such"):
        engine_of(tiny_config(optimizer=OptimizerConfig(freeze=("encoder.layer9",))))


def test_a_rare_class_counts_more_as_its_frequency_says(tmp_path: Path, shards: Path) -> None:
    rare = fake_sample(0)
    rare.labels[:] = 0
    rare.labels[:8, :8] = 9  # 1/64 of the pixels
    mixture = Mixture((Single(rare),), (1.0,))
    weights = class_weights(mixture, 40, 0.5, seed=0)
    assert float(weights[9] / weights[0]) == pytest.approx(63**0.5, rel=1e-5)
    assert float(weights[0] * 63 / 64 + weights[9] / 64) == pytest.approx(1, rel=1e-5)
    assert torch.equal(class_weights(mixture, 40, 0.0, seed=0), torch.ones(40))
    config = tiny_config(
        network="pad-net-nyud-hrnet18",
        sources=(Source(f"shards:{shards}"),),
        loss=LossConfig(balance=0.5),
    )
    with pytest.raises(InvalidInput, match="balance"):
        train(config, tmp_path / "run")


class Single:
    """A data set of one sample."""

    name, label_set = "single", None

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Sample:
        return self.sample


def test_an_annotated_image_teaches_beside_one_that_is_not() -> None:
    engine = engine_of(tiny_config())
    alone = batch_of(fake_sample(1), fake_sample(1))
    beside = batch_of(fake_sample(1), fake_sample(1, labels=None))
    parts = []
    for batch in (alone, beside):
        outputs = engine.network.eval()(batch.images)
        parts.append(engine.objective(outputs, batch).parts["labels"])
    assert torch.allclose(*parts, rtol=1e-5)  # the mean is over annotated pixels


def test_a_resumed_run_ends_where_an_uninterrupted_one_does(tmp_path: Path, shards: Path) -> None:
    config = tiny_config(
        sources=(Source(f"shards:{shards}"),),
        validation=ValidationConfig(f"shards:{shards}", every=100, height=32),
    )
    straight = train(config, tmp_path / "straight")
    calls = iter(range(100))
    # Stopped after the third step, then killed after the fifth: the fourth was the last saved.
    train(config, tmp_path / "stopped", stopped=lambda: next(calls) == 2)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "stopped", _kill_at(5))
    resumed = train(config, tmp_path / "stopped")
    assert resumed.step == straight.step == 6 and resumed.starts == 3
    assert resumed.judged == straight.judged and straight.judged[0]["step"] == 6
    assert resumed.recent == straight.recent
    one, two = (load_network(tmp_path / name / NETWORK_FILE) for name in ("straight", "stopped"))
    assert one.metadata.focal_px == config.focal_px and one.metadata.input_height == 32
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, two.model.state_dict()[name]), name
    assert load_config(tmp_path / "straight" / "config.yaml") == config
    page = (tmp_path / "straight" / "report.html").read_text()
    shown = sorted(p.name for p in (tmp_path / "straight" / "pictures").iterdir())
    assert "mean_iou" in page and len(shown) == 8 and all(name in page for name in shown)


def test_a_run_that_the_system_kills_in_the_middle_of_a_step_ends_the_same(
    tmp_path: Path, shards: Path
) -> None:
    config = tiny_config(sources=(Source(f"shards:{shards}"),), steps=10, save_every=1)
    straight = train(config, tmp_path / "straight")
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    (tmp_path / "script.py").write_text(SCRIPT)
    paths = [tmp_path / name for name in ("script.py", "config.yaml", "killed")]
    with subprocess.Popen([sys.executable, *map(str, paths)]) as process:
        while not (tmp_path / "killed" / STATE_FILE).exists() and process.poll() is None:
            time.sleep(0.01)
        process.kill()  # SIGKILL: nothing is caught, nothing tidied up
    assert process.returncode == -signal.SIGKILL
    assert load_run(tmp_path / "killed")[0].step < 10
    resumed = train(config, tmp_path / "killed")
    assert resumed.starts == 2 and resumed.recent == straight.recent
    one, two = (load_network(tmp_path / name / NETWORK_FILE) for name in ("straight", "killed"))
    for name, tensor in one.model.state_dict().items():
        assert torch.equal(tensor, two.model.state_dict()[name]), name


def _kill_at(step: int):
    def tell(state: object, _: object) -> None:
        if state.step == step:
            raise KeyboardInterrupt

    return tell


def test_a_folder_of_another_run_is_not_continued(tmp_path: Path, shards: Path) -> None:
    config = tiny_config(sources=(Source(f"shards:{shards}"),), steps=2)
    train(config, tmp_path / "run")
    with pytest.raises(InvalidInput, match="seed was 0, is 7"):
        train(replace(config, seed=7), tmp_path / "run")
    assert train(replace(config, steps=3), tmp_path / "run").step == 3
    (tmp_path / "run" / STATE_FILE).write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(RunCorrupt, match="run.pt: damaged"):
        train(config, tmp_path / "run")


def test_a_save_that_fails_leaves_the_old_one(tmp_path: Path, shards: Path, monkeypatch) -> None:
    config = tiny_config(sources=(Source(f"shards:{shards}"),), steps=2)
    train(config, tmp_path / "run")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        train(replace(config, steps=4), tmp_path / "run")
    monkeypatch.undo()
    assert load_run(tmp_path / "run")[0].step == 2
    assert {p.name for p in (tmp_path / "run").glob("*.partial")} == set()


def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(tmp_path: Path) -> None:
    engine = engine_of(tiny_config())
    batch = batch_of(fake_sample(0))
    before = {name: t.clone() for name, t in engine.network.named_parameters()}
    broken = replace(batch, images=batch.images * float("nan"))
    step = engine.step(broken)
    assert "nan" in step.problem
    assert all(torch.equal(t, before[name]) for name, t in engine.network.named_parameters())


def test_a_run_of_steps_that_are_not_finite_stops_and_names_the_first(
    tmp_path: Path, shards: Path
) -> None:
    hot = OptimizerConfig(kind="sgd", encoder_lr=1e20, decoder_lr=1e20, clip=0.0)
    config = tiny_config(
        sources=(Source(f"shards:{shards}"),), optimizer=hot, steps=20, bad_steps=3
    )
    with pytest.raises(TrainingDiverged, match=r"4 steps .* with s\d, s\d"):
        train(config, tmp_path / "run")


def test_a_corrupt_sample_stops_a_run_by_name(tmp_path: Path, shards: Path) -> None:
    blob = bytearray((shards / "room-0.shard").read_bytes())
    blob[len(blob) // 2] ^= 255
    (shards / "room-0.shard").write_bytes(blob)
    with pytest.raises(DataCorrupt, match="room-0.shard"):
        train(tiny_config(sources=(Source(f"shards:{shards}"),)), tmp_path / "run")


SCRIPT = """
import sys
from pathlib import Path
from mtl_perception.training.config_file import load_config
from mtl_perception.training.run import train
train(load_config(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_two_processes_learn_what_one_does(tmp_path: Path, shards: Path) -> None:
    # Batch norm keeps its statistics: each process would else use those of its own images. Depth is
    # left out: the berHu loss depends on the largest error of a process's images.
    config = tiny_config(
        sources=(Source(f"shards:{shards}"),),
        optimizer=OptimizerConfig(freeze_norm=True, clip=0.0),
        loss=LossConfig(depth=0.0),
        view=ViewConfig(32, 32, 0.5, 0.5, colors=Photometric()),
        steps=3,
    )
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    (tmp_path / "script.py").write_text(SCRIPT)
    train(config, tmp_path / "one")
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [tmp_path / "script.py", tmp_path / "config.yaml", tmp_path / "two"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*run, *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (load_network(tmp_path / name / NETWORK_FILE) for name in ("one", "two"))
    start = build(config.network).state_dict()
    for name, tensor in one.model.state_dict().items():
        other = two.model.state_dict()[name]
        assert torch.allclose(tensor, other, atol=2e-4), name
    moved = one.model.state_dict()["segm.bias"]
    assert float((moved - start["segm.bias"]).abs().max()) > 1e-3


def test_the_command_trains_and_says_how_it_went(tmp_path: Path, shards: Path, capsys) -> None:
    config = tiny_config(
        sources=(Source(f"shards:{shards}"),),
        validation=ValidationConfig(f"shards:{shards}", every=2, height=32),
        steps=2,
    )
    path = _written(tmp_path / "c.yaml", to_yaml(config))
    cli_train.train(path, tmp_path / "run", ["save_every=1"])
    told = capsys.readouterr()
    assert "2 steps in" in told.out and "held out: step 2, mean_iou" in told.out
    assert "step 2/2 total" in told.err and "step 2 held out: mean_iou" in told.err
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(InvalidInput, match="pip install tensorboard"):
            cli_train.train(path, tmp_path / "board", tensorboard=True)


def test_settings_come_from_yaml_and_from_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("steps: 7\nsources:\n  - dataset: shards:x\n    weight: 2\nview: {width: 64}\n")
    config = load_config(path, ["view.height=96", "optimizer.encoder_lr=1e-4", "seed=3"])
    assert config.steps == 7 and config.sources == (Source("shards:x", 2.0),)
    assert (config.view.width, config.view.height, config.seed) == (64, 96, 3)
    assert config.optimizer.encoder_lr == 1e-4
    assert config == load_config(_written(tmp_path / "again.yaml", to_yaml(config)))


def test_every_recipe_is_a_configuration_of_a_network_that_there_is() -> None:
    recipes = sorted((Path(__file__).parents[1] / "config" / "training").glob("*.yaml"))
    assert {path.stem for path in recipes} >= {"rooms", "rooms-kitchen", "nekrasov"}
    for path in recipes:
        find_preset(load_config(path).network)


@pytest.mark.parametrize(
    ("text", "settings", "message"),
    [
        ("stepps: 3", [], "no setting stepps: did you mean steps"),
        ("steps: many", [], "steps: got 'many', want int"),
        ("steps: true", [], "want int"),
        ("view: 3", [], "view.: got 3"),
        ("sources: x", [], "sources: got 'x', want a list"),
        ("sources: [{weight: 1}]", [], r"sources\[0\].: lacks one of dataset"),
        ("- 1", [], "holds list"),
        ("a: [", [], "c.yaml"),
        ("", ["view.wide=3"], "no setting view.wide"),
        ("", ["steps"], "not name=value"),
        ("", ["steps=0"], "steps 0: want 1 or more"),
        ("precision: int8", [], "precision 'int8'"),
    ],
)
def test_settings_that_are_wrong_are_named(
    tmp_path: Path, text: str, settings: list[str], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_config(_written(tmp_path / "c.yaml", text), settings)


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_encoder_of_a_tflite_file_computes_what_the_file_does(shared_data: Path) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
    import cv2

    from mtl_perception.networks.tflite_encoder import load_encoder

    path = shared_data / "models" / "tf2_mobilenet_v2_1.0_224_ptq.tflite"
    frames = sorted((shared_data / "seven_scenes_kitchen").glob("*.color.jpg"))[::150][:3]
    read = [cv2.cvtColor(cv2.imread(str(frame)), cv2.COLOR_BGR2RGB) for frame in frames]
    pictures = [cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA) for image in read]
    camera = Intrinsics(224, 224, 200.0, 200.0, 112.0, 112.0)
    images = batch_of(*(Sample("one", picture, camera) for picture in pictures)).images
    encoder = MobileNetV2()
    for module in encoder.modules():  # TFLite pads strided convolutions on the far sides only
        if isinstance(module, torch.nn.Conv2d) and module.stride == (2, 2):
            module.padding = (0, 0)
            module.register_forward_pre_hook(lambda _, inputs: (F.pad(inputs[0], (0, 1, 0, 1)),))
    assert "51 convolutions" in load_encoder(encoder, path, images)
    with torch.no_grad():
        ours = encoder.eval()(images)
        # Batch norm's statistics are the images' own, so training begins from the same network.
        trained = encoder.train()(images)
    graph = litert.Interpreter(str(path), experimental_preserve_all_tensors=True, num_threads=1)
    graph.allocate_tensors()
    for which, tensor in ((0, 119), (3, 156), (5, 170)):  # l3, l6 and l8 in the file
        theirs = np.stack([_run(graph, p, tensor) for p in pictures])
        like = np.corrcoef(theirs.ravel(), ours[which].permute(0, 2, 3, 1).ravel())[0, 1]
        assert like > 0.99
        largest = float(ours[which].abs().max())
        assert torch.allclose(ours[which], trained[which], atol=0.01 * largest)


def _run(graph, picture: np.ndarray, tensor: int) -> np.ndarray:
    graph.set_tensor(graph.get_input_details()[0]["index"], picture[None].copy())
    graph.invoke()
    detail = next(d for d in graph.get_tensor_details() if d["index"] == tensor)
    scale, zero = detail["quantization"]
    return (graph.get_tensor(tensor)[0].astype(np.float32) - zero) * scale
