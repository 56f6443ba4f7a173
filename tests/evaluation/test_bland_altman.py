"""Limits of agreement: against the textbook formula, by symmetry, and with patients drawn."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from medseg.evaluation.bland_altman import RATIO, VolumePair, bland_altman_bands, limits_of_agreement, volume_pairs
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.scoring import PairScore

DRAWS = 300


def case(number: int, patient: str = "", **volumes: float) -> CaseScores:
    values = dict.fromkeys(METRICS, 0.5)
    scores = [PairScore("x", a, b, values, volumes[a], volumes[b]) for a, b in combinations(volumes, 2)]
    return CaseScores(f"c{number}", patient or f"p{number}", scores, 100.0)


def pairs(first, second, patients=None) -> list[VolumePair]:
    owners = patients or [f"p{number}" for number in range(len(first))]
    return [
        VolumePair(f"c{n}", p, "M", "A", a, b) for n, (p, a, b) in enumerate(zip(owners, first, second, strict=True))
    ]


def test_single_pairs_give_the_reference_limits(golden):
    expected = golden["statistics"]["bland_altman"]
    found = limits_of_agreement(pairs(expected["b"], expected["a"]), draws=DRAWS)
    assert (found.bias, found.sd) == pytest.approx((expected["bias"], expected["sd"]))
    assert (found.lower, found.upper) == pytest.approx(expected["loa"])


def test_peak_flow_of_bland_and_altman():
    """The example of the Lancet 1986;327:307, first readings: bias -2.1, standard deviation 38.8 l/min."""
    large = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
    small = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]
    found = limits_of_agreement(pairs(large, small), draws=DRAWS)
    assert (found.bias, found.sd) == pytest.approx((-2.1, 38.8), abs=0.05) and found.outside == pytest.approx(1 / 17)


def test_two_readers_have_no_order_so_their_bias_is_zero():
    found = limits_of_agreement(pairs([3.0, 5.0, 2.0], [1.0, 1.0, 3.0]), ordered=False, draws=DRAWS)
    assert found.bias == 0 and found.bias_ci95 is None
    assert found.sd == pytest.approx(np.sqrt((4 + 16 + 1) / 3)) and found.upper == -found.lower


def test_a_model_that_is_one_more_reader_has_the_readers_limits():
    rng = np.random.default_rng(0)
    cases = [case(n, **dict(zip("ABCM", (10 + rng.normal(size=4)).tolist(), strict=True))) for n in range(200)]
    found = bland_altman_bands(cases, "x", "ABC", "M", draws=DRAWS)
    low, high = found.sd_ratio_ci95
    assert low < 1 < high and found.sd_ratio == pytest.approx(1, abs=0.1)
    assert found.readers.sd == pytest.approx(np.sqrt(2), abs=0.1)
    assert (found.model.n_pairs, found.readers.n_pairs, found.model.n_patients) == (600, 600, 200)


def test_a_model_that_doubles_every_volume_has_a_ratio_of_two_with_no_spread():
    cases = [case(n, A=v, M=2 * v) for n, v in enumerate([1.0, 3.0, 7.0])]
    found = bland_altman_bands(cases, "x", "A", "M", relative=True, draws=DRAWS)
    assert (found.model.bias, found.model.lower, found.model.upper) == pytest.approx((2, 2, 2))
    assert found.model.reason == "all differences equal" and found.readers is None and np.isnan(found.sd_ratio)


def test_repeated_cases_of_a_patient_weigh_no_more_than_another_patient():
    first, second = [2.0, 2.0, 2.0, 6.0], [1.0, 1.0, 1.0, 1.0]
    found = limits_of_agreement(pairs(first, second, ["p", "p", "p", "q"]), draws=DRAWS)
    assert found.bias == pytest.approx(3.0) and (found.n_pairs, found.n_cases, found.n_patients) == (4, 4, 2)


def test_copied_pairs_do_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    values = rng.normal(10, 1, size=30)
    once = limits_of_agreement(pairs(values, np.full(30, 10.0)), draws=DRAWS)
    owners = [f"p{n}" for n in range(30)] * 4
    often = limits_of_agreement(pairs(np.tile(values, 4), np.full(120, 10.0), owners), draws=DRAWS)
    assert often.upper == pytest.approx(once.upper) and often.upper_ci95 == pytest.approx(once.upper_ci95)
    assert often.n_pairs == 4 * once.n_pairs and often.bias_ci95 == pytest.approx(once.bias_ci95)


def test_the_interval_of_a_limit_holds_the_limit_and_shrinks_with_patients():
    rng = np.random.default_rng(2)
    widths = []
    for n in (20, 200):
        found = limits_of_agreement(pairs(rng.normal(10, 1, n), np.full(n, 9.0)), draws=DRAWS)
        assert found.upper_ci95[0] < found.upper < found.upper_ci95[1]
        widths.append(found.upper_ci95[1] - found.upper_ci95[0])
    assert widths[1] < widths[0] / 2


def test_a_pair_that_only_one_marked_is_counted_and_not_a_difference():
    cases = [case(0, A=1.0, B=0.0, M=1.0), case(1, A=1.0, B=1.2, M=1.1), case(2, A=2.0, B=2.1, M=float("nan"))]
    found = bland_altman_bands(cases, "x", "AB", "M", draws=DRAWS)
    assert found.left_out == 2 and found.model.n_pairs == 3 and found.readers.n_pairs == 2


def test_differences_that_grow_with_size_are_noticed_and_vanish_as_ratios():
    rng = np.random.default_rng(3)
    size = np.exp(rng.normal(size=80))
    grown = pairs((size * np.exp(0.2 * rng.normal(size=80))).tolist(), size.tolist())
    in_ml, as_ratio = (limits_of_agreement(grown, unit=unit, draws=DRAWS) for unit in ("ml", RATIO))
    assert in_ml.size_trend > 0.4 and "read the ratios" in in_ml.caution
    assert abs(as_ratio.size_trend) < 0.3 and as_ratio.caution == ""


def test_the_model_stands_first_whatever_the_order_of_the_pair():
    (pair,) = volume_pairs([case(0, A=1.0, M=3.0)], "x", "A", "M")
    assert (pair.first, pair.place("ml")) == ("M", (2.0, 2.0))
    assert volume_pairs([case(0, M=3.0, A=1.0)], "x", "A", "M") == [pair]


def test_ratios_do_not_depend_on_the_unit_of_volume():
    a, b = [1.0, 2.0, 5.0, 9.0], [1.1, 1.7, 5.4, 9.9]
    small = limits_of_agreement(pairs(a, b), unit=RATIO, draws=DRAWS)
    large = limits_of_agreement(pairs(np.array(a) * 1000, np.array(b) * 1000), unit=RATIO, draws=DRAWS)
    assert large.upper == pytest.approx(small.upper) and large.lower_ci95 == pytest.approx(small.lower_ci95)


def test_below_two_patients_there_are_no_limits():
    assert limits_of_agreement(pairs([1.0, 2.0], [1.0, 1.0], ["p", "p"])) is None
    assert limits_of_agreement([]) is None
    assert bland_altman_bands([], "x", "AB").readers is None
