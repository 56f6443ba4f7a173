import numpy as np
import pytest

from medseg.evaluation.dose_response import Key, Line, Sampling, build_responses
from medseg.evaluation.dose_response_breaks import FEW_BREAK, Side, crossings, find_break, sides
from medseg.evaluation.dose_response_scores import TRUTH

FEW = Sampling(draws=1000)
DOSES = (0, 10, 20, 40)


def responses(table, doses=DOSES):
    """Dice of patients (rows) at doses (columns)."""
    return build_responses([Line(f"c{row}", f"c{row}", "blur", dose, "liver", TRUTH, None if value is None else value)
                            for row, values in enumerate(table)
                            for dose, value in zip(doses, values, strict=True)], ())  # fmt: skip


def broken(table, doses=DOSES, identity=0.0, margin=0.05, logarithmic=False):
    key = Key("blur", identity, "liver", TRUTH)
    return [find_break(responses(table, doses), key, side, margin=margin, sampling=FEW)
            for side in sides(identity, doses, logarithmic)]  # fmt: skip


def test_a_curve_breaks_between_the_doses_where_the_straight_line_crosses_the_margin():
    (found,) = broken([[0.9, 0.9, 0.7, 0.2]] * 2)
    assert found["first_dose"] == 20
    assert found["at"] == pytest.approx(12.5)  # from 0 at 10 to 0.2 at 20: 0.05 is a quarter of the way


def test_the_mean_over_patients_counts_not_each_patient():
    (found,) = broken([[1.0, 0.8, 0.8, 0.8], [1.0, 1.0, 1.0, 1.0]])
    assert found["at"] == pytest.approx(5.0)  # mean drop 0.1 at 10


def test_a_curve_that_never_loses_the_margin_has_no_dose():
    (found,) = broken([[0.9, 0.9, 0.88, 0.86]] * 3)
    assert (found["at"], found["first_dose"], found["ci95"]) == (None, None, None)
    assert found["tested_to"] == 40
    assert found["no_interval"] == FEW_BREAK


def test_a_drop_of_exactly_the_margin_does_not_break():
    (found,) = broken([[0.5, 0.25, 0.25, 0.25]] * 2, margin=0.25)
    assert found["at"] is None


def test_both_sides_of_the_identity_are_walked_outwards():
    below, above = broken([[0.0, 1.0, 1.0, 0.8, 0.0]] * 2, doses=(-40, -20, 0, 20, 40))
    assert (below["side"], below["first_dose"]) == ("below", -40)
    assert below["at"] == pytest.approx(-21.0)  # 0.05 of the way from -20 to -40
    assert above["at"] == pytest.approx(5.0)


def test_factors_are_interpolated_over_their_logarithm():
    (found,) = broken([[0.8, 1.0]] * 2, doses=(0.25, 1.0), identity=1.0, margin=0.1, logarithmic=True)
    assert found["at"] == pytest.approx(0.5)  # half of the drop, half of the logarithm


def test_the_interval_holds_the_crossing_and_narrows_with_patients():
    rng = np.random.default_rng(0)

    def width(n):
        drops = rng.normal(0.2, 0.08, n)
        (found,) = broken([[1.0, 1.0, 1.0 - drop, 1.0 - drop] for drop in drops])
        low, high = found["ci95"]
        assert low < found["at"] < high
        return high - low

    assert width(80) < width(8)


def test_an_end_beyond_the_tested_doses_is_none():
    (found,) = broken([[1.0, 1.0, 1.0, 0.7]] * 2 + [[1.0, 1.0, 1.0, 1.0]] * 6)
    assert found["at"] == pytest.approx(33.333, abs=1e-3)  # mean drop 0.075 at 40
    assert found["ci95"][0] > 20
    assert found["ci95"][1] is None
    assert found["share_of_draws"] < 0.99


def test_one_patient_has_a_break_but_no_interval():
    (found,) = broken([[1.0, 0.9, 0.5, 0.5]])
    assert found["at"] == pytest.approx(5.0)
    assert found["no_interval"] == "fewer than two patients"


def test_nobody_counted_means_nothing_breaks():
    (found,) = broken([[None] * 4])
    assert (found["at"], found["n_patients"]) == (None, 0)


def test_a_patient_without_the_identity_does_not_count():
    (found,) = broken([[1.0, 0.9, 0.9, 0.9], [None, 0.0, 0.0, 0.0]])
    assert found["n_patients"] == 1


def test_a_rising_curve_comes_back_below_the_margin_without_effect():
    at, first = crossings(np.array([[0.2, 0.0]]), np.array([0.0, 1.0, 2.0]), 0.1)
    assert (at[0], first[0]) == (pytest.approx(0.5), 0)


def test_a_dose_is_given_back_from_its_distance():
    side = Side("below", 1.0, (0.5, 0.25), logarithmic=True)
    assert [side.dose(distance) for distance in side.distances] == pytest.approx([1.0, 0.5, 0.25])
    assert side.dose(float("inf")) is None
