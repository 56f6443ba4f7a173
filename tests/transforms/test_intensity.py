"""Changes of grey value: their size in HU, their window, and that they leave labels alone."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.intensity import (
    BrightnessConfig,
    BrightnessParams,
    ContrastConfig,
    ContrastParams,
    GammaConfig,
    GammaParams,
    NoiseConfig,
    NoiseParams,
)

WINDOW = (-100.0, 300.0)
RAMP = torch.arange(-1024.0, 3000.0, 8.0).reshape(1, -1, 1, 1)


def test_noise_has_the_given_spread_and_no_bias():
    image = torch.full((1, 32, 32, 32), 50.0)
    noisy = NoiseConfig().build().apply_image(image, NoiseParams(sigma_hu=20, seed=1))
    assert float(noisy.mean()) == pytest.approx(50, abs=0.5)  # 4 standard errors of 20 / sqrt(32768)
    assert float(noisy.std()) == pytest.approx(20, rel=0.02)


def test_noise_of_two_seeds_differs_and_of_one_seed_is_equal():
    image, noise = torch.zeros(1, 4, 4, 4), NoiseConfig().build()
    first, again, other = (noise.apply_image(image, NoiseParams(10, seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_brightness_adds_hu():
    assert torch.equal(BrightnessConfig().build().apply_image(RAMP, BrightnessParams(15.0)), RAMP + 15)


def test_contrast_stretches_about_the_middle_of_the_window():
    image = torch.tensor([100.0, 150.0, 50.0]).reshape(1, 3, 1, 1)
    out = ContrastConfig().build().apply_image(image, ContrastParams(1.5, WINDOW))
    assert out.flatten().tolist() == [100.0, 175.0, 25.0]


def test_gamma_bends_inside_the_window_and_rests_outside():
    image = torch.tensor([-1000.0, -100.0, 0.0, 300.0, 2000.0]).reshape(1, 5, 1, 1)
    out = GammaConfig().build().apply_image(image, GammaParams(2.0, WINDOW))
    # 0 HU is a quarter of the window; a quarter squared is a sixteenth: -100 + 400 / 16
    torch.testing.assert_close(out.flatten(), torch.tensor([-1000.0, -100.0, -75.0, 300.0, 2000.0]))


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_contrast_and_gamma_keep_the_order_of_grey_values(factor):
    contrast = ContrastConfig().build().apply_image(RAMP, ContrastParams(factor, WINDOW))
    gamma = GammaConfig().build().apply_image(RAMP, GammaParams(factor, WINDOW))
    assert (contrast.diff(dim=1) > 0).all() and (gamma.diff(dim=1) > 0).all()


def test_factor_is_as_often_below_one_as_above():
    contrast, rng = ContrastConfig(probability=1, factor=(0.5, 2.0)).build(), np.random.default_rng(0)
    factors = np.log([contrast.sample(rng, (4, 4, 4), (1, 1, 1)).factor for _ in range(1000)])
    assert abs(factors.mean()) < 0.05 and np.abs(factors).max() <= np.log(2)


def test_negative_noise_is_refused():
    with pytest.raises(ConfigError, match="not negative"):
        build_config(NoiseConfig, {"sigma_hu": [-1, 2]})


def test_gamma_of_zero_is_refused():
    with pytest.raises(ConfigError, match="positive"):
        build_config(GammaConfig, {"gamma": [0, 1]})
