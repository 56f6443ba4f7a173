"""A tiny problem for the loop: random patches whose label is the sign of the image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from medseg.training.loop import Hooks, TrainingConfig
from medseg.training.optim import AdamWConfig, OptimizerConfig

PATCH = 16
ADAMW = AdamWConfig(learning_rate=1e-2)


def batch(number: int) -> dict[str, Any]:
    """Batch `number`; the same number gives the same voxels."""
    image = torch.randn(1, 1, PATCH, PATCH, PATCH, generator=torch.Generator().manual_seed(number))
    marked = (image > 0).float()
    return {
        "image": image,
        "target": torch.cat([1 - marked, marked], dim=1),
        "weight": torch.ones_like(image),
        "id": [f"c{number}"],
    }


@pytest.fixture
def batches_from() -> Callable[[int], list[dict[str, Any]]]:
    """The batches from a step on, as a resumed loader gives them."""
    return lambda first: [batch(number) for number in range(first, 12)]


@pytest.fixture
def settings() -> Callable[..., TrainingConfig]:
    def make(steps: int = 6, optimizer: OptimizerConfig = ADAMW, **more: Any) -> TrainingConfig:
        return TrainingConfig(steps=steps, batch=1, optimizer=optimizer, device="cpu", log_every=2, **more)

    return make


@pytest.fixture
def silent() -> Callable[..., Hooks]:
    """Hooks that do nothing, but for those given."""

    def make(**hooks: Any) -> Hooks:
        calm: dict[str, Any] = {
            "validate": lambda everything, stopped: {},
            "save": lambda best: None,
            "tick": lambda step, loss: None,
        }
        return Hooks(**(calm | hooks))

    return make
