"""Blur and low resolution: widths in mm, means kept, shapes kept."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.resolution import BlurConfig, BlurParams, LowResolutionConfig, LowResolutionParams, box_means


def point(shape=(31, 31, 31)) -> torch.Tensor:
    image = torch.zeros(1, *shape)
    image[(0, *(n // 2 for n in shape))] = 1
    return image


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_blurred_point_has_the_given_width_in_millimetres(axis):
    spacing_mm = (1.0, 1.5, 2.0)
    spread = BlurConfig().build().apply_image(point(), BlurParams(3.0, spacing_mm))[0]
    profile = spread.sum(dim=[d for d in range(3) if d != axis]).double().numpy()
    at_mm = (np.arange(31) - 15) * spacing_mm[axis]
    assert profile.sum() == pytest.approx(1, abs=1e-5)
    assert np.sqrt((profile * at_mm**2).sum()) == pytest.approx(3.0, rel=0.03)  # cut at 3 sigma


def test_blur_agrees_with_scipy():
    from scipy.ndimage import gaussian_filter

    image = np.random.default_rng(0).normal(size=(12, 11, 10)).astype(np.float32)
    ours = BlurConfig().build().apply_image(torch.from_numpy(image)[None], BlurParams(2.0, (1.0, 2.0, 4.0)))[0]
    theirs = gaussian_filter(image, sigma=(2.0, 1.0, 0.5), mode="nearest", radius=(6, 3, 2))
    np.testing.assert_allclose(ours.numpy(), theirs, atol=1e-5)


def test_blur_leaves_a_flat_image_flat():
    flat = torch.full((1, 6, 5, 4), 40.0)
    torch.testing.assert_close(BlurConfig().build().apply_image(flat, BlurParams(2.0, (1, 1, 1))), flat)


def test_blur_far_below_a_voxel_changes_nothing():
    image = torch.rand(1, 4, 4, 4)
    assert torch.equal(BlurConfig().build().apply_image(image, BlurParams(0.3, (5, 5, 5))), image)


def test_low_resolution_keeps_shape_and_mean_and_loses_detail():
    image = torch.rand(1, 16, 16, 16)
    coarse = LowResolutionConfig().build().apply_image(image, LowResolutionParams((8, 8, 8)))
    assert coarse.shape == image.shape and coarse.std() < 0.5 * image.std()
    assert float(coarse[:, 2:-2, 2:-2, 2:-2].mean()) == pytest.approx(0.5, abs=0.03)


def test_box_means_over_whole_voxels_equal_numpy():
    image = torch.rand(1, 12, 3, 4)
    expected = image.reshape(1, 4, 3, 3, 4).mean(2)
    torch.testing.assert_close(box_means(image, 1, 4), expected)


@pytest.mark.parametrize("length", [1, 2, 5, 7, 9, 10])
def test_box_means_keep_the_mean_when_voxels_are_shared(length):
    image = torch.rand(1, 2, 10, 3)
    torch.testing.assert_close(box_means(image, 2, length).mean(2), image.mean(2))


def test_a_coarse_grid_equal_to_the_own_changes_nothing():
    image = torch.rand(1, 100, 1, 1)
    coarse = LowResolutionConfig().build().apply_image(image, LowResolutionParams((100, 1, 1)))
    assert torch.equal(coarse, image)


def test_thick_slices_leave_the_plane_sharp():
    image = torch.rand(1, 16, 1, 1).expand(1, 16, 16, 16)
    thick = LowResolutionConfig(probability=1, axes=(2,), factor=(3, 3)).build()
    params = thick.sample(np.random.default_rng(0), (16, 16, 16), (1, 1, 1))
    assert params == LowResolutionParams((16, 16, 5))
    torch.testing.assert_close(thick.apply_image(image, params), image)


def test_factor_below_one_is_refused():
    with pytest.raises(ConfigError, match="1 <= low"):
        build_config(LowResolutionConfig, {"factor": [0.5, 1]})
