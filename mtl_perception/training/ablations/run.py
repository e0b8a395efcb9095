# SPDX-License-Identifier: Apache-2.0
"""Train every arm of a study with every seed; what is finished is not done again."""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from mtl_perception.evaluation.depth import DepthConfig
from mtl_perception.evaluation.evaluate import EvaluationConfig, evaluate_model
from mtl_perception.networks.config import NetworkConfig
from mtl_perception.networks.nekrasov import NekrasovConfig, NekrasovNet
from mtl_perception.training.ablations.budget import EXPERT_PATIENCE, SAYS_NOTHING, AblationConfig
from mtl_perception.training.ablations.groundwork import (
    ENCODER_FILE,
    GROUNDWORK,
    GROUNDWORK_SEED,
    encoder_of,
    prepared_encoder,
)
from mtl_perception.training.ablations.results import (
    Result,
    load_result,
    result_file,
    store_result,
)
from mtl_perception.training.ablations.small_data import PART, SampleList
from mtl_perception.training.ablations.studies import Arm, find_study
from mtl_perception.training.config import OptimizerConfig, TrainConfig, ViewConfig
from mtl_perception.training.engine import Engine, TrainingDiverged
from mtl_perception.training.fast_pool import use_fast_pool
from mtl_perception.training.initial import start_decoder
from mtl_perception.training.loader import Loader, Mixture
from mtl_perception.training.objective import objective_for
from mtl_perception.training.objective_xdistill import XDistillObjective
from mtl_perception.training.photometric import Photometric
from mtl_perception.training.precision import device_of
from mtl_perception.training.schedule import ScheduleConfig
from mtl_perception.training.start import start_weights
from mtl_perception.training.validation import headline, predictor_of

_COLORS = Photometric(blur_chance=0, noise_chance=0)
"""Noise that differs from frame to frame would be a teacher of its own to X-Distill."""


class Stopped(Exception):
    """The work was asked to end."""


