# SPDX-License-Identifier: Apache-2.0
"""The namings under which weights are published, translated to the names of our networks.

Each naming is known by a few names that only it has. Translation goes entry by entry and by name,
so the order of a file does not matter.
"""

import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

COUNTER = ".num_batches_tracked"
"""End of the names of batch normalisation's counters, which files before torch 0.4.1 lack."""

Translate = Callable[[str], str | None]
"""File's name -> network's name; None: a part that our networks do not have."""


@dataclass(frozen=True)
class Naming:
    """What a file's names turned out to be."""

    title: str  # for people
    names: dict[str, str] = field(repr=False)  # file's name -> network's name
    dropped: tuple[str, ...] = ()  # the file's classifier, which no dense network has
    encoder: tuple[str, ...] = ()  # file of an encoder: beginnings of its names in the network
    lacks_expansion: bool = False  # MobileNet-v2 without the extra 1x1 of its first block


def recognise(file_names: Collection[str], network_names: Collection[str]) -> Naming | None:
    """Find the naming of a file that is meant for a network.

    Args:
        file_names: of the file's entries.
        network_names: keys of the network's state_dict.

    Returns:
        None when no naming fits. Names may still be missing or too many: see ``checkpoint``.
    """
    prefix = "module." if all(name.startswith("module.") for name in file_names) else ""
    bare = [name.removeprefix(prefix) for name in file_names]
    naming = _recognise(bare, set(network_names))
    if naming is None or not prefix:
        return naming
    return Naming(
        f"{naming.title}, saved under DataParallel",
        {prefix + name: to for name, to in naming.names.items()},
        tuple(prefix + name for name in naming.dropped),
        naming.encoder,
        naming.lacks_expansion,
    )


def _recognise(names: list[str], wanted: set[str]) -> Naming | None:
    present = set(names)
    has_mobilenet = "layer2.0.output.1.0.weight" in wanted
    if has_mobilenet and {"0.layer1.0.weight", "1.stem_convs.0.weight"} <= present:
        return _translated("DenseTorch", names, densetorch_name)
    if has_mobilenet and {"features.0.0.weight", "features.1.conv.0.0.weight"} <= present:
        return _encoder("torchvision MobileNet-v2", names, torchvision_name)
    if has_mobilenet and {"conv_stem.weight", "blocks.0.0.conv_dw.weight"} <= present:
        return _encoder("timm MobileNet-v2", names, timm_name)
    if has_mobilenet and present & wanted and all(name.startswith(_MOBILENET) for name in names):
        own = {name: name for name in names}
        return Naming("MobileNet-v2 of light-weight RefineNet", own, encoder=_MOBILENET)
    if present & wanted:
        return Naming("the network's own names", {name: name for name in names})
    return _prefixed_encoder(names, wanted)


def _translated(title: str, names: list[str], translate: Translate) -> Naming:
    to = {name: translate(name) for name in names}
    return Naming(
        title,
        {name: new for name, new in to.items() if new is not None},
        tuple(name for name, new in to.items() if new is None),
    )


def _encoder(title: str, names: list[str], translate: Translate) -> Naming:
    naming = _translated(title, names, translate)
    return Naming(title, naming.names, naming.dropped, encoder=_MOBILENET, lacks_expansion=True)


_MOBILENET = tuple(f"layer{i}." for i in range(1, 9))

# Our decoder's parts in the order in which DenseTorch numbers them.
_LATERALS = ("conv8", "conv7", "conv6", "conv5", "conv4", "conv3")
_POOLINGS = ("crp4", "crp3", "crp2", "crp1")
_ADAPTERS = ("conv_adapt4", "conv_adapt3", "conv_adapt2")
_HEADS = ("segm", "depth", "normal")
_DENSETORCH = re.compile(r"1\.(stem_convs|crp_blocks|adapt_convs|heads)\.(\d)\.(.+)")


def densetorch_name(name: str) -> str:
    """Translate a name of DenseTorch (encoder ``0.``, decoder ``1.``); unknown ones stay."""
    if name.startswith("0."):
        return name[2:]
    match = _DENSETORCH.fullmatch(name)
    if match is None:
        return name
    part, number, rest = match[1], int(match[2]), match[3]
    if part == "heads" and number < len(_HEADS) and rest[:2] in ("0.", "2."):
        pre = "pre_" if rest[0] == "0" else ""
        return f"{pre}{_HEADS[number]}.{rest[2:]}"
    numbered = {"stem_convs": _LATERALS, "crp_blocks": _POOLINGS, "adapt_convs": _ADAPTERS}
    parts = numbered.get(part, ())
    return f"{parts[number]}.{rest}" if number < len(parts) else name


