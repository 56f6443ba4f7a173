"""The floor: a HU window and its largest piece."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.threshold import fit_windows, largest_piece


def boxes() -> np.ndarray:
    """A box of 8 voxels at 50 HU, one of 1 voxel touching it by an edge only, one of 27 voxels at 100 HU, in air."""
    hu = np.full((12, 12, 12), -1000.0)
    hu[1:3, 1:3, 1:3] = 50
    hu[3, 3, 1] = 50
    hu[6:9, 6:9, 6:9] = 100
    return hu


def test_the_largest_piece_inside_the_window_is_found() -> None:
    hu = boxes()

    assert np.array_equal(largest_piece(hu, (0, 200)), hu == 100)
    assert largest_piece(hu, (0, 60)).sum() == 8  # the voxel at the edge is another piece


def test_the_ends_belong_to_the_window() -> None:
    assert largest_piece(boxes(), (100, 110)).sum() == 27


def test_a_window_without_voxels_gives_an_empty_mask() -> None:
    assert not largest_piece(boxes(), (200, 300)).any()


def test_windows_that_separate_the_structures_are_found() -> None:
    hu = boxes()

    windows = fit_windows([(hu, {"small": hu == 50, "large": hu == 100})])

    assert windows["small"][0] <= 50 <= windows["small"][1] < 100
    assert windows["large"][0] <= 100 <= windows["large"][1]
    assert np.array_equal(largest_piece(hu, windows["large"]), hu == 100)


def test_the_finer_search_reaches_ends_that_the_coarse_one_steps_over() -> None:
    hu = np.full((9, 9, 9), 35.0)
    hu[3:6, 3:6, 3:6] = 45  # every coarse pair of ends takes in both or neither

    (window,) = fit_windows([(hu, {"core": hu == 45})]).values()

    assert 35 < window[0] <= 45 <= window[1]


def test_progress_counts_the_windows_tried() -> None:
    counts: list[int] = []

    fit_windows([(boxes(), {"large": boxes() == 100})], counts.append)

    assert counts == list(range(1, len(counts) + 1))
    assert counts[-1] == pytest.approx(45 + 8, abs=1)  # pairs of 10 coarse ends, and the neighbours of the best
