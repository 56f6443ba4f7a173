"""Smooth fields: a bump of brightness or gamma, a bias field, a drift of the HU scale."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from medseg.transforms.bias import BiasFieldConfig, BiasFieldParams, exponents, multiplied, multiplied_twin
from medseg.transforms.bump import (
    Bump,
    GradientConfig,
    GradientParams,
    LocalGammaConfig,
    LocalGammaParams,
    bent_around,
    bent_around_twin,
    brightened,
)
from medseg.transforms.drift import HuDriftConfig, HuDriftParams, slope, sloped, sloped_twin

SHAPES = [(1, 1, 1), (1, 7, 5), (9, 1, 6), (14, 12, 1), (14, 12, 11)]
BUMP = Bump(place=(0.3, -0.5, 1.5), width=(0.3, 0.167, 1.0))
BIAS = BiasFieldConfig(probability=1, strength=(0.2, 0.2)).build()
DRIFT, GRADIENT, LOCAL = HuDriftConfig().build(), GradientConfig().build(), LocalGammaConfig().build()


def make_image(shape=(14, 12, 11), channels=2):
    return torch.randn(channels, *shape, generator=torch.Generator().manual_seed(3)) * 300


def test_bump_is_a_gaussian_over_the_voxels_scaled_from_zero_to_one():
    sides = [np.diff(norm.cdf(np.arange(n + 1), place * n, width * n))
             for n, place, width in zip((14, 12, 11), BUMP.place, BUMP.width, strict=True)]  # fmt: skip
    expected = np.einsum("x,y,z", *sides)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(BUMP.values(make_image()).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", [(0.5, 0.5, 0.5), (40.0, -40.0, 0.2)])
def test_bump_by_torch_is_the_same_also_from_far_away(shape, place):
    image, bump = make_image(shape), Bump(place, (0.3, 0.3, 1.0))
    assert bump.values(image).isfinite().all()
    torch.testing.assert_close(brightened(image, bump, 5.0), image + bump.values(image) * 5.0, atol=2e-4, rtol=0)


def test_gradient_adds_its_strength_at_the_top_of_the_bump():
    added = GRADIENT.apply_image(torch.zeros(1, 9, 9, 9), GradientParams(-3.0, Bump((0.5,) * 3, (0.2,) * 3)))
    assert float(added[0, 4, 4, 4]) == pytest.approx(-3.0) and float(added.max()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gamma", [0.05, 3.0])
def test_local_gamma_by_torch_is_the_same(shape, gamma):
    image = make_image(shape, 1)
    ours, twin = bent_around(image, BUMP, gamma), bent_around_twin(image, BUMP, gamma)
    torch.testing.assert_close(ours, twin, atol=3e-3, rtol=0)


def test_local_gamma_is_gamma_at_the_top_of_the_bump_and_nothing_far_away():
    image = torch.linspace(0, 1, 21).reshape(1, 21, 1, 1).expand(1, 21, 21, 21).contiguous()
    bent = LOCAL.apply_image(image, LocalGammaParams(2.0, Bump((0.5, 0.5, 0.5), (100.0, 0.05, 0.05))))
    torch.testing.assert_close(bent[0, :, 10, 10], image[0, :, 10, 10] ** 2, atol=2e-3, rtol=0)
    torch.testing.assert_close(bent[0, :, 0, 0], image[0, :, 0, 0], atol=1e-6, rtol=0)


def test_local_gamma_is_drawn_from_both_sides():
    step, rng = LocalGammaConfig(probability=1).build(), np.random.default_rng(0)
    drawn = np.array([step.sample(rng, (8, 8, 8), (1, 1, 1)).gamma for _ in range(500)])
    assert (drawn < 1).mean() == pytest.approx(0.5, abs=0.1) and not ((drawn > 0.8) & (drawn < 1.5)).any()


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_bias_field_deviates_by_its_strength(degree):
    step = BiasFieldConfig(probability=1, strength=(0.2, 0.2), degree=degree, zero=0).build()
    params = step.sample(np.random.default_rng(degree), (40, 40, 40), (1, 1, 1))
    field = step.apply_image(torch.ones(1, 40, 40, 40), params).log()
    assert len(params.coefficients) == len(exponents(degree))
    assert float(field.abs().max()) == pytest.approx(0.2, rel=0.03)


@pytest.mark.parametrize("shape", SHAPES)
def test_bias_field_by_torch_is_the_same(shape):
    params = BIAS.sample(np.random.default_rng(1), shape, (1, 1, 1)) or BiasFieldParams(1, (0.0,) * 3)
    torch.testing.assert_close(multiplied(make_image(shape), params), multiplied_twin(make_image(shape), params),
                               atol=2e-3, rtol=0)  # fmt: skip


def test_bias_field_is_the_exponential_of_a_legendre_series():
    params = BIAS.sample(np.random.default_rng(2), (9, 8, 7), (1, 1, 1))
    cube = np.zeros((4, 4, 4))
    cube[tuple(np.array(exponents(3)).T)] = params.coefficients
    axes = [np.linspace(-1, 1, n) for n in (9, 8, 7)]
    expected = np.exp(np.polynomial.legendre.leggrid3d(*axes, cube)) * 1040 - 1000
    np.testing.assert_allclose(multiplied(torch.full((1, 9, 8, 7), 40.0), params)[0].numpy(), expected, atol=2e-3)


def test_bias_field_leaves_air_alone_and_without_coefficients_everything():
    air = torch.full((1, 6, 6, 6), -1000.0)
    assert torch.equal(BIAS.apply_image(air, BIAS.sample(np.random.default_rng(0), (6, 6, 6), (1, 1, 1))), air)
    assert torch.equal(BIAS.apply_image(make_image(), BiasFieldParams(1, (0.0,) * 3)), make_image())


def test_drift_moves_water_and_air_by_their_errors_and_bone_on_the_same_line():
    image = torch.tensor([-1000.0, -500.0, 0.0, 1000.0]).reshape(1, 1, 4, 1)
    moved = DRIFT.apply_image(image, HuDriftParams(water_hu=4.0, air_hu=10.0))
    torch.testing.assert_close((moved - image).flatten(), torch.tensor([10.0, 7.0, 4.0, -2.0]), atol=1e-4, rtol=0)


def test_drift_rises_from_the_first_to_the_last_voxel():
    moved = DRIFT.apply_image(torch.zeros(1, 5, 6, 7), HuDriftParams(0.0, 0.0, (8.0, 0.0, -4.0)))
    assert float(moved[0, -1, 0, 0] - moved[0, 0, 0, 0]) == 8 and float(moved[0, 0, 0, -1] - moved[0, 0, 0, 0]) == -4
    assert float(moved.mean()) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_drift_by_torch_is_the_same(shape):
    sides = tuple(slope(n, rise) for n, rise in zip(shape, (3.0, -2.0, 9.0), strict=True))
    ours, twin = sloped(make_image(shape), 1.01, sides), sloped_twin(make_image(shape), 1.01, sides)
    torch.testing.assert_close(ours, twin, atol=1e-3, rtol=0)


def test_drift_of_nothing_changes_no_bit():
    assert torch.equal(DRIFT.apply_image(make_image(), HuDriftParams(0.0, 0.0)), make_image())


def test_slope_points_everywhere_and_is_as_steep_as_asked():
    step, rng = HuDriftConfig(probability=1, slope_hu=(6, 6)).build(), np.random.default_rng(0)
    drawn = np.array([step.sample(rng, (8, 8, 8), (1, 1, 1)).slope_hu for _ in range(500)])
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 6)
    assert np.abs(drawn.mean(axis=0)).max() < 0.6  # 4 standard errors of 6 / sqrt(3) / sqrt(500)
