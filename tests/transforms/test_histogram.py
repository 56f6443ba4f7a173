"""The random grey-value curve, beside MONAI's with the same control points."""

import numpy as np
import pytest
import torch
from monai.transforms.intensity.array import RandHistogramShift
from scipy import stats

from medseg.config import build_config
from medseg.errors import ConfigError
from medseg.transforms.histogram import HistogramShiftConfig, HistogramShiftParams

SHIFT = HistogramShiftConfig().build()
IMAGE = torch.randn(1, 15, 14, 13, generator=torch.Generator().manual_seed(0)) * 200
CURVE = (0.0, 0.3, 0.35, 0.9, 1.0)


def test_curve_equals_monai():
    theirs = RandHistogramShift(num_control_points=5, prob=1.0)
    theirs.randomize()
    theirs.floating_control_points = np.array(CURVE)
    ours = SHIFT.apply_image(IMAGE, HistogramShiftParams(CURVE))
    torch.testing.assert_close(ours, torch.as_tensor(theirs(IMAGE, randomize=False)), atol=1e-3, rtol=0)


def test_control_points_are_drawn_as_monai_draws_them():
    theirs = RandHistogramShift(num_control_points=6, prob=1.0).set_random_state(seed=1)
    step, rng = HistogramShiftConfig(probability=1, control_points=(6, 6)).build(), np.random.default_rng(0)
    drawn, known = [], []
    for _ in range(1000):
        drawn.append(step.sample(rng, (4, 4, 4), (1, 1, 1)).curve)
        theirs.randomize()
        known.append(theirs.floating_control_points)
    for ours, monai in zip(np.array(drawn).T[1:-1], np.array(known).T[1:-1], strict=True):
        assert stats.ks_2samp(ours, monai).pvalue > 1e-3


def test_curve_rises_and_its_ends_rest():
    step, rng = HistogramShiftConfig(probability=1, control_points=(3, 15)).build(), np.random.default_rng(0)
    curves = [step.sample(rng, (4, 4, 4), (1, 1, 1)).curve for _ in range(200)]
    assert all(curve[0] == 0 and curve[-1] == 1 and (np.diff(curve) >= 0).all() for curve in curves)
    assert {len(curve) for curve in curves} == set(range(3, 16))


def test_between_two_values_the_curve_bends_and_beyond_the_image_stays():
    image = torch.tensor([-500.0, -100.0, 0.0, 100.0, 300.0, 700.0]).reshape(1, 6, 1, 1)
    bent = SHIFT.apply_image(image, HistogramShiftParams((0.0, 0.25, 1.0), between=(-100.0, 300.0)))
    # the middle, 100, takes the height of a quarter: -100 + 400 / 4 = 0
    torch.testing.assert_close(bent.flatten(), torch.tensor([-500.0, -100.0, -50.0, 0.0, 300.0, 700.0]))


def test_straight_curve_changes_no_bit():
    straight = HistogramShiftParams(tuple(point / 9 for point in range(10)))
    assert torch.equal(SHIFT.apply_image(IMAGE, straight), IMAGE)


def test_each_channel_goes_by_its_own_range():
    both = torch.cat([IMAGE, IMAGE * 3 + 1000])
    shifted = SHIFT.apply_image(both, HistogramShiftParams(CURVE))
    assert torch.equal(shifted[1:], SHIFT.apply_image(both[1:], HistogramShiftParams(CURVE)))


def test_two_control_points_are_refused():
    with pytest.raises(ConfigError, match="at least 3"):
        build_config(HistogramShiftConfig, {"control_points": [2, 5]})
