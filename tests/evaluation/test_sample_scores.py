"""A model's samples beside the readers, in one case and over patients."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.entries import Protocol
from medseg.evaluation.sample_scores import samples_entry, score_samples

SPACING = (10.0, 10.0, 10.0)  # 1 ml a voxel


def bar(n: int) -> np.ndarray:
    return np.arange(10)[:, None, None] < np.full((1, 2, 2), n)


def test_one_sample_that_equals_the_only_reader_is_perfect():
    found = score_samples([bar(4)], [bar(4)], None, SPACING)
    assert found is not None and found["ged2"] == 0 and found["hungarian_iou"] == 1 and found["crps_ensemble"] == 0


def test_the_volume_of_every_reader_is_held_against_the_samples():
    """Samples of 8 and 16 ml, a reader of 12 ml: E|X - y| = 4, E|X - X'| / 2 = 2."""
    found = score_samples([bar(2), bar(4)], [bar(3)], None, SPACING)
    assert found is not None and found["crps_ensemble"] == pytest.approx(2.0) and found["samples"] == 2


def test_a_reader_of_some_slices_has_no_volume():
    read = np.ones((10, 2, 2), dtype=bool)
    read[..., 1] = False
    found = score_samples([bar(4)], [bar(4)], [read], SPACING)
    assert found is not None and np.isnan(found["crps_exact"]) and found["ged2"] == 0


def test_a_case_that_nobody_marked_is_left_out():
    assert score_samples([bar(0)], [bar(0)], None, SPACING) is None


def test_numbers_of_samples_that_differ_are_told():
    cases = [score_samples([bar(4)] * k, [bar(3)], None, SPACING) for k in (2, 3)]
    entry = samples_entry([case for case in cases if case], ["p1", "p2"], Protocol(draws=200))
    assert entry["samples"] == [2, 3] and entry["readers"] == 1 and entry["n"] == 2
    assert entry["ged2"]["mean"] == pytest.approx(2 * (1 - 3 / 4))
