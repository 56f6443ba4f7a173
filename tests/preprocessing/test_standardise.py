"""Standardise and restore: over orientations and oblique grids, back on exactly the grid that came in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelMap, LabelSet
from medseg.imaging.volume import Volume
from medseg.phantom.shapes import rotation
from medseg.preprocessing.plan import Plan, PreprocessingConfig
from medseg.preprocessing.restore import restore, restore_probabilities
from medseg.preprocessing.standardise import normalise, standard_geometry, standardise, standardise_labels
from medseg.shapes import FloatArray, IntArray
from medseg.transforms.window import WindowConfig
from medseg.workflows.recipe import Recipe, training_transforms

PERMUTATIONS = [(0, 1, 2), (1, 2, 0), (2, 0, 1), (0, 2, 1)]
LABELS = LabelSet({"background": 0, "liver": 3, "spleen": 9})


def plan(spacing_mm: Any = (2.0, 2.0, 3.0), *, crop: bool = False, margin_mm: float = 0.0) -> Plan:
    preprocessing = PreprocessingConfig(crop_to_body=crop, margin_mm=margin_mm)
    return Plan(patch=(8, 8, 8), spacing_mm=spacing_mm, window_hu=(-160, 240), mean_hu=40, std_hu=80,
                preprocessing=preprocessing)  # fmt: skip


@st.composite
def grids(draw: st.DrawFn) -> Geometry:
    """A grid of 2 x 2 x 3 mm voxels: any axis order, flips, and an oblique turn of up to 20 degrees."""
    order = draw(st.sampled_from(PERMUTATIONS))
    signs = [draw(st.sampled_from([-1, 1])) for _ in range(3)]
    turn = [draw(st.floats(-20, 20)) for _ in range(3)]
    shape = np.array([draw(st.integers(5, 9)) for _ in range(3)])
    axes = rotation(turn) @ np.diag([2.0, 2.0, 3.0])
    affine = np.eye(4)
    affine[:3, :3] = (axes * signs)[:, order]
    affine[:3, 3] = [draw(st.floats(-200, 200)) for _ in range(3)]
    x, y, z = shape.tolist()
    return Geometry((x, y, z), affine)


def one_hot(indices: IntArray, classes: int) -> FloatArray:
    return np.stack([indices == index for index in range(classes)]).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(grid=grids(), seed=st.integers(0, 1000))
def test_labels_survive_the_way_to_the_standard_grid_and_back(grid: Geometry, seed: int) -> None:
    indices = np.random.default_rng(seed).integers(0, 3, grid.shape).astype(np.int16)
    reading = LabelMap(LABELS.to_values(indices), grid, LABELS)
    standard = standard_geometry(Volume(np.zeros(grid.shape, dtype=np.float32), grid), plan())

    back = restore(one_hot(standardise_labels(reading, standard), 3), standard, grid)

    assert np.array_equal(back, indices)


@settings(deadline=None, max_examples=20)
@given(grid=grids())
def test_the_standard_grid_runs_nearest_to_right_anterior_superior_at_the_plans_spacing(grid: Geometry) -> None:
    standard = standard_geometry(Volume(np.zeros(grid.shape, dtype=np.float32), grid), plan((1.5, 2.5, 4.0)))

    assert standard.orientation == "RAS"
    assert standard.spacing_mm == pytest.approx((1.5, 2.5, 4.0))
    middles = [g.world((np.array([g.shape]) - 1) / 2) for g in (grid, standard)]
    assert middles[0] == pytest.approx(middles[1], abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(grid=grids(), seed=st.integers(0, 1000))
def test_hu_are_only_reordered_where_the_spacing_is_the_plans(grid: Geometry, seed: int) -> None:
    hu = np.random.default_rng(seed).integers(-1000, 1000, grid.shape).astype(np.float32)

    standard = standardise(Volume(hu, grid), plan())

    assert np.sort(standard.hu, axis=None) == pytest.approx(np.sort(hu, axis=None), abs=0.5)


def test_a_point_keeps_its_place_in_the_patient() -> None:
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    affine[:3, 3] = (30, 40, 50)
    grid = Geometry((8, 8, 8), affine)
    hu = np.full(grid.shape, -1000, dtype=np.float32)
    hu[1, 2, 3] = 500

    standard = standardise(Volume(hu, grid), plan())

    place = np.argwhere(standard.hu > 0)
    assert standard.geometry.world(place)[0] == pytest.approx((28, 36, 59), abs=1e-4)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (3.0, 5.0, 4.0)])
def test_restored_labels_and_scores_have_the_shape_of_the_study(spacing_mm: Any) -> None:
    grid = Geometry((11, 7, 6), np.diag([2.0, 2.0, 3.0, 1.0]))
    standard = standard_geometry(Volume(np.zeros(grid.shape, dtype=np.float32), grid), plan(spacing_mm))
    scores = torch.randn(3, *standard.shape).numpy()

    own = restore_probabilities(scores, standard, grid)

    assert restore(scores, standard, grid).shape == grid.shape
    assert own.shape == (*grid.shape, 3)
    assert np.allclose(own.sum(axis=-1), 1, atol=1e-5)


def test_restored_labels_are_the_class_of_the_highest_restored_score() -> None:
    grid = Geometry((9, 8, 7), np.diag([2.0, 2.0, 3.0, 1.0]))
    standard = grid.with_spacing((3, 3, 3))
    scores = 3 * torch.randn(4, *standard.shape).numpy()

    probabilities = restore_probabilities(scores, standard, grid)

    assert np.array_equal(restore(scores, standard, grid), probabilities.argmax(axis=-1))


def test_beyond_the_standard_grid_there_is_background() -> None:
    grid = Geometry((10, 10, 10), np.eye(4))
    inner = grid.cropped((3, 3, 3), (4, 4, 4))
    liver = np.stack([np.zeros(inner.shape), np.ones(inner.shape)]).astype(np.float32)

    labels, scores = restore(liver, inner, grid), restore_probabilities(liver, inner, grid)

    assert labels.sum() == 4**3
    assert labels[3:7, 3:7, 3:7].all()
    assert scores[0, 0, 0].tolist() == [1, 0]


@pytest.fixture
def body() -> Volume:
    """A 40 mm cube of tissue at 23 mm from the corner of a 120 mm cube of air, 1 mm voxels, and a small table."""
    hu = np.full((120, 120, 120), -1000, dtype=np.float32)
    hu[23:63, 23:63, 23:63] = 30
    hu[23:63, 100:102, 23:63] = -150  # away from the body and smaller
    return Volume(hu, Geometry((120, 120, 120), np.eye(4)))


@pytest.mark.parametrize("margin_mm", [0.0, 1.0, 10.0])
def test_the_crop_keeps_the_whole_body_and_drops_air_and_table(body: Volume, margin_mm: float) -> None:
    standard = standardise(body, plan((1.0, 1.0, 1.0), crop=True, margin_mm=margin_mm))

    assert (standard.hu > 0).sum() == 40**3
    assert not (standard.hu == -150).any()
    assert all(40 + margin_mm <= n <= 40 + 2 * margin_mm + 8 for n in standard.geometry.shape)


def test_without_cropping_everything_stays(body: Volume) -> None:
    assert standard_geometry(body, plan((1.0, 1.0, 1.0))).shape == (120, 120, 120)


def test_an_image_without_a_body_is_kept_whole() -> None:
    air = Volume(np.full((20, 20, 20), -1000, dtype=np.float32), Geometry((20, 20, 20), np.eye(4)))

    assert standard_geometry(air, plan((1.0, 1.0, 1.0), crop=True)).shape == (20, 20, 20)


def test_prediction_normalises_as_the_last_step_of_training_does() -> None:
    hu = torch.linspace(-1024, 1500, 500)[None, :, None, None]
    (window,) = (s for s in training_transforms(Recipe(data="x"), plan()).steps if isinstance(s, WindowConfig))

    trained = window.model_copy(update={"jitter_hu": 0.0}).build(("image",))({"image": hu})["image"]

    assert torch.allclose(torch.as_tensor(trained), torch.as_tensor(normalise(hu, plan())), atol=1e-5)  # type: ignore[arg-type]


def test_normalising_clips_to_the_window_then_centres() -> None:
    hu = np.array([-1000, -160, 40, 120, 900], dtype=np.float32)

    assert normalise(hu, plan()).tolist() == pytest.approx([-2.5, -2.5, 0, 1, 2.5])
