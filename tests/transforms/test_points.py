"""Changes of grey value: the compiled loops against torch, and statistics that no thread changes."""

import numpy as np
import pytest
import torch

from medseg.transforms import points

WINDOW = (-100.0, 300.0)
IMAGE = torch.randn(2, 41, 37, 33, generator=torch.Generator().manual_seed(0)) * 300
WHOLE = points.Statistics(*(float(value) for value in (IMAGE.mean(), IMAGE.std(), IMAGE.min(), IMAGE.max())))
CURVE = (0.0, 0.3, 0.35, 0.9, 1.0)


def test_statistics_equal_those_of_numpy():
    own, values = points.statistics(IMAGE), IMAGE.double().numpy()
    assert own.mean == pytest.approx(values.mean(), abs=1e-9) and own.sd == pytest.approx(values.std(ddof=1), rel=1e-12)
    assert (own.low, own.high) == (values.min(), values.max())


def test_statistics_far_from_zero_keep_their_digits():
    far = torch.tensor([8388607.0, 8388608.0, 8388609.0])
    assert points.statistics(far) == points.Statistics(8388608.0, 1.0, 8388607.0, 8388609.0)


def test_statistics_of_one_value_have_no_spread():
    assert points.statistics(torch.full((1, 30, 30, 30), -1000.1)).sd == 0
    assert points.statistics(torch.tensor([5.0])) == points.Statistics(5.0, 0.0, 5.0, 5.0)


def test_statistics_do_not_depend_on_the_number_of_threads():
    once = points.statistics(IMAGE)
    torch.set_num_threads(3)
    assert points.statistics(IMAGE) == once


def test_statistics_by_torch_are_the_same():
    own, twin = points.statistics(IMAGE), points.statistics_twin(IMAGE)
    assert [float(value) for value in vars(twin).values()] == pytest.approx(list(vars(own).values()), rel=1e-6)


@pytest.mark.parametrize("limits", [None, (-200.0, 350.0)])
def test_about_equals_torch(limits):
    ours = points.about(IMAGE, 1.3, 7.0, -4.0, limits)
    assert torch.equal(ours, points.about_twin(IMAGE, 1.3, 7.0, -4.0, limits))


def test_contrast_in_a_window_equals_torch():
    expected = IMAGE + (IMAGE.clamp(*WINDOW) - 100) * 0.4
    torch.testing.assert_close(points.contrast_in(IMAGE, WINDOW, 1.4), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("gamma", [0.01, 0.7, 1.4, 4.0])
def test_gamma_in_a_window_equals_torch(gamma):
    ours, twin = points.gamma_in(IMAGE, WINDOW, gamma), points.gamma_in_twin(IMAGE, WINDOW, gamma)
    torch.testing.assert_close(ours, twin, atol=4e-4, rtol=0)  # a millionth of the window


@pytest.mark.parametrize("gamma", [0.01, 0.7, 1.4, 4.0])
@pytest.mark.parametrize("ends", [(WHOLE.low, WHOLE.high), (WHOLE.high, WHOLE.low)])
def test_gamma_between_two_values_equals_torch(gamma, ends):
    ours, twin = points.gamma_between(IMAGE, *ends, gamma), points.gamma_between_twin(IMAGE, *ends, gamma)
    torch.testing.assert_close(ours, twin, atol=1e-6 * (WHOLE.high - WHOLE.low), rtol=0)


def test_gamma_rests_at_both_ends():
    ends = torch.tensor([WHOLE.low, WHOLE.high])
    torch.testing.assert_close(points.gamma_between(ends, WHOLE.low, WHOLE.high, 0.3), ends, atol=1e-4, rtol=0)


def test_curve_equals_interpolation_by_numpy():
    heights = np.array(CURVE) * (WHOLE.high - WHOLE.low) + WHOLE.low
    expected = np.interp(IMAGE.double().numpy(), np.linspace(WHOLE.low, WHOLE.high, 5), heights)
    for curved in (points.curved, points.curved_twin):
        np.testing.assert_allclose(curved(IMAGE, WHOLE.low, WHOLE.high, CURVE).numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("change", [points.gamma_between, points.gamma_between_twin])
def test_gamma_of_an_image_of_one_value_changes_nothing(change):
    assert torch.equal(change(torch.full((3,), 7.0), 7.0, 7.0, 2.0), torch.full((3,), 7.0))


@pytest.mark.parametrize("change", [points.curved, points.curved_twin])
def test_curve_of_an_image_of_one_value_changes_nothing(change):
    assert torch.equal(change(torch.full((3,), 7.0), 7.0, 7.0, CURVE), torch.full((3,), 7.0))


@pytest.mark.parametrize("low", [torch.tensor(-5.0), -5.0])
def test_by_torch_a_statistic_may_be_a_number_or_a_tensor(low):
    limited = points.about_twin(torch.tensor([-9.0, 9.0]), 1.0, 0.0, 0.0, (low, 5.0))
    assert limited.tolist() == [-5.0, 5.0]


def test_nan_is_not_turned_into_a_number():
    holed = torch.tensor([float("nan"), 1.0])
    for changed in (points.about(holed, 2.0, limits=(0.0, 1.0)), points.gamma_in(holed, WINDOW, 2.0),
                    points.contrast_in(holed, WINDOW, 2.0), points.curved(holed, 0.0, 2.0, CURVE)):  # fmt: skip
        assert changed.isnan().tolist() == [True, False]
