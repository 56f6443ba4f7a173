"""What readers' labels come to: shares, majorities, and nothing where nobody looked."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medseg.data.opinions import majority_vote, rater_target
from medseg.losses.dice_ce import DiceCEConfig

ALL, LIVER, SPLEEN = [True, True, True], [True, True, False], [True, False, True]  # background, liver, spleen


def votes(*raters: list[int], known: list[list[bool]] | None = None) -> tuple[list[list[float]], list[float]]:
    """Target per voxel and weight of a row of voxels."""
    seen = None if known is None else torch.tensor(known)
    target, weight = rater_target(torch.tensor(raters)[:, :, None, None], 3, seen)
    return target[:, :, 0, 0].T.tolist(), weight.flatten().tolist()


def vote(*raters: list[int], known: list[list[bool]] | None = None) -> list[int]:
    seen = None if known is None else torch.tensor(known)
    return majority_vote(np.array(raters)[:, :, None, None], 3, seen).ravel().tolist()


def test_an_unknown_opinion_does_not_count_among_the_raters() -> None:
    target, weight = votes([1, 1, 0], [1, -1, -1], [2, 2, -1])

    assert target == [[0, pytest.approx(2 / 3), pytest.approx(1 / 3)], [0, 0.5, 0.5], [1, 0, 0]]
    assert weight == [1, 1, 1]


def test_a_voxel_that_nobody_read_has_no_weight() -> None:
    assert votes([-1, 0], [-1, -1]) == ([[0, 0, 0], [1, 0, 0]], [0, 1])


def test_a_structure_is_decided_by_those_who_looked_for_it() -> None:
    target, weight = votes([1, 0, 0], [1, 0, 0], [2, 2, 0], known=[LIVER, LIVER, ALL])

    assert target[0] == pytest.approx([0, 0.4, 0.6])  # liver 2 of 3, spleen 1 of 1: together more than 1
    assert target[1] == [0, 0, 1]  # the others could not know
    assert target[2] == [1, 0, 0]
    assert weight == [1, 1, 1]


def test_a_voxel_does_not_count_where_a_structure_was_not_answered() -> None:
    target, weight = votes([1, 0, -1], [-1, 0, 0], known=[LIVER, ALL])  # the second read the last two voxels

    assert weight == [0, 1, 1]
    assert target == [[0, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_a_structure_that_nobody_looked_for_leaves_no_voxel_out() -> None:
    assert votes([1, 0], [0, 0], known=[LIVER, LIVER]) == ([[0.5, 0.5, 0], [1, 0, 0]], [1, 1])


def test_where_all_looked_for_all_both_rules_agree() -> None:
    labels = torch.randint(-1, 3, (3, 9, 8, 7))

    for one, other in zip(rater_target(labels, 3), rater_target(labels, 3, torch.tensor([ALL] * 3)), strict=True):
        assert torch.allclose(one, other, atol=1e-6)
    assert (majority_vote(labels.numpy(), 3) == majority_vote(labels.numpy(), 3, torch.tensor([ALL] * 3))).all()


def test_the_majority_wins_and_half_of_the_readers_are_not_enough() -> None:
    assert vote([1, 1, 2], [1, 0, 2], [0, 0, 1]) == [1, 0, 2]
    assert vote([1, 0], [0, 2]) == [0, 0]


def test_unknown_opinions_do_not_vote() -> None:
    assert vote([-1, -1, 1], [2, -1, -1], [-1, -1, 1]) == [2, -1, 1]


def test_the_majority_of_a_structure_is_that_of_those_who_looked_for_it() -> None:
    assert vote([0, 0], [0, 0], [2, 0], known=[LIVER, LIVER, ALL]) == [2, 0]
    assert vote([1, -1], [0, 0], known=[LIVER, SPLEEN]) == [1, -1]


@pytest.mark.parametrize("said", [0, 1])
def test_labels_of_a_partial_reading_do_not_push_the_structure_that_nobody_looked_for(said: int) -> None:
    target, weight = rater_target(torch.full((1, 4, 4, 4), said), 3, torch.tensor([LIVER]))
    p = torch.tensor([0.5, 0.2, 0.3]).expand(4, 4, 4, 3).movedim(-1, 0)[None]

    def loss(moved: float) -> torch.Tensor:
        """With some of the background's probability given to the spleen."""
        shifted = p + moved * torch.tensor([-1.0, 0, 1]).reshape(1, 3, 1, 1, 1)
        return DiceCEConfig().build()(shifted.log(), target[None], weight[None], torch.tensor([LIVER]))

    amount = torch.tensor(0.0, requires_grad=True)
    (slope,) = torch.autograd.grad(loss(amount), amount)  # type: ignore[arg-type]
    assert slope.abs() < 1e-6
    assert loss(0.4) == pytest.approx(loss(-0.2).item())


def test_a_tie_between_structures_goes_to_the_one_listed_first_and_one_with_the_background_to_that() -> None:
    assert vote([2, 0, 1], [1, 2, 2], [-1, 1, 0]) == [1, 0, 0]
