"""The probability score of a volume: closed form against its integral, ensemble by hand, and the challenge's fault."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from medseg.errors import InputError, UsageError
from medseg.evaluation.crps import CRPS, crps, expected_volume_ml

READERS = np.array([48.0, 36.0, 48.0])


def test_worked_example(golden, masks):
    expected = golden["worked_example"]["expected"]
    volume = 1000 * expected_volume_ml(masks["worked/probability"], (3.0, 1.0, 1.0))
    assert volume == pytest.approx(expected["volumes_mm3"]["prob_volume"])
    assert crps(READERS, volume) == pytest.approx(expected["crps_gaussian_exact"], abs=1e-6)
    assert crps(READERS, volume, mode="ensemble") == pytest.approx(expected["crps_ensemble_raters"], abs=1e-6)
    assert crps(READERS, volume, mode="curvas2024") == pytest.approx(expected["curvas"]["crps_as_coded"], abs=1e-6)


def test_golden_closed_form_and_ensemble(golden):
    expected = golden["statistics"]
    assert crps(np.array([-1.0, 1.0]), 0) == pytest.approx(expected["crps_gaussian(0;0,1)"])
    assert crps(np.array([-1.0, 1.0]), 1) == pytest.approx(expected["crps_gaussian(1;0,1)"])
    found = crps(np.array([1.0, 2.0, 4.0]), 2, mode="ensemble")
    assert found == pytest.approx(expected["crps_ensemble(2;[1,2,4])"])


@pytest.mark.parametrize("outcome", [30.0, 44.0, 61.0, 120.0])
def test_the_closed_form_is_the_integral_of_its_definition(outcome):
    mean, sd = READERS.mean(), READERS.std()
    below, _ = integrate.quad(lambda v: stats.norm.cdf(v, mean, sd) ** 2, mean - 12 * sd, outcome)
    above, _ = integrate.quad(lambda v: stats.norm.sf(v, mean, sd) ** 2, outcome, max(mean + 12 * sd, outcome))
    assert crps(READERS, outcome) == pytest.approx(below + above, abs=1e-6)


@pytest.mark.parametrize("outcome", [30.0, 47.0, 90.0])
def test_the_ensemble_score_is_the_integral_of_its_steps(outcome):
    volumes = np.linspace(0, 100, 200_001)
    steps = (READERS[:, None] <= volumes).mean(axis=0) - (volumes >= outcome)
    assert crps(READERS, outcome, mode="ensemble") == pytest.approx(np.trapezoid(steps**2, volumes), abs=1e-3)


def test_only_the_challenge_saturates_beyond_three_standard_deviations(golden):
    expected = golden["worked_example"]["expected"]
    far = {mode: (crps(READERS, 200, mode=mode), crps(READERS, 1000, mode=mode)) for mode in CRPS}
    assert far["curvas2024"] == pytest.approx((expected["curvas"]["crps_as_coded_far_200mm3"],) * 2, abs=1e-6)
    exact = expected["crps_gaussian_exact_far_200mm3"], expected["crps_gaussian_exact_far_1000mm3"]
    assert far["exact"] == pytest.approx(exact)
    assert far["ensemble"][1] - far["ensemble"][0] == pytest.approx(800)


@pytest.mark.parametrize("mode", ["exact", "ensemble"])
def test_readers_of_one_volume_leave_the_plain_difference(mode):
    assert crps(np.array([5.0, 5.0]), 7.5, mode=mode) == 2.5
    assert crps(np.array([5.0]), 4.0, mode=mode) == 1.0


@pytest.mark.parametrize("mode", CRPS)
def test_a_reader_who_did_not_read_is_left_out_and_nobody_is_undefined(mode):
    assert crps(np.append(READERS, np.nan), 40, mode=mode) == crps(READERS, 40, mode=mode)
    assert np.isnan([crps(np.array([]), 40, mode=mode), crps(READERS, np.nan, mode=mode)]).all()


def test_an_unknown_form_lists_the_known_ones():
    with pytest.raises(UsageError, match="exact, ensemble, curvas2024"):
        crps(READERS, 40, mode="fair")


def test_a_volume_of_percentages_is_refused():
    with pytest.raises(InputError, match="outside 0 to 1"):
        expected_volume_ml(np.full((2, 2, 2), 50.0), (1.0, 1.0, 1.0))
