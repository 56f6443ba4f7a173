"""The Dice of all pairs at once equals the Dice of each pair alone."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.overlap_matrix import dice_matrices
from medseg.evaluation.scoring import score_case
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet

LABELS = LabelSet({"background": 0, "liver": 5, "lesion": 2}, ignore=99)
GRID = Geometry((9, 8, 7), np.diag([1.0, 1.0, 3.0, 1.0]))


def reading(seed: int, **fields) -> LabelMap:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 2, 5], dtype=np.uint8), GRID.shape, p=[0.6, 0.1, 0.3])
    return LabelMap(np.asfortranarray(labels), GRID, LABELS, **fields)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_entry_is_the_dice_of_its_pair(threads):
    readings = {"A": reading(0), "B": reading(1, slices_read=(0, 3)), "C": reading(2)}
    readings["C"].labels[:2] = 99
    matrices = dice_matrices(readings, threads=threads)
    names = list(readings)
    for score in score_case(readings):
        entry = matrices[score.label][names.index(score.a), names.index(score.b)]
        assert entry == pytest.approx(score.values["dice"])


def test_the_matrix_is_symmetric_with_ones_on_its_diagonal():
    matrix = dice_matrices({name: reading(seed) for seed, name in enumerate("ABC")})["liver"]
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_array_equal(np.diag(matrix), np.ones(3))


def test_who_did_not_look_and_who_marked_nothing_have_no_dice_of_their_own():
    empty = LabelMap(np.zeros(GRID.shape, dtype=np.uint8), GRID, LABELS)
    readings = {"A": reading(0), "B": reading(1, labelled=("liver",)), "C": empty, "D": empty}
    lesion = dice_matrices(readings)["lesion"]
    assert np.isnan(lesion[1]).all() and lesion[0, 2] == 0.0 and np.isnan(lesion[2, 3])
    assert dice_matrices({}) == {}
