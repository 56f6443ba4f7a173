"""nnU-Net's networks and ours: the same topology, so that translated weights give the same numbers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from medseg.models.nnunet_weights import translate
from medseg.models.unet import ResEncConfig, UNetConfig

CHANNELS, STRIDES, KERNELS = (4, 8, 8), ((2, 2, 1), (2, 2, 2)), ((3, 3, 1), (3, 3, 3), (3, 3, 3))
SHAPE: Any = {"channels": CHANNELS, "strides": STRIDES, "kernels": KERNELS, "deep_supervision": 1}


def names_of(*parts: str) -> dict[str, torch.Tensor]:
    return {part: torch.zeros(1) for part in parts}


def test_levels_of_the_decoder_are_counted_from_the_finest() -> None:
    state = names_of("decoder.transpconvs.0.weight", "decoder.transpconvs.1.weight", "decoder.seg_layers.1.bias")
    assert set(translate(state)) == {"decoder.up.1.weight", "decoder.up.0.weight", "decoder.heads.0.bias"}


def test_blocks_that_are_stored_twice_are_taken_once() -> None:
    state = names_of(
        "encoder.stages.0.0.convs.1.conv.weight",
        "encoder.stages.0.0.convs.1.all_modules.0.weight",
        "decoder.encoder.stages.0.0.convs.1.conv.weight",
    )
    assert set(translate(state)) == {"encoder.0.1.0.weight"}


def test_the_names_of_wrappers_are_taken_off() -> None:
    state = names_of("module._orig_mod.encoder.stages.2.blocks.1.conv2.norm.bias", "encoder.stem.convs.0.conv.weight")
    assert set(translate(state)) == {"encoder.2.1.second.1.bias", "stem.0.weight"}


@pytest.mark.parametrize("kind", ["plain", "residual"])
def test_translated_weights_give_nnunets_own_logits(kind: str) -> None:
    unet = pytest.importorskip(
        "dynamic_network_architectures.architectures.unet", reason="comes with nnU-Net, in the extra [bench]"
    )
    common = {
        "conv_op": nn.Conv3d, "num_classes": 3, "conv_bias": True, "kernel_sizes": KERNELS, "deep_supervision": True,
        "norm_op": nn.InstanceNorm3d, "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "nonlin": nn.LeakyReLU,
        "strides": [(1, 1, 1), *STRIDES],
    }  # fmt: skip
    if kind == "plain":
        peer = unet.PlainConvUNet(1, 3, CHANNELS, n_conv_per_stage=2, n_conv_per_stage_decoder=2, **common)
        ours = UNetConfig(**SHAPE).build(1, 3, (16, 16, 8))
    else:
        peer = unet.ResidualEncoderUNet(
            1, 3, CHANNELS, n_blocks_per_stage=(1, 3, 2), n_conv_per_stage_decoder=1, **common
        )
        ours = ResEncConfig(**SHAPE, blocks=(1, 3, 2)).build(1, 3, (16, 16, 8))
    for weight in peer.parameters():
        if weight.ndim == 1:  # norms and biases begin at 0 and 1: only other values tell a mistaken name
            nn.init.normal_(weight)
    image = torch.randn(2, 1, 16, 16, 8)

    ours.load_state_dict(translate(peer.state_dict()))

    for a, b in zip(ours.train()(image), peer.train()(image), strict=True):
        torch.testing.assert_close(a, b)
