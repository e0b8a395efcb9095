# SPDX-License-Identifier: Apache-2.0
"""What is compared with what."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mtl_perception.conventions import InvalidInput
from mtl_perception.networks.config import NetworkConfig
from mtl_perception.networks.mti_net import MtiNetConfig
from mtl_perception.networks.multi_task import FOUR_TASKS
from mtl_perception.networks.nekrasov import NekrasovConfig
from mtl_perception.networks.pad_net import PadNetConfig
from mtl_perception.networks.xdistill_depth import XDistillConfig
from mtl_perception.training.config import LossConfig


@dataclass(frozen=True)
class Arm:
    """One way to train."""

    network: NetworkConfig
    loss: LossConfig = LossConfig()
    labels: str = "all"
    """all: every image has its true labels. part: only the first ``small_data.PART`` of them,
    the others only the rest of their annotations. part only: the others are not used at all.
    expert: a network that learnt labels alone, from that part, labels the others."""


@dataclass(frozen=True)
class Study:
    """Arms that differ in one thing each."""

    question: str
    arms: Mapping[str, Arm]
    comparisons: tuple[tuple[str, str], ...]  # (arm, baseline)
    groundwork: str = ""  # arm that teaches the encoder first where no weights are given; "" = none
    joint: str = ""  # arm whose delta MTL is told; "" = none
    alone: Mapping[str, str] = field(default_factory=dict)  # measure: arm of that task alone


_JOINT = NekrasovConfig(tasks=("labels", "depth", "normals"), separable_pool=True)
_TWO = replace(_JOINT, tasks=("labels", "depth"))

_PAD = PadNetConfig(
    intermediate=FOUR_TASKS,
    front_end="hrnet18",
    decoder="bottleneck",
    exchange="features",
)
_PAD_LOSS = LossConfig(labels=1, depth=1, normals=1, contours=1)

_MTI = MtiNetConfig(intermediate=FOUR_TASKS)
_MTI_LOSS = LossConfig(labels=1, depth=1, normals=1, contours=1)

_DEPTH = XDistillConfig()

STUDIES: Mapping[str, Study] = {
    "joint": Study(
        "Is one network for three tasks as good as three networks of the same size?",
        {
            "labels alone": Arm(replace(_JOINT, tasks=("labels",))),
            "depth alone": Arm(replace(_JOINT, tasks=("depth",))),
            "normals alone": Arm(replace(_JOINT, tasks=("normals",))),
            "joint": Arm(_JOINT),
        },
        (("joint", "labels alone"), ("joint", "depth alone"), ("joint", "normals alone")),
        joint="joint",
        # The measures of Maninis et al. and Vandenhende et al.
        alone={
            "mean_iou": "labels alone",
            "depth_rmse": "depth alone",
            "normal_angle": "normals alone",
        },
    ),
    "expert": Study(
        "Where labels are missing, are an expert's better than none?",
        {
            "labelled images only": Arm(_TWO, labels="part only"),
            "labels missing": Arm(_TWO, labels="part"),
            "expert's labels": Arm(_TWO, labels="expert"),
            "all true labels": Arm(_TWO),
        },
        (
            ("labels missing", "labelled images only"),
            ("expert's labels", "labelled images only"),
            ("expert's labels", "labels missing"),
            ("all true labels", "expert's labels"),
        ),
    ),
    "pad-net": Study(
        "What is PAD-Net's exchange between tasks worth, module by module?",
        {
            "none": Arm(replace(_PAD, module="none"), _PAD_LOSS),
            "A": Arm(replace(_PAD, module="A"), _PAD_LOSS),
            "B": Arm(replace(_PAD, module="B"), _PAD_LOSS),
            "C": Arm(replace(_PAD, module="C"), _PAD_LOSS),
        },
        (("A", "none"), ("B", "none"), ("C", "none")),
        groundwork="none",
    ),
    "mti-net": Study(
        "What are MTI-Net's propagation and its exchange at several scales worth?",
        {
            "no exchange": Arm(replace(_MTI, propagation=False, distilled_scales=0), _MTI_LOSS),
            "at 1/4": Arm(replace(_MTI, propagation=False, distilled_scales=1), _MTI_LOSS),
            "at 4 scales": Arm(replace(_MTI, propagation=False), _MTI_LOSS),
            "and propagation": Arm(_MTI, _MTI_LOSS),
        },
        (
            ("at 1/4", "no exchange"),
            ("at 4 scales", "at 1/4"),
            ("and propagation", "at 4 scales"),
            ("and propagation", "no exchange"),
        ),
        groundwork="no exchange",
    ),
    "x-distill": Study(
        "Does self-supervised depth gain from having to show the classes?",
        {
            "photometric": Arm(_DEPTH, LossConfig(cross_task=0)),
            "and classes": Arm(_DEPTH),
        },
        (("and classes", "photometric"),),
        groundwork="photometric",
    ),
}
"""Experiments by name."""


def find_study(name: str) -> Study:
    """Return the study called ``name``.

    Raises:
        InvalidInput: there is none; says which there are.
    """
    if name not in STUDIES:
        raise InvalidInput(f"no ablation {name!r}: there are {', '.join(STUDIES)}")
    return STUDIES[name]
