"""Dice + cross-entropy: values by hand, soft targets, absent classes, voxels to be ignored."""

from __future__ import annotations

import math

import pytest
import torch
from monai.losses.dice import DiceCELoss
from torch import Tensor
from torch.nn.functional import one_hot as torch_one_hot

from medseg.losses.dice_ce import DiceCEConfig, one_hot
from medseg.losses.terms import WeighedTerms

CERTAIN = 60.0  # a logit whose softmax is 1 in float32


def build(dice: float = 1.0, ce: float = 0.0, *, batch_dice: bool = True) -> WeighedTerms:
    return DiceCEConfig(dice_weight=dice, ce_weight=ce, batch_dice=batch_dice).build()


def row(labels: list[int], classes: int = 2) -> Tensor:
    """One-hot target (1, C, X, 1, 1) of a row of voxels."""
    return torch_one_hot(torch.tensor(labels), classes).T.float()[None, :, :, None, None]


def logits_of(probabilities: Tensor) -> Tensor:
    return probabilities.clamp(min=1e-30).log()


def everywhere(target: Tensor) -> Tensor:
    return torch.ones_like(target[:, :1])


def value(loss: WeighedTerms, logits: Tensor, target: Tensor, weight: Tensor | None = None) -> float:
    return float(loss(logits, target, everywhere(target) if weight is None else weight).detach())


@pytest.mark.parametrize(
    "predicted, expected",
    [
        ([0, 1, 1, 0], 0.0),  # perfect
        ([1, 0, 0, 1], 1.0),  # disjoint
        ([0, 1, 0, 0], 1 - 2 / 3),  # 1 of 2 voxels: Dice 2 * 1 / (1 + 2)
        ([1, 1, 1, 1], 1 - 4 / 6),  # twice too much: Dice 2 * 2 / (4 + 2)
        ([0, 0, 0, 0], 1.0),  # missed
    ],
)
def test_the_dice_term_of_hard_masks_is_one_minus_dice(predicted: list[int], expected: float) -> None:
    target = row([0, 1, 1, 0])

    assert value(build(), row(predicted) * CERTAIN, target) == pytest.approx(expected, abs=1e-5)


def test_the_cross_entropy_of_an_undecided_model_is_the_log_of_the_classes() -> None:
    assert value(build(0, 1), torch.zeros(1, 3, 4, 1, 1), row([0, 1, 2, 1], 3)) == pytest.approx(math.log(3))


def test_the_weights_of_the_terms_multiply_them() -> None:
    torch.manual_seed(1)
    logits, target = torch.randn(1, 2, 5, 1, 1), row([0, 1, 1, 0, 1])

    parts = value(build(1, 0), logits, target), value(build(0, 1), logits, target)

    assert value(build(0.5, 3), logits, target) == pytest.approx(0.5 * parts[0] + 3 * parts[1], rel=1e-5)


@pytest.mark.parametrize("batch_dice", [True, False])
def test_hard_targets_agree_with_monai(batch_dice: bool) -> None:
    torch.manual_seed(2)
    labels = torch.randint(0, 4, (2, 6, 5, 4))
    target = torch_one_hot(labels, 4).movedim(-1, 1).float()
    logits = torch.randn(2, 4, 6, 5, 4, dtype=torch.float32)
    monai = DiceCELoss(softmax=True, include_background=False, batch=batch_dice, smooth_nr=0, smooth_dr=1e-8)

    ours = build(1, 1, batch_dice=batch_dice)(logits, target, everywhere(target))

    assert float(ours) == pytest.approx(float(monai(logits, target)), rel=1e-5)


# Four voxels of which readers marked these shares; the best hard mask takes the last three.
SHARES = torch.tensor([0.0, 1 / 3, 2 / 3, 1.0])


def soft(shares: Tensor) -> Tensor:
    return torch.stack([1 - shares, shares])[None, :, :, None, None]


def plain_soft_dice_loss(p: Tensor, q: Tensor) -> float:
    return float(1 - 2 * (p * q).sum() / (p.sum() + q.sum()))


def test_a_soft_target_is_matched_best_by_itself_where_plain_soft_dice_prefers_a_hard_mask() -> None:
    hard = torch.tensor([0.0, 1.0, 1.0, 1.0])
    even_harder = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert plain_soft_dice_loss(even_harder, SHARES) < plain_soft_dice_loss(SHARES, SHARES)  # the fault to avoid

    of_itself, of_hard, of_harder = (
        value(build(), logits_of(soft(p)), soft(SHARES)) for p in (SHARES, hard, even_harder)
    )

    assert of_itself == pytest.approx(0, abs=1e-6)
    assert of_hard == pytest.approx(1 / 5)  # |p - q| = 2/3 + 1/3 over |p| + |q| = 3 + 2
    assert of_harder == pytest.approx((1 / 3 + 1 / 3) / 4)


