# SPDX-License-Identifier: Apache-2.0
"""A start for the Nekrasov network's decoder from which few steps suffice."""

from torch import nn

from mtl_perception.networks.nekrasov import NekrasovNet

GAIN = 0.3
"""Deviation of a convolution's weights times the root of its inputs. At 1, ReLU6 saturates."""

SMALL = 0.01
"""Deviation of the last convolutions: all classes begin equally likely."""


def start_decoder(network: NekrasovNet) -> None:
    """Draw the weights of decoder and heads anew; the encoder stays.

    The authors draw all of them from N(0, 0.01). The two convolutions of a head then scale their
    input by 1e-4, scores say nothing about the image, and training spends its first hundreds of
    steps on growing them: of no weight in the authors' long training, of all in a short one.
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d) or name.startswith("encoder."):
            continue
        if name.startswith("heads.pre_"):  # one weight a channel
            nn.init.ones_(module.weight)
        elif name.startswith("heads."):
            nn.init.normal_(module.weight, std=SMALL)
        else:
            nn.init.normal_(module.weight, std=GAIN * module.weight[0].numel() ** -0.5)
