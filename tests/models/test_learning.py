"""Every network learns a patch of a phantom in ten steps: two sizes of patches and a flat one; the presets slowly."""

from __future__ import annotations

from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig, one_hot
from medseg.models.registry import ModelConfig
from medseg.phantom.study import build_study
from medseg.shapes import IntTriple

UNET: dict[str, Any] = {"channels": [8, 16, 16], "deep_supervision": 1}
FLAT = {"kernels": [[3, 3, 1], [3, 3, 3], [3, 3, 3]], "strides": [[2, 2, 1], [2, 2, 2]]}
RESIDUAL = {"blocks": [1, 2, 2]}
SWIN = {"features": 12, "depths": [1, 1, 1, 1], "window": 4}
SEGRES: dict[str, Any] = {"filters": 8, "blocks": [1, 1, 1], "deep_supervision": 1}
VIT = {"hidden": 48, "mlp": 64, "heads": 4, "features": 8}
SMALL: list[tuple[str, IntTriple, dict[str, Any]]] = [
    ("unet", (16, 16, 16), UNET),
    ("unet", (32, 24, 16), UNET),
    ("unet", (32, 32, 6), UNET | FLAT),
    ("resenc-m", (16, 16, 16), UNET | RESIDUAL),
    ("resenc-m", (32, 32, 6), UNET | RESIDUAL | FLAT),
    ("resenc-l", (32, 24, 16), UNET | RESIDUAL),
    ("resenc-l", (32, 32, 6), UNET | RESIDUAL | FLAT),
    ("unetr", (16, 16, 16), VIT),
    ("unetr", (32, 32, 16), VIT),
    ("swin-unetr", (64, 32, 32), SWIN),
    ("swin-unetr", (32, 64, 32), SWIN | {"version_2": False, "window": 2}),
    ("mednext", (32, 16, 16), {"size": "S", "filters": 8}),
    ("mednext", (32, 32, 16), {"size": "S", "filters": 8, "kernel": 5}),
    ("segresnet", (16, 16, 16), SEGRES),
    ("segresnet", (32, 32, 6), SEGRES | {"spacing_mm": [1.0, 1.0, 3.0]}),
]
PRESETS: list[tuple[str, IntTriple, dict[str, Any]]] = [
    (name, patch, {})
    for model in get_args(get_args(ModelConfig)[0])
    for name in get_args(model.model_fields["name"].annotation)
    for patch in ((64, 32, 32), (64, 64, 32))
]


@cache
def phantom(patch: IntTriple) -> tuple[Tensor, Tensor, Tensor]:
    """Image, target and weight of a patch in the middle of a body of 6 mm voxels; four classes in one hot."""
    study = build_study(1, 0, (), spacing_mm=6.0)
    start = [max(0, (n - wanted) // 2) for n, wanted in zip(study.truth.shape, patch, strict=True)]
    box = tuple(slice(first, first + wanted) for first, wanted in zip(start, patch, strict=True))
    short = [(0, wanted - n) for wanted, n in zip(patch, study.truth[box].shape, strict=True)]
    hu = np.pad(study.volume.hu[box], short, constant_values=-1024)
    labels = np.pad(study.truth[box], short)
    common = np.argsort(np.bincount(labels.ravel(), minlength=9)[1:])[-3:] + 1
    classes = sum((labels == value) * (place + 1) for place, value in enumerate(common))
    target, weight = one_hot(torch.from_numpy(np.asarray(classes))[None], 4)
    return torch.from_numpy(hu)[None, None].clamp(-200, 300) / 150, target, weight


def ten_steps(network: nn.Module, patch: IntTriple, rate: float) -> list[float]:
    """The loss before each of eleven steps of AdamW with this learning rate."""
    image, target, weight = phantom(patch)
    loss, optimizer = DeepSupervision(DiceCEConfig().build()), torch.optim.AdamW(network.parameters(), lr=rate)
    values = []
    for _ in range(11):
        value = loss(network.train()(image), target, weight)
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimizer.step()
        values.append(float(value.detach()))
    return values


def assert_learns(name: str, patch: IntTriple, settings: dict[str, Any], *, most: float = 0.75) -> None:
    config: Any = TypeAdapter(ModelConfig).validate_python({"name": name, **settings})
    network = config.build(1, 4, patch)

    values = ten_steps(network, patch, 3e-3 if settings else min(1e-3, config.prefers[1]))

    assert values[-1] < most * values[0]
    assert min(values) == min(values[-3:])  # it goes on falling
    with torch.no_grad():
        assert network.eval()(phantom(patch)[0]).shape == phantom(patch)[1].shape


@pytest.mark.parametrize("name, patch, settings", SMALL, ids=[f"{name} of {patch}" for name, patch, _ in SMALL])
def test_ten_steps_on_a_patch_of_a_phantom_lower_the_loss(
    name: str, patch: IntTriple, settings: dict[str, Any]
) -> None:
    assert_learns(name, patch, settings)


@pytest.mark.slow
@pytest.mark.parametrize("name, patch, settings", PRESETS, ids=[f"{name} of {patch}" for name, patch, _ in PRESETS])
def test_ten_steps_of_the_full_preset_lower_the_loss(name: str, patch: IntTriple, settings: dict[str, Any]) -> None:
    assert_learns(name, patch, settings, most=0.9)  # at the rate that the network prefers, at most 1e-3


def test_small_versions_of_all_networks_learn_at_two_sizes() -> None:
    sizes = {name: {patch for each, patch, _ in SMALL if each == name} for name, _, _ in PRESETS}
    assert all(len(found) >= 2 for found in sizes.values())
