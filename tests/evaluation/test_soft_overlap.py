"""Probabilities against several readers: soft Dice, the scores of QUBIQ and CURVAS, and what is no probability."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import GeometryError, InputError, VoxelError
from medseg.evaluation.overlap import dice
from medseg.evaluation.soft_overlap import check_probabilities, curvas_dice, qubiq_dice, soft_dice


@pytest.fixture
def worked(masks) -> tuple[np.ndarray, list[np.ndarray]]:
    return masks["worked/probability"], [masks[f"worked/rater{k}"] for k in (1, 2, 3)]


# --- soft Dice


def test_worked_example_soft_dice(golden, worked):
    probability, readers = worked
    expected = golden["worked_example"]["expected"]["soft_dice(min,l2,l1)"][0]
    assert soft_dice(np.mean(readers, axis=0), probability) == pytest.approx(expected, abs=1e-9)


def test_soft_dice_of_hard_masks_is_dice(worked):
    _, (a, b, _) = worked
    assert soft_dice(a.astype(float), b.astype(float)) == pytest.approx(dice(a, b))


def test_the_true_shares_beat_every_hard_mask():
    share = np.array([1.0, 0.6, 0.3, 0.0])
    hard = [soft_dice(share, (share >= cut).astype(float)) for cut in (0.2, 0.5, 0.9)]
    assert soft_dice(share, share) == 1 > max(hard)


def test_soft_dice_of_nothing_is_undefined():
    assert np.isnan(soft_dice(np.zeros(3), np.zeros(3))) and soft_dice(np.zeros(3), np.ones(3)) == 0


# --- QUBIQ


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_worked_example_of_qubiq(golden, worked, kind):
    mean, levels = golden["worked_example"]["expected"]["qubiq_0.1..0.9"]
    found = qubiq_dice(worked[0].astype(kind), worked[1])
    assert found.mean == pytest.approx(mean, abs=1e-6) and found.readers == 3
    assert list(found.at.values()) == pytest.approx(levels, abs=1e-6)
    assert list(found.at) == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]


@pytest.mark.parametrize("readers", [3, 7, 10, 20])
def test_the_readers_own_share_is_perfect_at_every_threshold(readers):
    masks = list(np.random.default_rng(readers).random((readers, 6, 6, 6)) < 0.4)
    for share in (np.mean(masks, axis=0), np.mean(masks, axis=0).astype(np.float32)):
        assert set(qubiq_dice(share, masks).at.values()) == {1.0}  # 3 of 10 meets 0.3 although 3 * 0.1 > 0.3


def test_a_threshold_that_nothing_meets_counts_one_and_nothing_at_all_is_undefined():
    mask, empty = np.ones((1, 1, 2), dtype=bool), np.zeros((1, 1, 2), dtype=bool)
    assert qubiq_dice(np.full((1, 1, 2), 0.5), [mask, empty]).mean == 1
    assert np.isnan(qubiq_dice(np.zeros((1, 1, 2)), [empty, empty]).mean)


def test_voxels_that_nobody_read_are_left_out():
    mask, read = np.array([[[True, False]]]), np.array([[[True, False]]])
    assert qubiq_dice(np.ones((1, 1, 2)), [mask, mask], [read, read]).mean == 1


# --- CURVAS


def test_worked_example_of_curvas(golden, worked):
    expected = golden["worked_example"]["expected"]["curvas"]
    found = curvas_dice(*worked)
    assert (found.dice, found.confidence) == pytest.approx((expected["thresh_dsc"], expected["confidence"]))
    assert found.agreed == expected["consensus_voxels"] and found.background == expected["consensus_bg"]
    assert found.disputed == expected["dissensus_voxels"]


def test_disputed_voxels_do_not_count_whatever_the_model_says(worked):
    probability, readers = worked
    disputed = np.any(readers, axis=0) & ~np.all(readers, axis=0)
    assert curvas_dice(np.where(disputed, 1.0, probability), readers) == curvas_dice(
        np.where(disputed, 0.0, probability), readers
    )


def test_a_prediction_may_be_cut_elsewhere(worked):
    probability, readers = worked
    assert curvas_dice(probability, readers, prediction=np.ones_like(readers[0])).dice == pytest.approx(
        2 * 9 / (9 + 25)
    )


def test_readers_who_agree_on_nothing_leave_the_score_undefined():
    a = np.array([[[True, False]]])
    found = curvas_dice(np.full((1, 1, 2), 0.7), [a, ~a])
    assert np.isnan([found.dice, found.confidence]).all() and found.disputed == 2


# --- what is no probability


@pytest.mark.parametrize("values", [[-0.2, 0.5], [0.5, 1.3], [0.0, 255.0], [-8.0, 6.0], [0.0, np.inf]])
def test_values_outside_0_to_1_are_refused_with_their_range(values):
    with pytest.raises(InputError, match=f"case c1: probabilities outside 0 to 1.*got {values[0]:g} to {values[1]:g}"):
        check_probabilities(np.array(values), where="case c1")


def test_nan_is_refused_with_its_number():
    with pytest.raises(VoxelError, match="2 voxels of NaN"):
        check_probabilities(np.array([0.1, np.nan, np.nan]))


def test_another_shape_is_refused_with_both():
    with pytest.raises(GeometryError, match=r"expected \(1, 1, 2\), got \(1, 2\)"):
        qubiq_dice(np.zeros((1, 2)), [np.ones((1, 1, 2), dtype=bool)])


def test_the_rounding_of_single_precision_is_no_fault():
    softmax = np.array([1.0000001, -1e-8], dtype=np.float32)
    assert check_probabilities(softmax) is softmax
