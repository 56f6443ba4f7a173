"""Habits of the simulated readers, recovered in mm from a ball of 30 mm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.phantom.anatomy import LABELS
from medseg.phantom.experts import Expert, read_scan, sample_experts
from medseg.phantom.scan import Scan
from medseg.shapes import IntArray, Triple

BALL_MM = 30.0


def radius_mm(labels: IntArray, grid: Geometry, name: str = "liver") -> float:
    """Radius of the ball that is as large as what was drawn (a lesion is part of the liver)."""
    drawn = labels > 0 if name == "liver" else labels == LABELS[name]
    return float((3 * drawn.sum() * grid.voxel_ml * 1000 / (4 * np.pi)) ** (1 / 3))


def read(expert: Expert, scan: Scan, grid: Geometry, seed: int = 0) -> IntArray:
    return read_scan(expert, scan, grid, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("bias_mm", [-2.0, -1.0, 0.0, 1.0, 2.5])
def test_the_bias_of_an_expert_is_recovered_in_mm(
    habits: Callable[..., Expert], ball: Scan, grid: Geometry, bias_mm: float
) -> None:
    drawn = read(habits(bias_mm=bias_mm), ball, grid)

    assert radius_mm(drawn, grid) - BALL_MM == pytest.approx(bias_mm, abs=0.1)


def test_a_lesion_is_drawn_with_the_same_bias(habits: Callable[..., Expert], ball: Scan, grid: Geometry) -> None:
    drawn = read(habits(bias_mm=1.0), ball, grid)

    assert radius_mm(drawn, grid, "lesion") == pytest.approx(11, abs=0.3)


def test_an_expert_without_habits_draws_the_truth(habits: Callable[..., Expert], ball: Scan, grid: Geometry) -> None:
    assert np.array_equal(read(habits(), ball, grid), ball.truth)


def extent_mm(labels: IntArray, spacing_mm: Triple) -> list[float]:
    spans = np.ptp(np.argwhere(labels > 0), axis=0) + 1
    return [float(n * mm) for n, mm in zip(spans, spacing_mm, strict=True)]


def test_jitter_moves_slices_in_the_plane_and_leaves_their_height(
    habits: Callable[..., Expert], ball: Scan, grid: Geometry
) -> None:
    drawn = read(habits(jitter_mm=1.5), ball, grid)

    heights = np.flatnonzero((drawn > 0).sum(axis=(0, 1)) > 400)
    centres = np.array([grid.world(np.argwhere(drawn[:, :, [z]] > 0))[:, :2].mean(axis=0) for z in heights])
    assert len(heights) > 10
    assert centres.std() == pytest.approx(1.5, rel=0.35)
    assert extent_mm(drawn, grid.spacing_mm)[2] == extent_mm(ball.truth, grid.spacing_mm)[2]


def test_a_surface_field_moves_the_surface_by_its_deviation_and_not_on_average(
    habits: Callable[..., Expert], ball: Scan, grid: Geometry
) -> None:
    radii = [radius_mm(read(habits(field_mm=1.0), ball, grid, seed), grid) for seed in range(30)]

    # 30 x 96 mm of ball in fields of 30 mm: about a dozen independent patches each, so a scatter of some 0.3 mm.
    assert np.mean(radii) == pytest.approx(BALL_MM, abs=0.25)
    assert 0.1 < np.std(radii) < 0.7


def test_smoothing_rounds_a_ball_off_by_less_than_half_a_mm(
    habits: Callable[..., Expert], ball: Scan, grid: Geometry
) -> None:
    # A Gaussian of s mm lifts the distance to a ball of radius r by s^2 / r at its surface.
    assert radius_mm(read(habits(smoothness_mm=3.0), ball, grid), grid) == pytest.approx(BALL_MM - 9 / 30, abs=0.1)


@pytest.mark.parametrize("probability, missed", [(0.0, []), (1.0, [0])])
def test_lesions_are_missed_always_or_never(
    habits: Callable[..., Expert], ball: Scan, grid: Geometry, probability: float, missed: list[int]
) -> None:
    labels, overlooked = read_scan(habits(miss_probability=probability), ball, grid, np.random.default_rng(0))

    assert overlooked == missed
    assert (labels == LABELS["lesion"]).any() == (not missed)
    assert radius_mm(labels, grid) == pytest.approx(BALL_MM, abs=0.1)  # an overlooked lesion is drawn as liver


def test_lesions_are_missed_as_often_as_the_probability_says(
    habits: Callable[..., Expert], ball: Scan, grid: Geometry
) -> None:
    many = Scan(ball.hu, ball.distances_mm, ball.lesions_mm * 40, ball.truth)

    lost = [len(read_scan(habits(miss_probability=0.3), many, grid, np.random.default_rng(s))[1]) for s in range(3)]

    assert sum(lost) / 120 == pytest.approx(0.3, abs=0.12)  # three standard errors


def test_sampled_experts_span_a_bias_of_minus_one_to_one() -> None:
    experts = sample_experts(5, seed=1)

    assert [expert.name for expert in experts] == ["A", "B", "C", "D", "E"]
    assert [expert.bias_mm for expert in experts] == pytest.approx([-1, -0.5, 0, 0.5, 1], abs=0.6)
    assert sample_experts(5, seed=1) == experts != sample_experts(5, seed=2)


def test_the_twenty_seventh_expert_is_called_aa() -> None:
    assert [expert.name for expert in sample_experts(28, 0)][-3:] == ["Z", "AA", "AB"]


def test_experts_are_stored_with_every_habit() -> None:
    (expert,) = sample_experts(1, 0)

    assert Expert(**expert.to_json()) == expert  # type: ignore[arg-type]
