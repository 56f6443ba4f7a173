"""Losses on regions: nested probabilities, values by hand, and everything that losses on classes can do too."""

from __future__ import annotations

import math
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from medseg.config import Config, build_config
from medseg.errors import ConfigError
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig, one_hot
from medseg.losses.regions import RegionTerms, find_regions, merge_labels
from medseg.losses.registry import LossConfig, build_loss
from medseg.losses.task import Task

NAMES = ("background", "liver", "tumour", "core")
TASK = Task(NAMES)
REGIONS: Any = {"whole": ("tumour", "core"), "core_alone": ("core",)}
CONFIGS = get_args(get_args(LossConfig)[0])
every_loss = pytest.mark.parametrize("config", CONFIGS, ids=[config().name for config in CONFIGS])


class Wish(Config):
    """As a recipe holds it."""

    loss: LossConfig


def regional(config: Any = DiceCEConfig, **settings: Any) -> Any:
    return build_loss(config(regions=REGIONS, **settings), TASK)


def tumour() -> tuple[Tensor, Tensor]:
    """Target and weight of a tumour with a core, and a liver beside it, in 12 x 12 x 12 voxels."""
    labels = torch.zeros(1, 12, 12, 12, dtype=torch.long)
    labels[0, 1:4] = 1
    labels[0, 5:10, 3:9, 3:9] = 2
    labels[0, 6:9, 4:8, 4:8] = 3
    return one_hot(labels, 4)


def logits_of(*probabilities: float) -> Tensor:
    """One voxel with these probabilities."""
    return torch.tensor(probabilities).log().reshape(1, -1, 1, 1, 1)


def voxel(label: int) -> tuple[Tensor, Tensor]:
    return one_hot(torch.full((1, 1, 1, 1), label), 4)


def test_the_probability_of_a_region_is_the_sum_of_its_classes() -> None:
    loss = regional(dice_weight=0)

    found = loss(logits_of(0.1, 0.2, 0.3, 0.4), *voxel(2))

    # of a tumour voxel: inside the whole (0.7), outside the core (0.6), outside the liver (0.8)
    assert float(found) == pytest.approx(-(math.log(0.7) + math.log(0.6) + math.log(0.8)) / 3)


def test_a_confusion_within_a_region_costs_less_than_one_beyond_it() -> None:
    loss, (target, weight) = regional(), voxel(3)
    as_tumour, as_liver = loss(logits_of(0.05, 0.05, 0.85, 0.05), target, weight), loss(
        logits_of(0.05, 0.85, 0.05, 0.05), target, weight
    )  # fmt: skip
    assert as_tumour < as_liver
    plain = build_loss(DiceCEConfig(dice_weight=0), TASK)
    assert plain(logits_of(0.05, 0.05, 0.85, 0.05), target, weight) == pytest.approx(
        float(plain(logits_of(0.05, 0.85, 0.05, 0.05), target, weight))
    )


def test_the_dice_of_regions_by_hand() -> None:
    labels = torch.tensor([0, 2, 2, 3, 3]).reshape(1, 5, 1, 1)
    predicted = torch.tensor([0, 2, 3, 3, 0]).reshape(1, 5, 1, 1)

    found = regional(ce_weight=0)(one_hot(predicted, 4)[0] * 60, *one_hot(labels, 4))

    # whole: 3 of 4 voxels found, none wrong; core: 1 of 2 found, 1 wrong; no liver anywhere
    assert float(found) == pytest.approx(((1 - 6 / 7) + (1 - 2 / 4)) / 2, abs=1e-5)


def test_dice_on_regions_of_one_class_each_is_dice_on_classes() -> None:
    target, weight = tumour()
    logits = torch.randn(target.shape)
    alone = {"a": ["liver"], "b": ["tumour"], "c": ["core"]}

    found = build_loss(DiceCEConfig(ce_weight=0, regions=alone), TASK)(logits, target, weight)

    assert float(found) == pytest.approx(float(build_loss(DiceCEConfig(ce_weight=0), TASK)(logits, target, weight)))


@every_loss
def test_the_right_answer_costs_least_and_ten_steps_lower_the_loss(config: Any) -> None:
    target, weight = tumour()
    loss = regional(config)
    shifted = target.roll(1, dims=2)
    assert loss(target * 60, target, weight) < loss(shifted * 60, target, weight)
    logits = torch.zeros_like(target, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.5)
    first = float(loss(logits, target, weight).detach())
    for _ in range(10):
        optimizer.zero_grad()
        loss(logits, target, weight).backward()
        optimizer.step()
    assert float(loss(logits, target, weight).detach()) < 0.5 * first
    assert (logits.argmax(1) == target.argmax(1)).float().mean() > 0.99  # every class is told apart


