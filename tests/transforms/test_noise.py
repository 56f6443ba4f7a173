"""Voxel noise: normal, white, and a function of seed and place alone."""

import numpy as np
import pytest
import torch
from scipy import stats

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.noise import (
    GaussianNoiseConfig,
    GaussianNoiseParams,
    NoiseConfig,
    NoiseParams,
    gaussian_noise,
    normal_twin,
    with_noise,
)

SHAPE = (64, 80, 100)
COUNT = 64 * 80 * 100
FIELD = gaussian_noise(SHAPE, seed=11)


def test_moments_are_those_of_a_normal_distribution():
    values = FIELD.double().numpy().ravel()
    assert abs(values.mean()) < 4 / np.sqrt(COUNT)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / COUNT)
    assert abs(stats.skew(values)) < 4 * np.sqrt(6 / COUNT)
    assert abs(stats.kurtosis(values)) < 4 * np.sqrt(24 / COUNT)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_distribution_function_is_that_of_a_normal_distribution(seed):
    assert stats.kstest(gaussian_noise((200_000,), seed).double().numpy(), "norm").pvalue > 1e-3


def test_tail_reaches_as_far_as_that_of_a_normal_distribution():
    beyond = (FIELD.abs() > 4).sum().item()
    assert abs(beyond - COUNT * 2 * stats.norm.sf(4)) < 4 * np.sqrt(COUNT * 2 * stats.norm.sf(4))


@pytest.mark.parametrize("lag", [1, 2, 3, 100, 512, 1024, 8000])
def test_voxels_at_a_distance_are_not_correlated(lag):
    values = FIELD.double().numpy().ravel()
    assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 4 / np.sqrt(COUNT)


def test_squares_of_the_two_numbers_of_a_counter_are_not_correlated():
    first, second = FIELD.flatten().reshape(-1, 2, 512).square().double().numpy().swapaxes(0, 1)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 4 / np.sqrt(COUNT / 2)


@pytest.mark.parametrize("other", [10, 12, 11 + 2**20])
def test_fields_of_two_seeds_are_not_correlated(other):
    pair = np.stack([FIELD.numpy().ravel(), gaussian_noise(SHAPE, other).numpy().ravel()])
    assert abs(np.corrcoef(pair)[0, 1]) < 4 / np.sqrt(COUNT)


def test_spectrum_is_flat():
    power = np.abs(np.fft.rfft(FIELD.double().numpy().ravel())[1:250_001]) ** 2 / COUNT
    bands = power.reshape(50, 5000).mean(axis=1)
    assert np.abs(bands - 1).max() < 5 / np.sqrt(5000)


@pytest.mark.parametrize("shape", [(1,), (511,), (512,), (1025,), (3, 5, 7), (1, 33, 31, 29)])
def test_torch_makes_the_same_numbers(shape):
    torch.testing.assert_close(normal_twin(shape, 5, "cpu"), gaussian_noise(shape, 5), atol=1e-6, rtol=0)


def test_numbers_depend_on_seed_and_place_and_not_on_the_size():
    assert torch.equal(gaussian_noise((3000,), 4)[:700], gaussian_noise((700,), 4))


def test_known_numbers_of_a_seed_stay_known():
    # From exact integers and a double-precision Box-Muller transform, not from the code under test
    word, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(z):
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
        return z ^ (z >> 31)

    key = 8 * word & mask
    for _ in range(2):
        key = mix(key) + word & mask
    bits = [mix(lane * word + key & mask) for lane in range(512)]
    radius = np.sqrt(-2 * np.log([((z >> 33) + 0.5) / 2**31 for z in bits]))
    angle = np.pi * np.array([(z & 0xFFFFFFFF) - (2**32 if z & 0x80000000 else 0) for z in bits]) / 2**31
    expected = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    np.testing.assert_allclose(gaussian_noise((1024,), seed=7).numpy(), expected, atol=2e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 9, 8), (3, 8, 1, 1)])
def test_noise_of_every_shape_and_channel_is_independent(shape):
    image = torch.full(shape, 50.0)
    noisy = with_noise(image, 10.0, seed=3)
    assert noisy.shape == shape and len(noisy.unique()) == noisy.numel() and (image == 50).all()


def test_noise_of_a_view_is_that_of_its_copy():
    image = torch.rand(1, 6, 5, 4).flip(1)[:, :, ::2]
    assert torch.equal(
        with_noise(image, 1.0, 3), with_noise(image.clone(memory_format=torch.contiguous_format), 1.0, 3)
    )


@pytest.mark.parametrize("threads", [2, 3])
def test_noise_does_not_depend_on_the_number_of_threads(threads):
    torch.set_num_threads(threads)
    assert torch.equal(gaussian_noise(SHAPE, seed=11), FIELD)


def test_noise_of_sigma_zero_is_none():
    image = torch.rand(1, 3, 3, 3)
    assert torch.equal(NoiseConfig().build().apply_image(image, NoiseParams(0.0, 1)), image)
    assert torch.equal(GaussianNoiseConfig().build().apply_image(image, GaussianNoiseParams(0.0, 1)), image)


def test_noise_in_hu_and_in_any_unit_are_the_same_noise():
    image = torch.rand(1, 3, 4, 5)
    in_hu = NoiseConfig().build().apply_image(image, NoiseParams(2.0, 9))
    assert torch.equal(in_hu, GaussianNoiseConfig().build().apply_image(image, GaussianNoiseParams(2.0, 9)))


def test_sigma_is_drawn_evenly_from_its_range():
    noise, rng = GaussianNoiseConfig(probability=1, sigma=(0.0, 0.1)).build(), np.random.default_rng(0)
    drawn = [noise.sample(rng, (4, 4, 4), (1, 1, 1)).sigma for _ in range(1000)]
    assert stats.kstest(drawn, stats.uniform(0, 0.1).cdf).pvalue > 1e-3


def test_negative_sigma_is_refused():
    with pytest.raises(ConfigError, match="not negative"):
        build_config(GaussianNoiseConfig, {"sigma": [-1, 2]})
