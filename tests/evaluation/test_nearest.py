"""Nearest lattice points: near ones looked up, far ones asked of a tree, both exact."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.nearest import LOOKS, Frame, Points
from medseg.evaluation.spread import Spread, pooled, spread_between

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (3.0, 0.5, 0.8)]


def points(frame: Frame, index) -> Points:
    return Points(frame, np.sort(frame.keys(np.atleast_2d(index))))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_far_and_near_points_are_answered_as_by_brute_force(spacing):
    rng = np.random.default_rng(0)
    frame = Frame((30, 25, 20), spacing)
    some, others = (points(frame, np.unique(rng.integers(0, (30, 25, 20), (60, 3)), axis=0)) for _ in range(2))
    brute = np.linalg.norm(some.mm[:, None] - others.mm[None], axis=2).min(axis=1)
    assert brute.min() < frame.radius_mm < brute.max()  # both ways are taken
    np.testing.assert_allclose(some.distances_to(others), brute, atol=1e-9)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_neighbours_come_by_distance_and_none_is_left_out(spacing):
    frame = Frame((5, 5, 5), spacing)
    distances = [distance for distance, _ in frame.shells]
    assert distances[0] == 0.0 and (np.diff(distances) > 0).all()
    assert sum(len(steps) for _, steps in frame.shells) == pytest.approx(LOOKS, rel=0.35)


def test_a_corner_of_the_frame_does_not_see_its_other_side():
    frame = Frame((6, 6, 6), (1.0, 1.0, 1.0))
    first, last = points(frame, [0, 0, 0]), points(frame, [6, 6, 6])
    assert first.distances_to(last) == pytest.approx([np.sqrt(108)])
    assert points(frame, [0, 0, 6]).distances_to(points(frame, [0, 1, 0])) == pytest.approx([np.sqrt(37)])


def test_nothing_is_infinitely_far_from_something():
    frame = Frame((3, 3, 3), (1.0, 1.0, 1.0))
    some, nothing = points(frame, [1, 1, 1]), Points(frame, np.zeros(0, dtype=np.int64))
    assert some.distances_to(nothing).tolist() == [np.inf] and len(nothing.distances_to(some)) == 0
    spread = spread_between(some, None, nothing)
    assert spread.mm.tolist() == [np.inf] and spread.total == 1.0


def test_percentiles_of_a_spread_are_those_of_its_elements():
    rng = np.random.default_rng(1)
    elements = np.sort(rng.integers(0, 9, 57) / 2)
    mm, count = np.unique(elements, return_counts=True)
    spread = Spread(mm, count.astype(float))
    for q in (0, 5, 50, 95, 99.9, 100):
        assert spread.percentile(q) == pytest.approx(np.percentile(elements, q))
    assert spread.mean == pytest.approx(elements.mean())
    assert spread.within(2.0) == np.count_nonzero(elements <= 2.0)


def test_pooling_spreads_keeps_every_element():
    one, other = Spread(np.array([0.0, 2.0]), np.array([1.0, 1.0])), Spread(np.array([1.0]), np.array([2.0]))
    both = pooled([one, other])
    assert both.mm.tolist() == [0.0, 1.0, 2.0] and both.weight.tolist() == [1.0, 2.0, 1.0]
    assert pooled([]).total == 0.0
