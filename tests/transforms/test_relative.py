"""Factors, shifts, contrast and gamma in any unit, beside MONAI's with the same parameters."""

import numpy as np
import pytest
import torch
from monai.transforms.intensity.array import AdjustContrast, ScaleIntensity, ShiftIntensity

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.channels import Channels
from medseg.transforms.ranges import either_side, either_sign
from medseg.transforms.relative import (
    AddConfig,
    AddParams,
    ContrastMeanConfig,
    ContrastMeanParams,
    GammaRangeConfig,
    GammaRangeParams,
    MultiplyConfig,
    MultiplyParams,
)

IMAGE = torch.randn(1, 21, 19, 17, generator=torch.Generator().manual_seed(0))
MULTIPLY, ADD = MultiplyConfig().build(), AddConfig().build()
CONTRAST, GAMMA = ContrastMeanConfig().build(), GammaRangeConfig().build()


def assert_close(ours, theirs, atol=2e-6):
    torch.testing.assert_close(ours, torch.as_tensor(theirs), atol=atol, rtol=1e-5)


def test_multiply_equals_monai():
    assert_close(
        MULTIPLY.apply_image(IMAGE, MultiplyParams(1.2)), ScaleIntensity(minv=None, maxv=None, factor=0.2)(IMAGE)
    )


def test_add_equals_monai():
    assert_close(ADD.apply_image(IMAGE, AddParams(-0.07)), ShiftIntensity(-0.07)(IMAGE))


@pytest.mark.parametrize("gamma", [0.5, 0.7, 1.5, 3.0])
@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("keep", [False, True])
def test_gamma_equals_monai(gamma, invert, keep):
    theirs = AdjustContrast(gamma, invert_image=invert, retain_stats=keep)(IMAGE)
    assert_close(GAMMA.apply_image(IMAGE, GammaRangeParams(gamma, invert, keep)), theirs, atol=2e-5)


def test_gamma_in_hu_equals_monai():
    image = IMAGE * 500 - 200
    ours = GAMMA.apply_image(image, GammaRangeParams(0.7, False, True))
    assert_close(ours, AdjustContrast(0.7, retain_stats=True)(image), atol=5e-3)


def test_gamma_keeps_mean_and_spread_when_asked():
    bent = GAMMA.apply_image(IMAGE, GammaRangeParams(2.0, False, True))
    assert float(bent.mean()) == pytest.approx(float(IMAGE.mean()), abs=1e-6)
    assert float(bent.std()) == pytest.approx(float(IMAGE.std()), rel=1e-6)


def test_gamma_keeps_the_range_when_statistics_are_not_kept():
    bent = GAMMA.apply_image(IMAGE, GammaRangeParams(2.0, True, False))
    assert [float(v) for v in torch.aminmax(bent)] == pytest.approx([float(v) for v in torch.aminmax(IMAGE)])


def test_gamma_above_one_darkens_and_inverted_brightens():
    dark, bright = (GAMMA.apply_image(IMAGE, GammaRangeParams(2.0, invert, False)) for invert in (False, True))
    assert (dark <= IMAGE + 1e-5).all() and (bright >= IMAGE - 1e-5).all()


def test_contrast_stretches_about_the_mean():
    image = torch.tensor([0.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    stretched = CONTRAST.apply_image(image, ContrastMeanParams(1.5, keep_range=False))
    assert stretched.flatten().tolist() == [-1.0, 2.0, 5.0]


def test_contrast_clips_to_the_old_range_when_asked():
    image = torch.tensor([0.0, 1.0, 2.0, 4.0, 3.0]).reshape(1, 5, 1, 1)
    stretched = CONTRAST.apply_image(image, ContrastMeanParams(1.5, keep_range=True))
    assert stretched.flatten().tolist() == [0.0, 0.5, 2.0, 4.0, 3.5]


@pytest.mark.parametrize(
    ("step", "params"),
    [(CONTRAST, ContrastMeanParams(1.5, True)), (GAMMA, GammaRangeParams(0.7, True, True))],
    ids=["contrast_mean", "gamma_range"],
)
def test_each_channel_goes_by_its_own_statistics(step, params):
    both = torch.cat([IMAGE, IMAGE * 7 + 100])
    expected = torch.cat([step.apply_image(both[:1], params), step.apply_image(both[1:], params)])
    assert torch.equal(step.apply_image(both, params), expected)


@pytest.mark.parametrize(
    ("step", "params"),
    [
        (MULTIPLY, MultiplyParams(2.0, Channels(0.5, 1))),
        (ADD, AddParams(2.0, Channels(0.5, 1))),
        (CONTRAST, ContrastMeanParams(2.0, False, Channels(0.5, 1))),
        (GAMMA, GammaRangeParams(2.0, False, True, Channels(0.5, 1))),
    ],
    ids=["multiply", "add", "contrast_mean", "gamma_range"],
)
def test_only_the_chosen_channels_change(step, params):
    image = IMAGE.expand(4, -1, -1, -1)
    changed = [not torch.equal(new, old) for new, old in zip(step.apply_image(image, params), image, strict=True)]
    assert changed == params.channels.acting(4) and 0 < sum(changed) < 4


def test_factors_are_as_often_below_one_as_above_and_even_on_each_side():
    rng = np.random.default_rng(0)
    drawn = np.array([either_side(rng, (0.7, 1.5)) for _ in range(4000)])
    below = drawn[drawn < 1]
    assert len(below) / 4000 == pytest.approx(0.5, abs=0.03) and below.mean() == pytest.approx(0.85, abs=0.01)
    assert drawn.min() >= 0.7 and drawn.max() <= 1.5 and drawn[drawn > 1].mean() == pytest.approx(1.25, abs=0.02)


@pytest.mark.parametrize("ends", [(1.5, 3.0), (0.2, 0.4), (1.0, 1.0)])
def test_factors_of_a_range_on_one_side_stay_in_it(ends):
    rng = np.random.default_rng(0)
    drawn = [either_side(rng, ends) for _ in range(200)]
    assert min(drawn) >= ends[0] and max(drawn) <= ends[1]


def test_sizes_come_with_either_sign():
    rng = np.random.default_rng(0)
    drawn = np.array([either_sign(rng, (1.0, 5.0)) for _ in range(1000)])
    assert abs(np.sign(drawn).mean()) < 0.13 and np.abs(drawn).min() >= 1 and np.abs(drawn).max() <= 5


def test_offset_is_an_even_and_a_normal_part():
    rng = np.random.default_rng(0)
    even = [AddConfig(probability=1).build().sample(rng, (2, 2, 2), (1, 1, 1)).offset for _ in range(1000)]
    normal = AddConfig(probability=1, offset=(0, 0), sigma=0.5).build()
    drawn = [normal.sample(rng, (2, 2, 2), (1, 1, 1)).offset for _ in range(1000)]
    assert np.abs(even).max() <= 0.1 and np.std(even) == pytest.approx(0.2 / np.sqrt(12), rel=0.1)
    assert np.mean(drawn) == pytest.approx(0, abs=0.07) and np.std(drawn) == pytest.approx(0.5, rel=0.1)


def test_factor_of_zero_is_refused():
    with pytest.raises(ConfigError, match="positive"):
        build_config(MultiplyConfig, {"factor": [0, 1]})