def test_no_small_step_away_from_a_soft_target_lowers_the_loss() -> None:
    torch.manual_seed(3)
    best = value(build(1, 1), logits_of(soft(SHARES.clamp(0.05, 0.95))), soft(SHARES.clamp(0.05, 0.95)))

    for _ in range(50):
        moved = (SHARES.clamp(0.05, 0.95) + 0.04 * torch.randn(4)).clamp(0.01, 0.99)
        assert value(build(1, 1), logits_of(soft(moved)), soft(SHARES.clamp(0.05, 0.95))) >= best


def test_a_class_that_is_absent_from_the_target_does_not_move_the_dice_term() -> None:
    target = row([0, 1, 1, 0], 3)
    calm, false_positives = target.clone(), target.clone()
    false_positives[0, :, 0] = torch.tensor([0.0, 0.0, 1.0]).reshape(3, 1, 1)

    assert value(build(), logits_of(calm), target) == pytest.approx(0, abs=1e-6)
    assert value(build(), logits_of(false_positives), target) == pytest.approx(0, abs=1e-6)
    assert value(build(0, 1), logits_of(false_positives), target) > 1  # the cross-entropy sees them


def test_the_mean_is_over_the_classes_that_occur() -> None:
    target = row([0, 1, 2, 2], 4)
    missed_one = row([0, 0, 2, 2], 4)

    assert value(build(), missed_one * CERTAIN, target) == pytest.approx(1 / 2, abs=1e-5)


def test_background_alone_has_no_dice_term_and_finite_gradients() -> None:
    logits = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    target = torch_one_hot(torch.zeros(2, 4, 4, 4, dtype=torch.long), 3).movedim(-1, 1).float()

    assert value(build(), logits, target) == 0
    build(1, 1)(logits, target, everywhere(target)).backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_ignored_voxels_have_no_gradient_at_all() -> None:
    logits = torch.randn(1, 3, 4, 1, 1, requires_grad=True)
    target, weight = one_hot(torch.tensor([0, 1, -1, 2]).reshape(1, 4, 1, 1), 3)

    build(1, 1)(logits, target, weight).backward()

    assert logits.grad is not None
    assert torch.count_nonzero(logits.grad[:, :, 2]) == 0
    assert torch.count_nonzero(logits.grad[:, :, [0, 1, 3]]) == 9


def test_ignored_voxels_do_not_change_the_loss() -> None:
    torch.manual_seed(4)
    logits = torch.randn(1, 2, 6, 1, 1)
    target, weight = one_hot(torch.tensor([0, 1, 1, 0, -1, -1]).reshape(1, 6, 1, 1), 2)

    cut = value(build(1, 1), logits[:, :, :4], target[:, :, :4])

    assert value(build(1, 1), logits, target, weight) == pytest.approx(cut, rel=1e-6)


def test_nothing_but_ignored_voxels_gives_zero() -> None:
    target, weight = one_hot(torch.full((1, 2, 2, 2), -1), 3)

    assert value(build(1, 1), torch.randn(1, 3, 2, 2, 2), target, weight) == 0


def test_batch_dice_pools_voxels_where_the_other_averages_over_samples() -> None:
    target = torch.cat([row([1, 1, 1, 1]), row([0, 0, 0, 1])])
    predicted = torch.cat([row([1, 1, 1, 1]), row([0, 0, 0, 0])])

    assert value(build(), predicted * CERTAIN, target) == pytest.approx(1 - 8 / 9, abs=1e-5)
    assert value(build(batch_dice=False), predicted * CERTAIN, target) == pytest.approx(1 / 2, abs=1e-5)


def test_half_precision_logits_are_summed_in_full_precision() -> None:
    logits = torch.zeros(1, 2, 70_000, 1, 1, dtype=torch.bfloat16)
    target = row([1] * 70_000)

    loss = build(0, 1)(logits, target, everywhere(target))

    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(math.log(2), rel=1e-5)


def test_one_hot_marks_the_class_and_gives_ignored_voxels_no_weight() -> None:
    target, weight = one_hot(torch.tensor([0, 2, -1]).reshape(1, 3, 1, 1), 3)

    assert target[0, :, :, 0, 0].T.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]
    assert weight.flatten().tolist() == [1, 1, 0]