@every_loss
def test_gradients_are_finite_for_certain_and_for_undecided_logits(config: Any) -> None:
    target, weight = tumour()
    for logits in (target.roll(2, dims=2) * 60, torch.zeros_like(target)):
        logits.requires_grad_()
        regional(config)(logits, target, weight).backward()
        assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0


@every_loss
def test_ignored_voxels_have_no_gradient(config: Any) -> None:
    target, weight = tumour()
    weight[..., 6:] = 0
    logits = torch.randn(target.shape, requires_grad=True)

    regional(config)(logits, target * weight, weight).backward()

    assert logits.grad is not None
    beyond = 8 if config().name == "dice_ce_cldice" else 6  # a skeleton looks a voxel further
    assert torch.count_nonzero(logits.grad[..., beyond:]) == 0
    assert torch.count_nonzero(logits.grad[..., :6]) > 0


@every_loss
def test_a_class_that_nobody_looked_for_does_not_push(config: Any) -> None:
    target, weight = tumour()  # a core lies there; who did not look for it called it background
    seen = torch.where(target[:, 3:] > 0, torch.tensor([1.0, 0, 0, 0]).view(1, 4, 1, 1, 1), target)
    known = torch.tensor([[True, True, True, False]])
    loss = regional(config)

    as_background, as_core = (float(loss(each * 60, seen, weight, known)) for each in (seen, target))

    assert as_core == pytest.approx(as_background, abs=1e-5)
    assert loss(target * 60, seen, weight) > as_core + 0.01  # without `known` it does push


def test_a_region_of_which_nothing_was_looked_for_does_not_count() -> None:
    target, weight = tumour()
    seen = target.clone()
    seen[:, 0] += seen[:, 2:].sum(1)
    seen[:, 2:] = 0
    logits = torch.randn(target.shape, requires_grad=True)

    regional()(logits, seen, weight, torch.tensor([[True, True, False, False]])).backward()

    assert logits.grad is not None
    others = logits.grad[:, [0, 2, 3]] / torch.softmax(logits.detach(), 1)[:, [0, 2, 3]]
    torch.testing.assert_close(others[:, 1], others[:, 0])  # tumour and core are pushed as the background is
    torch.testing.assert_close(others[:, 2], others[:, 0])


def test_a_soft_target_is_least_costly_at_itself() -> None:
    target = torch.softmax(torch.randn(1, 4, 4, 4, 4), dim=1)
    weight, loss = torch.ones(1, 1, 4, 4, 4), regional()
    best = float(loss(target.log(), target, weight))
    for _ in range(20):
        assert float(loss(target.log() + 0.1 * torch.randn(target.shape), target, weight)) > best


@every_loss
def test_deep_supervision_takes_regions(config: Any) -> None:
    target, weight = tumour()
    outputs = [torch.zeros(1, 4, n, n, n, requires_grad=True) for n in (12, 6, 3)]

    DeepSupervision(regional(config))(outputs, target, weight).backward()

    assert all(torch.isfinite(each.grad).all() and each.grad.abs().sum() > 0 for each in outputs)  # type: ignore[union-attr]


def test_a_region_is_never_less_probable_than_one_within_it() -> None:
    loss: Any = regional()
    assert isinstance(loss, RegionTerms)
    logits = torch.randn(1, 4, 6, 6, 6) * 20
    inside, *_ = loss._merged(torch.log_softmax(logits, 1), torch.zeros_like(logits), None)
    assert (inside[:, 0] >= inside[:, 1]).all()


def test_a_class_map_shows_a_region_where_any_of_its_classes_is() -> None:
    assert merge_labels(torch.tensor([0, 1, 2, 3]), (2, 3)).tolist() == [False, False, True, True]


def test_a_class_in_no_region_is_one_of_its_own() -> None:
    assert find_regions(REGIONS, NAMES) == {"whole": (2, 3), "core_alone": (3,), "liver": (1,)}


@pytest.mark.parametrize(
    "regions, message",
    [
        ({"whole": ["tumour", "necrosis"]}, r"loss\.regions\.whole: no such class; expected liver, tumour, core, got"),
        ({"all": ["background", "tumour"]}, r"got background"),
        ({"whole": ["tumour", "core"]}, r"tumour and core lie in the same regions.*Add a region of core alone"),
        ({"core": ["tumour", "core"]}, r"loss\.regions\.core: a region has the name of a class"),
    ],
)  # fmt: skip
def test_regions_that_the_classes_do_not_allow_are_refused(regions: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_loss(DiceCEConfig(regions=regions), TASK)


@pytest.mark.parametrize("classes", [[], ["core", "core"]])
def test_a_region_needs_different_classes(classes: list[str]) -> None:
    with pytest.raises(ConfigError, match="different classes for region whole, at least one"):
        build_config(Wish, {"loss": {"name": "dice_ce", "regions": {"whole": classes}}})
