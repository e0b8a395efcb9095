# SPDX-License-Identifier: Apache-2.0
"""What a training run is; the same names in YAML and after ``--set`` (no torch on import)."""

from dataclasses import dataclass

from mtl_perception.conventions import InvalidInput
from mtl_perception.training.photometric import Photometric
from mtl_perception.training.schedule import ScheduleConfig

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Source:
    """A data set to learn from."""

    dataset: str  # see ``data.open_dataset``
    weight: float = 1.0  # share of the images that come from it, relative to the other sources


@dataclass(frozen=True)
class ViewConfig:
    """What a random view of a sample may be."""

    height: int = 240  # of the view, pixels
    width: int = 320  # of the view, pixels
    zoom_min: float = 0.5  # pixels of the view per pixel of the sample
    zoom_max: float = 1.1
    mirror: float = 0.5  # probability
    colors: Photometric = Photometric()

    def __post_init__(self) -> None:
        """Refuse views that there are none of.

        Raises:
            InvalidInput: with the values.
        """
        if min(self.height, self.width) < 32:
            raise InvalidInput(f"views of {self.width}x{self.height}: want at least 32x32")
        if not 0 < self.zoom_min <= self.zoom_max < 100:
            raise InvalidInput(f"zoom from {self.zoom_min} to {self.zoom_max}")


@dataclass(frozen=True)
class LossConfig:
    """Weight of each task's loss; those of two tasks are Nekrasov et al.'s."""

    labels: float = 0.5
    depth: float = 0.5
    normals: float = 0.5
    contours: float = 1.0
    intermediate: float = 1.0  # factor on those of PAD-Net's and MTI-Net's intermediate predictions
    smoothness: float = 1e-3  # of X-Distill's disparity, at the finest scale
    cross_task: float = 5e-3  # of X-Distill's classes seen in depth; 0 = plain self-supervision
    groups: str = "indoor7"  # of classes that X-Distill's depth should tell apart
    balance: float = 0.0  # pixels of a class count by its frequency to the power -balance
    stride: int = 1  # compare at every n-th row and column of the targets: n^2 times cheaper


@dataclass(frozen=True)
class OptimizerConfig:
    """How weights follow their gradients."""

    kind: str = "adamw"  # adamw or sgd
    encoder_lr: float = 3e-4  # of the part that starts from ImageNet
    decoder_lr: float = 1e-3  # of everything else
    weight_decay: float = 0.01  # not on biases and batch norm
    momentum: float = 0.9  # of sgd
    clip: float = 5.0  # largest norm of the gradient; 0 = any
    average: float = 0.998  # per step, of the running mean of weights that is kept; 0 = none
    freeze_norm: bool = False  # batch norm keeps its statistics
    freeze: tuple[str, ...] = ()  # beginnings of the names of parts that stay as they are

    def __post_init__(self) -> None:
        """Refuse what does not train.

        Raises:
            InvalidInput: with the values.
        """
        if self.kind not in ("adamw", "sgd"):
            raise InvalidInput(f"optimizer {self.kind!r}: want adamw or sgd")
        if not 0 <= self.average < 1 or self.clip < 0:
            raise InvalidInput(f"optimizer: average {self.average}, clip {self.clip}")


@dataclass(frozen=True)
class ValidationConfig:
    """What the network is judged on along the way."""

    dataset: str = ""  # see ``data.open_dataset``; "" = not judged
    every: int = 1000  # steps
    height: int = 240  # of the network's input, pixels; 0 = the images' own


@dataclass(frozen=True)
class TrainConfig:
    """One run. A run that is resumed must have the same, but for how long and where."""

    network: str = "nekrasov-nyud-normals"  # a preset
    separable_pool: bool = True  # of Nekrasov networks: faster, the same values
    start: str = ""  # weights to start from: ours, published, or an encoder's (.tflite too)
    sources: tuple[Source, ...] = ()
    validation: ValidationConfig = ValidationConfig()
    view: ViewConfig = ViewConfig()
    loss: LossConfig = LossConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    focal_px: float = 585.0  # fx of the canonical camera that depth is learnt for; 0 = none
    steps: int = 4000
    batch: int = 8  # images of a step, over all processes
    seed: int = 0
    precision: str = "auto"  # auto: bfloat16 where the processor has it, float16 on CUDA
    device: str = "auto"  # auto: cuda if there is one
    threads: int = 0  # of torch on the CPU; 0 = its own choice
    workers: int = 2  # threads that prepare images
    save_every: int = 250  # steps
    bad_steps: int = 10  # steps without a finite loss or gradient before the run stops

    def __post_init__(self) -> None:
        """Refuse what cannot run.

        Raises:
            InvalidInput: with the values.
        """
        if self.precision not in PRECISIONS:
            raise InvalidInput(f"precision {self.precision!r}: want {', '.join(PRECISIONS)}")
        counts = {"steps": self.steps, "batch": self.batch, "workers": self.workers}
        counts |= {"save_every": self.save_every}
        for name, count in counts.items():
            if count < 1:
                raise InvalidInput(f"{name} {count}: want 1 or more")
