"""Memory of a training step, counted on the meta device and checked against tensors that exist."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.models.unet import UNetConfig
from medseg.training.footprint import MIB, footprint


def test_a_convolution_keeps_its_input_and_its_weights() -> None:
    found = footprint(nn.Conv3d(1, 8, 1, bias=False), 2, 1, (16, 16, 16))
    assert found.activations == 2 * 16**3 * 4 / MIB
    assert found.weights == 8 * 4 * 4 / MIB  # weight, gradient and AdamW's two moments


def test_half_the_bytes_halve_the_activations_but_not_the_weights() -> None:
    full, half = (footprint(nn.Conv3d(1, 8, 3), 1, 1, (8, 8, 8), activation_bytes=n) for n in (4, 2))
    assert half.activations == full.activations / 2 and half.weights == full.weights


def test_activations_grow_with_the_batch_and_weights_do_not() -> None:
    def of(batch: int):
        return footprint(UNetConfig(channels=(4, 8, 8), deep_supervision=1).build(1, 3, (16,) * 3), batch, 1, (16,) * 3)

    assert of(4).activations == pytest.approx(2 * of(2).activations, rel=0.01)
    assert of(4).weights == of(2).weights


def test_the_count_equals_what_autograd_keeps_on_the_cpu() -> None:
    model = UNetConfig(channels=(4, 8, 8), deep_supervision=1).build(1, 3, (16,) * 3).train()
    kept: dict[int, torch.Tensor] = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        outputs = model(torch.randn(2, 1, 16, 16, 16))
    weights = {weight.data_ptr() for weight in model.parameters()}
    real = sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in weights) / MIB
    assert outputs and footprint(model, 2, 1, (16,) * 3).activations == pytest.approx(real, rel=0.05)
