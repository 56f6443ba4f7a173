"""A real training step for `medseg plan`; its memory is only measured on CUDA."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig
from medseg.models.unet import UNetConfig
from medseg.training.footprint import footprint
from medseg.training.machine import Machine
from medseg.training.real_step import device_name, run_steps, step_memory

SETTINGS: Any = {"channels": (16, 32, 32), "deep_supervision": 1}
PATCH = (32, 32, 32)


def test_the_step_changes_every_weight() -> None:
    model = UNetConfig(**SETTINGS).build(1, 3, PATCH)
    before = {name: weight.clone() for name, weight in model.named_parameters()}

    run_steps(model, DeepSupervision(DiceCEConfig().build()), 2, (1, PATCH, 3), Machine.of(model))

    assert all(not torch.equal(weight, before[name]) for name, weight in model.named_parameters())


@pytest.mark.skipif(device_name() is None, reason="memory of a step is measured on CUDA, which this machine lacks")
def test_the_count_is_within_15_percent_of_a_real_step() -> None:
    config, patch, loss = UNetConfig(), (96, 96, 96), DeepSupervision(DiceCEConfig().build())
    taken = step_memory(config.build(1, 3, patch), loss, 2, (1, patch, 3), bf16=True)
    counted = footprint(config.build(1, 3, patch), 2, 1, patch, activation_bytes=2).total
    assert taken == pytest.approx(counted, rel=0.15)
