"""Dose: how much noise, where, of what texture; a share of 1 changes nothing."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.dose import DoseConfig, DoseParams, dose_noise, kernel_amplitude, spread, wedges
from medseg.transforms.projection import WATER_PER_MM

SPACING = (3.0, 3.0, 3.0)


def params(dose: float, spacing_mm=SPACING, kernel_mm: float = 0.5) -> DoseParams:
    return DoseParams(dose, 10.0, kernel_mm, spacing_mm, seed=3)


def water(half_axes_mm: tuple[float, float], shape=(96, 96, 12)) -> torch.Tensor:
    """An upright cylinder of water in air."""
    x, y = ((np.arange(n) - (n - 1) / 2) * 3 for n in shape[:2])
    inside = np.hypot(x[:, None] / half_axes_mm[0], y[None] / half_axes_mm[1]) < 1
    plane = np.where(inside, 0, -1000).astype(np.float32)
    return torch.from_numpy(np.broadcast_to(plane[None, ..., None], (1, *shape)).copy())


def added(image: torch.Tensor, dose: float) -> torch.Tensor:
    return DoseConfig().build().apply_image(image, params(dose)) - image


def test_full_dose_is_the_identity():
    image = water((100, 100))
    assert torch.equal(DoseConfig().build().apply_image(image, params(1.0)), image)


@pytest.mark.parametrize(("dose", "sigma_hu"), [(0.5, 10.0), (0.2, 20.0), (0.1, 30.0)])
def test_noise_over_the_body_is_sigma_times_the_root_of_one_over_dose_less_one(dose, sigma_hu):
    image = water((100, 100))
    assert float(added(image, dose)[image == 0].std()) == pytest.approx(sigma_hu, rel=0.05)


def test_noise_follows_the_paths_through_the_body():
    image, radius = water((100, 100)), 100.0
    sigma = dose_noise(image.expand(1, -1, -1, -1), params(0.5)).square().mean(dim=(0, 3)).sqrt()
    x = (np.arange(96) - 47.5) * 3
    away = np.hypot(x[:, None], x[None])
    angles = np.linspace(0, np.pi, 360)

    def theory(distance: float) -> float:  # root of the mean of exp(path) over all rays through a point
        chords = 2 * np.sqrt(np.clip(radius**2 - (distance * np.sin(angles)) ** 2, 0, None))
        return float(np.sqrt(np.exp(WATER_PER_MM * chords).mean()))

    def measured(distance: float) -> float:
        return float(sigma[torch.from_numpy(np.abs(away - distance) < 8)].square().mean().sqrt())

    for distance in (60, 90, 130):
        assert measured(distance) / measured(0) == pytest.approx(theory(distance) / theory(0), rel=0.12)


def test_long_paths_leave_streaks_along_themselves():
    noise = dose_noise(water((135, 45)), params(0.5))[0, 33:63, 41:55]
    along_x = (noise[1:] * noise[:-1]).mean() / noise.square().mean()
    along_y = (noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()
    assert along_x > along_y + 0.3


def test_spectrum_is_ramp_times_kernel():
    spacing = (1.0, 1.0, 1.0)
    noise = dose_noise(torch.zeros(1, 64, 64, 40), params(0.5, spacing, kernel_mm=0.6))
    power = torch.fft.fft2(noise, dim=(1, 2)).abs().square().mean(dim=(0, 3)).numpy()
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(64), np.fft.fftfreq(64)))
    bands = [power[np.abs(frequency - f) < 0.02].mean() for f in (0.1, 0.25, 0.4)]
    ideal = [np.sqrt(f) * np.exp(-((2 * np.pi * 0.6 * f) ** 2) / 2) for f in (0.1, 0.25, 0.4)]
    peak = np.sqrt(0.187) * np.exp(-0.25)  # the spectrum is largest where 2 pi kernel f is 1 / sqrt(2)
    expected = [(value / peak + 0.05) ** 2 for value in ideal]
    np.testing.assert_allclose(np.array(bands) / bands[1], np.array(expected) / expected[1], rtol=0.12)


def test_slices_are_independent():
    noise = dose_noise(torch.zeros(1, 64, 64, 20), params(0.5))
    shared = (noise[..., 1:] * noise[..., :-1]).mean() / noise.square().mean()
    assert abs(float(shared)) < 0.02


@pytest.mark.parametrize("shape", [(16, 16), (15, 17), (1, 8), (9, 1), (1, 1)])
def test_amplitudes_stand_for_noise_of_variance_one(shape):
    amplitude = kernel_amplitude(shape, (0.8, 0.8), 0.4)
    draws = np.random.default_rng(0).standard_normal((2, *amplitude.shape, 4000)) * np.sqrt(np.prod(shape) / 2)
    noise = np.fft.irfft2((draws[0] + 1j * draws[1]) * amplitude[..., None], s=shape, axes=(0, 1))
    assert noise.var() == pytest.approx(1, rel=0.06)


@pytest.mark.parametrize("shape", [(8, 8), (5, 1), (1, 1)])
def test_wedges_share_every_frequency(shape):
    np.testing.assert_allclose(sum(wedges(shape, (1.0, 2.0))), 1)


def test_nothing_falls_below_air_nor_rises_where_it_lay_lower():
    image = water((100, 100))
    image[0, :5] = -2048.0
    noisy = DoseConfig().build().apply_image(image, params(0.1))
    assert float(noisy[0, 5:].min()) >= -1024 and float(noisy[0, :5].min()) >= -2048


def test_an_image_without_a_body_gets_noise_all_over():
    deviation = spread(torch.full((1, 32, 32, 4), -1000.0), SPACING)
    assert bool(torch.isfinite(deviation).all()) and float(deviation.min()) > 0


@pytest.mark.parametrize("wrong", [{"dose": [0.5, 1.5]}, {"dose": [0, 1]}, {"sigma_hu": [-1, 2]}])
def test_wrong_dose_settings_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build_config(DoseConfig, wrong)
