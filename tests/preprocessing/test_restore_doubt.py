"""What probabilities leave open: the compiled loops against the formula on whole arrays."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.imaging.prediction import ClassSums
from medseg.preprocessing.restore import Order, Restoration, feed, find_way, restore_probabilities
from medseg.preprocessing.restore_doubt import Doubt
from medseg.shapes import FloatArray

GRID = Geometry((11, 12, 9), np.diag([2.0, 2.0, 3.0, 1.0]))
FINER = Geometry((14, 17, 19), np.array([[0, 1.2, 0, 1], [1.1, 0, 0, -1], [0, 0, -1.3, 23], [0, 0, 0, 1.0]]))


def scores(classes: int, strength: float = 4.0) -> FloatArray:
    """Logits on GRID, and behind them a channel between 0 and the most that the classes leave open."""
    rng = np.random.default_rng(0)
    logits = strength * rng.standard_normal((classes, *GRID.shape))
    return np.concatenate([logits, rng.uniform(0, log(classes), (1, *GRID.shape))]).astype(np.float32)


def doubt_of(found: FloatArray, target: Geometry, order: Order = 1, threads: int = 1) -> tuple[Doubt, dict[str, Any]]:
    way = find_way(GRID, target, order=order)
    assert way is not None
    maps: dict[str, Any] = {name: np.zeros(target.shape, np.int16) for name in ("entropy", "disagreement")}
    doubt = Doubt(len(found) - 1, {name: own.__setitem__ for name, own in maps.items()})
    labels, table = np.zeros(target.shape, np.uint8), np.arange(len(found) - 1).astype(np.uint8)
    feed(Restoration(way, labels, table, order, None, threads, doubt), found)
    return doubt, {"labels": labels, **{name: own * doubt.step for name, own in maps.items()}}


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("classes", [2, 7])
def test_entropy_is_that_of_the_probabilities_on_the_studys_grid(order: Order, classes: int) -> None:
    found = scores(classes)

    entropy = doubt_of(found, FINER, order)[1]["entropy"]

    p = restore_probabilities(found[:-1], GRID, FINER, order=order).astype(np.float64)
    expected = -(p * np.log(np.maximum(p, 1e-30))).sum(axis=-1)
    assert np.abs(entropy - expected).max() < 1e-4
    assert expected.max() > 0.5


@pytest.mark.parametrize("order", [1, 3])
def test_sums_are_those_of_the_probabilities(order: Order) -> None:
    found = scores(5)

    sums = doubt_of(found, FINER, order)[0].sums()

    p = restore_probabilities(found[:-1], GRID, FINER, order=order).astype(np.float64)
    winner = p.argmax(axis=-1)[..., None] == np.arange(5)
    inside = GRID_OF_ALL[..., None] & np.ones(5, dtype=bool)
    for own, voxels in ((sums.voxels, winner), (sums.likely, p >= 0.75), (sums.possible, p >= 0.25)):
        assert own == pytest.approx((voxels & inside).sum(axis=(0, 1, 2)), abs=2)
    assert sums.total == pytest.approx((p * inside).sum(axis=(0, 1, 2)), rel=1e-5)
    assert sums.inside == pytest.approx((p * winner * inside).sum(axis=(0, 1, 2)), rel=1e-4)


def seen(target: Geometry) -> Any:
    """The target's voxels in the field of view of GRID."""
    way = find_way(GRID, target)
    assert way is not None
    mask = np.zeros(target.shape, dtype=bool)
    way.view(mask)[...] = True
    return mask


GRID_OF_ALL = seen(FINER)


@pytest.mark.parametrize("order", [1, 3])
def test_the_channel_behind_the_classes_is_interpolated_like_a_score_and_never_below_zero(order: Order) -> None:
    found = scores(3)
    found[3] = np.linspace(0, 1, GRID.shape[2])  # along Z: interpolation gives the same line

    disagreement = doubt_of(found, FINER, order)[1]["disagreement"]

    z = (np.arange(FINER.shape[2]) * -1.3 + 23) / 3  # of the slices of the study, in slices of GRID
    expected = np.clip(z / (GRID.shape[2] - 1), 0, 1)
    places = np.flatnonzero((z > 1) & (z < GRID.shape[2] - 2))
    off = np.abs(disagreement[6, 6, places] - expected[places])
    assert off.max() < 5e-3  # cubic lines bend at the ends of the grid
    assert disagreement.min() >= 0


def test_labels_do_not_depend_on_what_else_is_asked_for() -> None:
    found = scores(4)
    way = find_way(GRID, FINER)
    assert way is not None
    plain = np.zeros(FINER.shape, np.uint8)

    feed(Restoration(way, plain, np.arange(4).astype(np.uint8)), found[:-1])

    assert np.array_equal(doubt_of(found, FINER)[1]["labels"], plain)


def test_sums_are_the_same_for_any_number_of_threads() -> None:
    big = Geometry((90, 90, 60), np.diag([0.22, 0.26, 0.45, 1.0]))

    one, four = (doubt_of(scores(4), big, threads=threads)[0].sums() for threads in (1, 4))

    assert all(np.array_equal(vars(one)[name], vars(four)[name]) for name in ("voxels", "total", "inside"))


def test_a_certain_class_leaves_nothing_open() -> None:
    found = np.zeros((3, *GRID.shape), np.float32)
    found[1] = 50

    doubt, maps = doubt_of(found, GRID)

    sums: ClassSums = doubt.sums()
    count = float(np.prod(GRID.shape))
    assert maps["entropy"].max() == 0
    assert all(own.tolist() == [0, count] for own in (sums.voxels, sums.total, sums.inside, sums.likely))
