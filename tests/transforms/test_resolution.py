"""Blur and low resolution: widths in mm, means kept, shapes kept."""

import numpy as np
import pytest
import torch

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.channels import Channels
from medseg.transforms.filters import mixed
from medseg.transforms.resolution import (
    BlurConfig,
    BlurParams,
    LowResolutionConfig,
    LowResolutionParams,
    ThickSlicesConfig,
    mean_taps,
)


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


def test_means_over_whole_voxels_equal_numpy():
    image = torch.rand(1, 12, 3, 4)
    expected = image.reshape(1, 4, 3, 3, 4).mean(2)
    torch.testing.assert_close(mixed(image, (mean_taps(12, 4), None, None)), expected)


@pytest.mark.parametrize("length", [1, 2, 5, 7, 9, 10])
def test_means_keep_the_mean_when_voxels_are_shared(length):
    image = torch.rand(1, 2, 10, 3)
    means = mixed(image, (None, mean_taps(10, length), None))
    torch.testing.assert_close(means.mean(2), image.mean(2))


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


def test_nearest_and_linear_equal_torch_as_nnunet_calls_it():
    image = torch.randn(1, 24, 20, 17)
    ours = LowResolutionConfig().build().apply_image(image, LowResolutionParams((13, 20, 9), "nearest"))
    coarse = torch.nn.functional.interpolate(image[None], (13, 20, 9), mode="nearest-exact")
    theirs = torch.nn.functional.interpolate(coarse, (24, 20, 17), mode="trilinear")[0]
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_low_resolution_equals_monai():
    from monai.transforms.spatial.array import RandSimulateLowResolution

    image = torch.randn(1, 24, 20, 16)
    theirs = RandSimulateLowResolution(prob=1.0, zoom_range=(0.5, 0.5), upsample_mode="trilinear", align_corners=False)
    ours = LowResolutionConfig().build().apply_image(image, LowResolutionParams((12, 10, 8), "nearest"))
    lower = image[:, ::2, ::2, ::2]  # MONAI takes the lower of both voxels, we the upper one: half a coarse voxel apart
    upper = image.flip(1, 2, 3)[:, ::2, ::2, ::2].flip(1, 2, 3)
    torch.testing.assert_close(torch.as_tensor(theirs(image)), up(lower, image), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours, up(upper, image), atol=1e-5, rtol=0)


def up(coarse: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.interpolate(coarse[None], like.shape[1:], mode="trilinear")[0]


def test_zoom_takes_the_place_of_the_factor():
    low = LowResolutionConfig(probability=1, zoom=(0.5, 0.5), axes=(0, 2)).build()
    assert low.sample(np.random.default_rng(0), (20, 20, 11), (1, 1, 1)) == LowResolutionParams((10, 20, 6))


def test_slices_of_a_thickness_in_millimetres():
    thick = ThickSlicesConfig(probability=1, thickness_mm=(5, 5)).build()
    params = thick.sample(np.random.default_rng(0), (16, 16, 40), (0.8, 0.8, 1.25))
    assert params == LowResolutionParams((16, 16, 10))


def test_slices_thicker_than_asked_for_change_nothing():
    thick, image = ThickSlicesConfig(probability=1, thickness_mm=(2, 2)).build(), torch.rand(1, 8, 8, 4)
    params = thick.sample(np.random.default_rng(0), (8, 8, 4), (1, 1, 5))
    assert torch.equal(thick.apply_image(image, params), image)


def test_thickness_beyond_the_image_leaves_one_slice():
    thick, image = ThickSlicesConfig(probability=1, thickness_mm=(99, 99)).build(), torch.rand(1, 3, 3, 8)
    flat = thick.apply_image(image, thick.sample(np.random.default_rng(0), (3, 3, 8), (1, 1, 1)))
    torch.testing.assert_close(flat, image.mean(3, keepdim=True).expand_as(image))


def test_only_one_of_the_axes_becomes_thick():
    thick, rng = ThickSlicesConfig(probability=1, axes=(0, 1, 2)).build(), np.random.default_rng(0)
    shapes = [thick.sample(rng, (40, 40, 40), (1, 1, 1)).shape for _ in range(60)]
    assert all(sum(n < 40 for n in shape) == 1 for shape in shapes)
    assert {shape.index(min(shape)) for shape in shapes} == {0, 1, 2}


def test_blur_in_voxels_is_drawn_for_each_axis_and_kept_in_millimetres():
    blur = BlurConfig(probability=1, sigma_voxels=(0.5, 1.0)).build()
    params = blur.sample(np.random.default_rng(0), (8, 8, 8), (1.0, 1.0, 5.0))
    in_voxels = np.array(params.sigma_mm) / params.spacing_mm
    assert in_voxels.min() >= 0.5 and in_voxels.max() <= 1 and len(set(in_voxels)) == 3


def test_one_sigma_and_three_equal_ones_are_the_same_blur():
    image, blur = torch.rand(1, 8, 9, 7), BlurConfig().build()
    once = blur.apply_image(image, BlurParams(1.0, (1, 1, 2)))
    assert torch.equal(once, blur.apply_image(image, BlurParams((1.0, 1.0, 1.0), (1, 1, 2))))


@pytest.mark.parametrize(("step", "params"), [
    (BlurConfig(), BlurParams(1.0, (1, 1, 1), Channels(0.5, 1))),
    (LowResolutionConfig(), LowResolutionParams((4, 4, 4), "mean", Channels(0.5, 1))),
], ids=["blur", "low_resolution"])  # fmt: skip
def test_only_the_chosen_channels_lose_detail(step, params):
    image = torch.rand(4, 8, 8, 8)
    changed = [
        not torch.equal(new, old) for new, old in zip(step.build().apply_image(image, params), image, strict=True)
    ]
    assert changed == [False, False, True, False]


@pytest.mark.parametrize(("key", "value"), [("zoom", [0, 1]), ("zoom", [0.5, 2]), ("sampling", "cubic")])
def test_impossible_low_resolution_is_refused(key, value):
    with pytest.raises(ConfigError, match=key):
        build_config(LowResolutionConfig, {key: value})


def test_thick_slices_along_no_axis_are_refused():
    with pytest.raises(ConfigError, match="at least one"):
        build_config(ThickSlicesConfig, {"axes": []})