def run_study(
    name: str,
    config: AblationConfig,
    train: SampleList,
    test: SampleList,
    folder: Path,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[Result]:
    """Yield the result of every arm and seed as it comes; finished ones are read.

    Seed by seed, so that a study that is cut short has all arms of its first seeds.

    Args:
        name: of the study.
        config: the budget.
        train: images to learn from.
        test: images to judge on.
        folder: for the results of all studies.
        stopped: asked after every step; True ends the work.

    Raises:
        InvalidInput: no such study, or ``folder`` holds arms of another budget or other data.
        TrainingDiverged: a loss is not finite.
        OSError: the folder cannot be written.
    """
    study = find_study(name)
    torch.set_num_threads(config.threads)
    about = {k: v for k, v in asdict(config).items() if k not in SAYS_NOTHING}
    about |= {"train": train.fingerprint, "test": test.fingerprint}
    encoder = None
    if config.start:
        encoder = _encoder(config.start, next(iter(study.arms.values())), train)
    elif study.groundwork:
        steps = GROUNDWORK * config.steps
        about["groundwork"] = steps
        trial = _Trial(study.arms[study.groundwork], config, GROUNDWORK_SEED, None, stopped)
        try:
            path = folder / name / ENCODER_FILE
            encoder = prepared_encoder(path, about, lambda: trial.encoder_after(steps, train))
        except Stopped:
            return
    for seed in range(config.seeds):
        for title, arm in study.arms.items():
            path = result_file(folder, name, title, seed)
            result = load_result(path, about)
            if result is None:
                try:
                    result = _Trial(arm, config, seed, encoder, stopped).run(title, train, test)
                except Stopped:
                    return
                store_result(path, result, about)
            yield result


@dataclass(frozen=True)
class _Trial:
    """One arm with one seed."""

    arm: Arm
    config: AblationConfig
    seed: int
    encoder: dict[str, torch.Tensor] | None  # to start from; None = random
    stopped: Callable[[], bool]

    def run(self, title: str, train: SampleList, test: SampleList) -> Result:
        began = time.monotonic()
        measures: dict[str, float] = {}
        if self.arm.labels == "part only":
            train = train.first(PART)
        elif self.arm.labels == "part":
            train = train.relabelled(PART, lambda _: None)
        elif self.arm.labels == "expert":
            expert = NekrasovConfig(tasks=("labels",), separable_pool=True)
            steps = EXPERT_PATIENCE * self.config.steps
            network, _ = self._trained(expert, steps, train.first(PART))
            measures = {f"expert {k}": v for k, v in _judged(network, train, test).items()}
            predict = predictor_of(network)
            train = train.relabelled(PART, lambda sample: predict(sample).labels)
        network, loss = self._trained(self.arm.network, self.config.steps, train)
        measures |= _judged(network, train, test)
        return Result(title, self.seed, measures, loss, time.monotonic() - began)

    def encoder_after(self, steps: int, train: SampleList) -> dict[str, torch.Tensor]:
        """Return the encoder of the arm's network after so many steps."""
        network, _ = self._trained(self.arm.network, steps, train)
        return encoder_of(network).state_dict()

    def _trained(
        self, network_config: NetworkConfig, steps: int, train: SampleList
    ) -> tuple[nn.Module, float]:
        """Return the network (mean of its weights) and its last loss."""
        settings = self._settings(steps, train)
        torch.manual_seed(self.seed)
        device = device_of(self.config.device)
        network = self._fresh(network_config, device)
        objective = objective_for(network_config, self.arm.loss)
        if self.encoder is not None and isinstance(objective, XDistillObjective):
            objective.start_from(network)
        engine = Engine(settings, network, objective, device)
        loader = Loader(
            Mixture((train,), (1.0,)), settings.view, settings.focal_px, self.seed, settings.batch
        )
        loss = float("nan")
        for number, images in loader.batches(0, steps, workers=1):
            step = engine.step(images)
            if step.problem:
                raise TrainingDiverged(f"step {number}: {step.problem}")
            engine.state.step, loss = number + 1, step.losses["total"]
            if self.stopped():
                raise Stopped
        network.load_state_dict(engine.mean.state)
        return network.eval(), loss

    def _settings(self, steps: int, train: SampleList) -> TrainConfig:
        camera = train[0].intrinsics
        # Encoders that start at random learn as fast as the rest; in few steps they else learn
        # next to nothing.
        slow = OptimizerConfig.decoder_lr if self.encoder is None else OptimizerConfig.encoder_lr
        return TrainConfig(
            view=ViewConfig(camera.height, camera.width, 1.0, 1.3, colors=_COLORS),
            loss=self.arm.loss,
            optimizer=OptimizerConfig(encoder_lr=slow),
            schedule=ScheduleConfig(warmup=min(ScheduleConfig.warmup, steps // 6)),
            focal_px=camera.fx,
            steps=steps,
            batch=self.config.batch,
            seed=self.seed,
            precision=self.config.precision,
        )

    def _fresh(self, network_config: NetworkConfig, device: torch.device) -> nn.Module:
        network = network_config.build()
        if isinstance(network, NekrasovNet):
            start_decoder(network)
            if device.type == "cpu":
                use_fast_pool(network)
        if self.encoder is not None:
            encoder_of(network).load_state_dict(self.encoder)
        return network


def _encoder(start: str, arm: Arm, train: SampleList) -> dict[str, torch.Tensor]:
    """Return the weights that every network of a study starts its encoder from."""
    network = arm.network.build()
    start_weights(network, Path(start), Mixture((train,), (1.0,)))
    return encoder_of(network).state_dict()


def _judged(network: nn.Module, train: SampleList, test: SampleList) -> dict[str, float]:
    """Return the main measures; depth was learnt for the training images' focal length."""
    how = EvaluationConfig(DepthConfig(median_scaling=not network.config.is_metric))
    predict = predictor_of(network, focal_px=train[0].intrinsics.fx)
    found = headline(evaluate_model(predict, test, how))
    return {k: float(v) for k, v in found.items()}
