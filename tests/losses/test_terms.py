"""Every loss of the registry, and its terms by hand: hardest voxels, focal, outline, centre line, unknown classes."""

from __future__ import annotations

import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from monai.losses.cldice import SoftclDiceLoss
from monai.losses.focal_loss import FocalLoss
from torch import Tensor

from medseg.losses.boundary import Boundary
from medseg.losses.cl_dice import ClDice
from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig, one_hot
from medseg.losses.registry import LossConfig
from medseg.losses.task import Task
from medseg.losses.terms import DiceSemimetric, Focal, TopKCrossEntropy, cross_entropy

CONFIGS = get_args(get_args(LossConfig)[0])
NAMES = [config().name for config in CONFIGS]
every_loss = pytest.mark.parametrize("config", CONFIGS, ids=NAMES)


def bar(shift: int = 0, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Target and weight of a bar of class 1 beside a cube of class 2 in 12 x 12 x 12 voxels."""
    labels = torch.zeros(1, 12, 12, 12, dtype=torch.long)
    labels[0, 2 + shift : 5 + shift, 2:5, 1:11] = 1
    if classes > 2:
        labels[0, 8:11, 8:11, 4:7] = 2
    return one_hot(labels, classes)


def certain(target: Tensor) -> Tensor:
    return target * 60


def logs(*probabilities: float) -> Tensor:
    """Log-probabilities (1, 2, X, 1, 1) of a row of voxels that show the structure with these probabilities."""
    p = torch.tensor(probabilities)
    return torch.stack([1 - p, p]).log()[None, :, :, None, None]


def structure(voxels: int) -> tuple[Tensor, Tensor]:
    """Target and weight of a row of voxels that all belong to the structure."""
    return one_hot(torch.ones(1, voxels, 1, 1, dtype=torch.long), 2)


@every_loss
def test_the_right_answer_costs_least(config: Any) -> None:
    loss, (target, weight) = config().build(), bar()
    right = loss(certain(target), target, weight)
    for shift in (1, 2, 3):
        assert right < loss(certain(bar(shift)[0]), target, weight)


@every_loss
def test_gradients_are_finite_for_certain_and_for_undecided_logits(config: Any) -> None:
    target, weight = bar()
    for logits in (certain(bar(2)[0]), torch.zeros_like(target)):
        logits.requires_grad_()
        config().build()(logits, target, weight).backward()
        assert torch.isfinite(logits.grad).all() and logits.grad.abs().sum() > 0


@every_loss
def test_ignored_voxels_change_nothing(config: Any) -> None:
    target, weight = bar()
    weight[..., 9:] = 0
    logits = torch.randn(target.shape, generator=torch.Generator().manual_seed(0))
    other = logits.clone()
    other[..., 9:] += 5
    if config().name == "dice_ce_cldice":  # a skeleton looks one voxel beyond: compare where that is not seen
        logits[..., 8:] = other[..., 8:] = 0
    assert config().build()(logits, target, weight) == pytest.approx(float(config().build()(other, target, weight)))


@every_loss
def test_a_patch_without_foreground_or_without_known_voxels_has_a_finite_loss(config: Any) -> None:
    target, weight = one_hot(torch.zeros(1, 8, 8, 8, dtype=torch.long), 3)
    nowhere = torch.zeros_like(weight)
    loss = config().build()
    assert torch.isfinite(loss(torch.randn(target.shape), target, weight))
    assert loss(torch.randn(target.shape), target * 0, nowhere) == 0


@every_loss
def test_ten_steps_lower_it(config: Any) -> None:
    target, weight = bar()
    logits = torch.zeros_like(target, requires_grad=True)
    optimizer, loss = torch.optim.Adam([logits], lr=0.5), config().build()
    first = float(loss(logits, target, weight).detach())
    for _ in range(10):
        optimizer.zero_grad()
        loss(logits, target, weight).backward()
        optimizer.step()
    assert float(loss(logits, target, weight).detach()) < 0.5 * first


@every_loss
def test_a_class_that_nobody_looked_for_does_not_push(config: Any) -> None:
    target, weight = bar()  # class 2 lies there, but was not looked for: the reader called it background
    seen = torch.where(target[:, 2:] > 0, torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1, 1), target)
    known = torch.tensor([[True, True, False]])
    as_background, as_class = certain(seen), certain(target)
    loss = config().build()
    assert loss(as_class, seen, weight, known) == pytest.approx(
        float(loss(as_background, seen, weight, known)), abs=1e-5
    )
    assert loss(as_class, seen, weight) > loss(as_background, seen, weight) + 0.01  # without `known` it does push


def test_known_classes_of_a_partial_reading_are_still_learned() -> None:
    target, weight = bar()
    logits = torch.zeros_like(target, requires_grad=True)
    DiceCEConfig().build()(logits, target, weight, torch.tensor([[True, True, False]])).backward()
    assert (logits.grad[:, 1][target[:, 1] > 0] < 0).all()  # upwards where class 1 is
    elsewhere = logits.grad[:, :, 0, 0, 0]
    assert elsewhere[0, 0] == pytest.approx(float(elsewhere[0, 2]))  # background and unknown are treated alike


def test_deep_supervision_hands_on_what_is_known() -> None:
    target, weight = bar()
    known = torch.tensor([[True, True, False]])
    supervised = DeepSupervision(DiceCEConfig().build())
    logits = torch.randn(target.shape)
    assert supervised([logits], target, weight, known) == DiceCEConfig().build()(logits, target, weight, known)


def test_the_hardest_half_of_four_voxels() -> None:
    entropy = TopKCrossEntropy(0.5)(logs(0.9, 0.5, 0.1, 0.8), *structure(4))
    assert float(entropy) == pytest.approx(-(math.log(0.5) + math.log(0.1)) / 2)


def test_all_voxels_as_the_hardest_are_the_cross_entropy() -> None:
    p, (target, weight) = logs(0.9, 0.5, 0.1, 0.8), structure(4)
    assert TopKCrossEntropy(1.0)(p, target, weight) == pytest.approx(float(cross_entropy(p, target, weight)))


def test_focal_by_hand_and_as_monai_has_it() -> None:
    p, (target, weight) = logs(0.9, 0.4), structure(2)
    expected = -(0.1**2 * math.log(0.9) + 0.6**2 * math.log(0.4)) / 2
    assert float(Focal(2)(p, target, weight)) == pytest.approx(expected)
    peer = FocalLoss(use_softmax=True, gamma=2, reduction="none")(p, target).sum(1).mean()
    assert float(Focal(2)(p, target, weight)) == pytest.approx(float(peer))


def test_focal_with_gamma_0_is_the_cross_entropy() -> None:
    p, (target, weight) = logs(0.9, 0.4), structure(2)
    assert Focal(0)(p, target, weight) == cross_entropy(p, target, weight)


def test_the_boundary_term_is_the_distance_by_which_a_plane_is_missed() -> None:
    labels = torch.zeros(1, 8, 1, 1, dtype=torch.long)
    labels[0, :4] = 1  # the plane lies between voxels 3 and 4; voxels 4 and 5 are 3 and 6 mm from voxel 3
    target, weight = one_hot(labels, 2)
    term = Boundary(Task(spacing_mm=(3.0, 1.0, 1.0)), reach_mm=6.0)
    right = term(torch.log_softmax(certain(target), 1), target, weight)
    labels[0, 4:6] = 1
    wrong = term(torch.log_softmax(certain(one_hot(labels, 2)[0]), 1), target, weight)
    assert float(wrong - right) == pytest.approx((0.5 + 1.0) / 8)


def test_a_class_that_fills_the_patch_or_is_absent_has_a_finite_boundary_term() -> None:
    for value in (0, 1):
        target, weight = one_hot(torch.full((1, 4, 4, 4), value), 2)
        found = Boundary(Task(), 5.0)(torch.log_softmax(torch.zeros_like(target), 1), target, weight)
        assert float(found) == (-0.5 if value else 0)


def test_a_cut_vessel_costs_more_in_centre_line_dice_than_a_thin_one() -> None:
    target, weight = bar(classes=2)
    thin, cut = target.clone(), target.clone()
    for made, box in ((thin, np.s_[:, 1, 2, :, :]), (cut, np.s_[:, 1, :, :, 4:8])):
        made[box] = 0
        made[:, 0] = 1 - made[:, 1]
    term = ClDice((), iterations=3)
    thinned, broken = (term(torch.log_softmax(certain(m), 1), target, weight) for m in (thin, cut))
    assert thinned < 0.1 < broken


def test_centre_line_dice_is_monais_up_to_its_smoothing() -> None:
    target, weight = bar(classes=2)
    shifted = bar(1, classes=2)[0]
    peer = SoftclDiceLoss(iter_=3, smooth=1e-6)(target, shifted)
    ours = ClDice((), iterations=3)(torch.log_softmax(certain(shifted), 1), target, weight)
    assert float(ours) == pytest.approx(float(peer), abs=1e-4)


def test_only_the_named_classes_have_centre_lines() -> None:
    target, weight = bar()
    shifted = torch.log_softmax(certain(bar(2)[0]), 1)
    assert ClDice((2,), 3)(shifted, target, weight) == pytest.approx(0, abs=1e-5)
    assert ClDice((1,), 3)(shifted, target, weight) > 0.2


def test_the_semimetric_is_least_at_the_soft_target_itself() -> None:
    q = torch.tensor([0.25, 0.5, 0.75, 1.0])
    target = torch.stack([1 - q, q])[None, :, :, None, None]
    weight = torch.ones_like(target[:, :1])
    own = DiceSemimetric()(target.clamp(min=1e-12).log(), target, weight)
    hard = DiceSemimetric()((target > 0.4).float().clamp(min=1e-12).log(), target, weight)
    assert own == pytest.approx(0, abs=1e-6) and hard > 0.1
