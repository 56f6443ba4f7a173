"""Learning-rate schedules at the steps where their value is known."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.training.checkpoint import pack_optimizer, unpack_optimizer
from medseg.training.optim import AdamWConfig, OptimizerConfig, ScheduleConfig, SGDConfig, preferred


@pytest.mark.parametrize("step, expected", [(0, 1), (25, 0.5 * (1 + 2**-0.5)), (50, 0.5), (100, 0)])
def test_cosine(step: int, expected: float) -> None:
    assert ScheduleConfig(name="cosine").factor(step, 100) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("step, expected", [(0, 1), (50, 0.5**0.9), (99, 0.01**0.9)])
def test_poly(step: int, expected: float) -> None:
    assert ScheduleConfig(name="poly").factor(step, 100) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["cosine", "poly"])
def test_warm_up_rises_evenly_to_the_full_rate_and_decay_starts_there(name: str) -> None:
    schedule = ScheduleConfig(name=name, warmup_steps=4)  # type: ignore[arg-type]

    assert [schedule.factor(step, 20) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert schedule.factor(19, 20) < 0.1


def test_a_run_that_ends_during_the_warm_up_only_rises() -> None:
    factors = [ScheduleConfig(warmup_steps=50).factor(step, 10) for step in range(10)]

    assert factors == sorted(factors)


@pytest.mark.parametrize(
    "config, kind", [(AdamWConfig(), torch.optim.AdamW), (SGDConfig(), torch.optim.SGD), (SGDConfig(momentum=0), None)]
)
def test_optimisers_have_the_settings_of_the_recipe(config: OptimizerConfig, kind: type | None) -> None:
    optimizer = config.build(nn.Linear(2, 2))

    (group,) = optimizer.param_groups
    assert kind is None or isinstance(optimizer, kind)
    assert (group["lr"], group["weight_decay"]) == (config.learning_rate, config.weight_decay)
    assert group.get("nesterov", False) == (isinstance(config, SGDConfig) and config.momentum > 0)


@pytest.mark.parametrize("config", [AdamWConfig(), SGDConfig()])
def test_an_optimisers_state_comes_back_from_named_tensors(config: OptimizerConfig) -> None:
    layers = nn.Linear(2, 2), nn.Linear(2, 2)
    one, other = (config.build(layer) for layer in layers)
    layers[0](torch.ones(1, 2)).sum().backward()
    one.step()

    unpack_optimizer(other, pack_optimizer(one))

    ours, theirs = pack_optimizer(one), pack_optimizer(other)
    assert ours.keys() == theirs.keys()
    assert ours.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_networks_of_nnunet_prefer_its_optimiser_and_decay() -> None:
    optimizer, schedule = preferred("sgd", 1e-2, 1000)

    assert optimizer == SGDConfig(learning_rate=1e-2, momentum=0.99, weight_decay=3e-5)
    assert (schedule.name, schedule.power, schedule.warmup_steps) == ("poly", 0.9, 0)


@pytest.mark.parametrize("steps, warmup", [(10, 0), (400, 20), (100_000, 1000)])
def test_transformers_prefer_adamw_with_a_warm_up_and_a_cosine(steps: int, warmup: int) -> None:
    optimizer, schedule = preferred("adamw", 1e-4, steps)

    assert (optimizer.name, optimizer.learning_rate) == ("adamw", 1e-4)
    assert (schedule.name, schedule.warmup_steps) == ("cosine", warmup)
