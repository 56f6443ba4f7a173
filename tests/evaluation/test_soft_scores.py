"""What one case says of a probability map, and its means."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.entries import Protocol
from medseg.evaluation.soft_scores import SHARES, probability_entry, reliability_entry, score_probability

SPACING = (1.0, 1.0, 1.0)
A = np.zeros((4, 4, 4), dtype=bool)
A[1:3, 1:3, 1:3] = True
B = A.copy()
B[1, 1, 1] = False


def test_a_sure_and_wrong_map_has_the_largest_brier_score():
    found = score_probability(np.where(A, 0.0, 1.0), [A, A], None, SPACING)
    assert found["brier"] == found["brier_soft"] == found["ece"] == 1.0 and found["soft_dice"] == 0.0


def test_the_share_of_two_readers_is_best():
    found = score_probability((A.astype(float) + B) / 2, [A, B], None, SPACING)
    assert found["soft_dice"] == found["qubiq_dice"] == 1.0 and found["ece_soft"] == pytest.approx(0)
    assert found["brier"] == pytest.approx(0.25 / 64)  # one disputed voxel of 64, half wrong for either reader


def test_the_envelope_holds_the_smallest_and_the_largest_reader():
    found = score_probability((A.astype(float) + B) / 2, [A, B], None, SPACING)
    assert [side[5] for side in found["observed"]] == [0.0, 1.0] and found["observed_soft"][5] == 0.5


def test_means_are_over_patients_and_an_undefined_value_is_counted():
    one = score_probability(A.astype(float), [A, A], None, SPACING)
    none = one | {"curvas_dice": float("nan")}
    found = probability_entry([one, one, none], ["p", "p", "q"], Protocol(draws=200))
    assert found["n"] == 3 and found["curvas_dice"]["n"] == 2 and found["ece"]["n"] == 3
    assert set(SHARES) <= set(found) and found["soft_dice"]["mean"] == 1.0


def test_bins_are_pooled_by_their_voxels():
    one = {"edges": [0, 0.5, 1], "voxels": [1, 0], "probability": [0.1, np.nan], "observed_soft": [0.0, np.nan],
           "observed": [[0.0, np.nan], [0.0, np.nan]]}  # fmt: skip
    other = one | {"voxels": [3, 0], "probability": [0.3, np.nan], "observed_soft": [1.0, np.nan]}
    found = reliability_entry([one, other])
    assert found["voxels"] == [4, 0] and found["probability"][0] == pytest.approx(0.25)
    assert found["observed_soft"][0] == 0.75 and np.isnan(found["probability"][1])