# MobileNet-v2's blocks in order: (layer, block) of torchvision's features.2, features.3, ...
_BLOCKS = [
    (layer, block)
    for layer, count in ((3, 2), (4, 3), (5, 4), (6, 3), (7, 3), (8, 1))
    for block in range(count)
]
_FIRST_STAGES = {"0.0": "1.0", "0.1": "1.1", "1": "2.0", "2": "2.1"}
_STAGES = {"0.0": "0.0", "0.1": "0.1", "1.0": "1.0", "1.1": "1.1", "2": "2.0", "3": "2.1"}
_FEATURE = re.compile(r"features\.(\d+)\.(?:conv\.)?(\d(?:\.\d)?)\.(\w+)")


def torchvision_name(name: str) -> str | None:
    """Translate a name of torchvision's ``mobilenet_v2``; unknown ones stay."""
    if name.startswith(("features.18.", "classifier.")):
        return None
    match = _FEATURE.fullmatch(name)
    if match is None:
        return name
    number, stage, entry = int(match[1]), match[2], match[3]
    if number == 0:
        return f"layer1.{stage}.{entry}"
    stages = _FIRST_STAGES if number == 1 else _STAGES
    if stage not in stages or number >= 2 + len(_BLOCKS):
        return name
    layer, block = (2, 0) if number == 1 else _BLOCKS[number - 2]
    return f"layer{layer}.{block}.output.{stages[stage]}.{entry}"


_TIMM_FIRST_STAGES = {"conv_dw": "1.0", "bn1": "1.1", "conv_pw": "2.0", "bn2": "2.1"}
_TIMM_STAGES = {
    **{"conv_pw": "0.0", "bn1": "0.1"},
    **{"conv_dw": "1.0", "bn2": "1.1"},
    **{"conv_pwl": "2.0", "bn3": "2.1"},
}
_TIMM_BLOCK = re.compile(r"blocks\.(\d)\.(\d)\.(\w+)\.(\w+)")


def timm_name(name: str) -> str | None:
    """Translate a name of timm's ``mobilenetv2_100``; unknown ones stay."""
    if name.startswith(("conv_head.", "bn2.", "classifier.")):
        return None
    part, _, entry = name.rpartition(".")
    if part in ("conv_stem", "bn1"):
        return f"layer1.{int(part == 'bn1')}.{entry}"
    match = _TIMM_BLOCK.fullmatch(name)
    if match is None:
        return name
    stage, block, part, entry = int(match[1]), match[2], match[3], match[4]
    stages = _TIMM_FIRST_STAGES if stage == 0 else _TIMM_STAGES
    return f"layer{stage + 2}.{block}.output.{stages[part]}.{entry}" if part in stages else name


# Parts of ImageNet networks behind their features: ResNet's, VGG's and AlexNet's, HRNet's.
_CLASSIFIERS = ("fc.", "classifier.", "incre_modules.", "downsamp_modules.", "final_layer.")


def _prefixed_encoder(names: list[str], wanted: set[str]) -> Naming | None:
    """Find the part of the network whose names are the file's, without its classifier."""
    features = [name for name in names if not name.startswith(_CLASSIFIERS)]
    if not features:
        return None
    # Every place of the file's first name in the network is a candidate.
    ends = [name for name in sorted(wanted) if name.endswith(f".{features[0]}")]
    for end in ends:
        prefix = end[: -len(features[0])]
        part = {name for name in wanted if name.startswith(prefix)}
        # Files from before torch 0.4.1 have no counters: ``checkpoint`` sees to those.
        if not {n for n in part ^ {prefix + n for n in features} if not n.endswith(COUNTER)}:
            dropped = tuple(name for name in names if name.startswith(_CLASSIFIERS))
            to = {name: prefix + name for name in features}
            return Naming(f"ImageNet encoder ({prefix[:-1]})", to, dropped, encoder=(prefix,))
    return None


def some(names: Iterable[str], count: int = 5) -> str:
    """Return the first names, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - count} more" if len(listed) > count else ""
    return ", ".join(listed[:count]) + more
