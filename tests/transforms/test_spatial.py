"""Affine and elastic as drawn: settings, ranges, parts that fire alone, slices that stay slices, labels kept."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.deformation import Warp, voxel_map
from medseg.transforms.spatial import AffineConfig, ElasticConfig, thick_axis

ISOTROPIC = (1.0, 1.0, 1.0)


def random_labels(shape=(12, 12, 12), raters=2, seed=0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-1, 4, (raters, *shape), dtype=torch.int16, generator=generator)


@given(st.integers(0, 2**31), st.booleans())
@settings(deadline=None, max_examples=20)
def test_integer_labels_get_no_new_value(seed, bends):
    config = ElasticConfig(probability=1) if bends else AffineConfig(probability=1)
    transform = config.build()
    labels = random_labels(seed=seed) * 7
    params = transform.sample(np.random.default_rng(seed), (12, 12, 12), (1, 1, 3))
    moved = transform.apply_labels(labels, params)
    assert moved.dtype == labels.dtype and set(moved.unique().tolist()) <= {0, *labels.unique().tolist()}


@given(st.integers(0, 2**31))
@settings(deadline=None, max_examples=20)
def test_soft_targets_keep_their_sum_and_stay_shares(seed):
    soft = torch.softmax(torch.randn(4, 9, 8, 7, generator=torch.Generator().manual_seed(seed)) * 3, dim=0)
    transform = AffineConfig(probability=1, rotation_deg=90, translation_mm=5).build()
    moved = transform.apply_labels(soft, transform.sample(np.random.default_rng(seed), (9, 8, 7), (1, 1, 2)))
    torch.testing.assert_close(moved.sum(0), torch.ones(9, 8, 7), atol=1e-5, rtol=0)
    assert moved.min() >= -1e-6


def test_sampled_affine_parameters_lie_in_their_ranges():
    affine = AffineConfig(probability=1, rotation_deg=(1, 2, 3), scale=(0.5, 2), translation_mm=4).build()
    rng = np.random.default_rng(0)
    drawn = [affine.sample(rng, (8, 8, 8), ISOTROPIC).affine for _ in range(500)]
    assert (np.abs([p.rotation_deg for p in drawn]).max(axis=0) <= (1, 2, 3)).all()
    assert np.abs([p.translation_mm for p in drawn]).max() <= 4
    scales = np.log([p.scale for p in drawn])
    assert abs(scales.mean()) < 0.1 and np.abs(scales).max() <= np.log(2 * 1.06)


def drawn_affines(count=400, shape=(8, 8, 8), spacing_mm=ISOTROPIC, **settings) -> list:
    affine, rng = AffineConfig(**{"probability": 1, **settings}).build(), np.random.default_rng(0)
    warps = [affine.sample(rng, shape, spacing_mm) for _ in range(count)]
    return [None if warp is None else warp.affine for warp in warps]


def test_parts_of_an_affine_fire_with_their_own_probabilities():
    drawn = drawn_affines(2000, rotation_probability=0.2, scale_probability=0.4, axis_scale=(1, 1))
    rotated = np.array([affine is not None and affine.rotation_deg != (0, 0, 0) for affine in drawn])
    scaled = np.array([affine is not None and affine.scale != (1, 1, 1) for affine in drawn])
    assert abs(rotated.mean() - 0.2) < 0.045 and abs(scaled.mean() - 0.4) < 0.055  # 5 standard errors
    assert abs((rotated & scaled).mean() - 0.08) < 0.03
    assert all((affine is None) == (not r and not s) for affine, r, s in zip(drawn, rotated, scaled, strict=True))


def test_a_part_that_does_not_fire_leaves_what_the_others_draw():
    both, scale_only = drawn_affines(20), drawn_affines(20, rotation_probability=0)
    assert [affine.scale for affine in both] == [affine.scale for affine in scale_only]
    assert {affine.rotation_deg for affine in scale_only} == {(0, 0, 0)}


@pytest.mark.parametrize(
    ("draw", "mean"),
    [("uniform", 1.25), ("reciprocal", 2 * np.log(2) / 1.5), ("log_uniform", 1.5 / np.log(4))],
)
def test_scale_is_drawn_as_said(draw, mean):
    scales = [affine.scale[0] for affine in drawn_affines(3000, scale=(0.5, 2), axis_scale=(1, 1), scale_draw=draw)]
    assert 0.5 <= min(scales) < 0.52 and 1.9 < max(scales) <= 2
    assert np.mean(scales) == pytest.approx(mean, abs=0.04)  # 5 standard errors of the widest, 0.43 / sqrt(3000)


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "thick"),
    [((8, 8, 8), (1, 1, 3.5), 2), ((8, 8, 8), (4, 1, 1), 0), ((20, 5, 20), (1, 1, 1), 1), ((8, 8, 4), (1, 1, 3), None)],
)
def test_very_unequal_axes_keep_slices_as_slices(shape, spacing_mm, thick):
    settings = {"rotation_deg": 10, "shear_deg": 5, "in_plane_rotation_deg": 180}
    drawn = drawn_affines(50, shape, spacing_mm, **settings)
    assert thick_axis(shape, spacing_mm, 3.0) == thick
    if thick is None:
        assert all(min(np.abs(affine.rotation_deg)) > 0 for affine in drawn)
        return
    across = [voxel_map(Warp(spacing_mm, affine), shape) - np.eye(4) for affine in drawn]
    assert all(np.abs(m[thick]).max() < 1e-9 and np.abs(m[:3, thick]).max() < 1e-9 for m in across)
    assert max(abs(affine.rotation_deg[thick]) for affine in drawn) > 90


def test_a_volume_of_one_slice_is_not_turned_or_bent_out_of_itself():
    shape, rng = (16, 16, 1), np.random.default_rng(0)
    for config in (AffineConfig(probability=1), ElasticConfig(probability=1, outside_hu="repeat")):
        transform = config.build()
        labels = torch.ones(1, *shape, dtype=torch.int16)
        labels[:, 0], labels[:, -1] = 0, 0
        moved = [transform.apply_labels(labels, transform.sample(rng, shape, ISOTROPIC)) for _ in range(5)]
        assert all(part.float().mean() > 0.5 for part in moved)


def test_identity_ranges_do_not_act():
    assert drawn_affines(5, rotation_deg=0, scale=(1, 1), axis_scale=(1, 1)) == [None] * 5


def test_elastic_that_could_fold_is_refused():
    with pytest.raises(ConfigError, match=r"at most 8\.07"):
        build_config(ElasticConfig, {"control_spacing_mm": 20, "displacement_mm": [0, 9]})


@pytest.mark.parametrize(
    "wrong", [{"scale": [0, 1]}, {"rotation_deg": -5}, {"probability": 1.5}, {"rotation_deg": [1]}]
)
def test_wrong_affine_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build_config(AffineConfig, wrong)
