"""Lesion detection of a model against readers: D, its interval and detection by size."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.instances import LesionPair
from medseg.evaluation.lesion_agreement import (
    LESION_MEASURES,
    CaseLesions,
    detection_by_size,
    lesion_agreement,
    lesion_row,
)


def case(number: int, patient: str = "", **lesions: str) -> CaseLesions:
    """Each reader's lesions as letters, a capital one of 2 ml and a small one of 0.05 ml; equal letters match."""
    pairs, names = [], list(lesions)
    for place, a in enumerate(names):
        for b in names[place + 1 :]:
            if "-" in (lesions[a], lesions[b]):
                pairs.append(LesionPair("x", a, b, is_missing=True))
                continue
            common = [(lesions[a].index(c), lesions[b].index(c), 0.8) for c in lesions[a] if c in lesions[b]]
            pairs.append(LesionPair("x", a, b, sizes(lesions[a]), sizes(lesions[b]), tuple(common)))
    return CaseLesions(f"c{number}", patient or f"p{number}", pairs)


def sizes(letters: str) -> tuple[float, ...]:
    return tuple(2.0 if letter.isupper() else 0.05 for letter in letters)


def found(cases, measure="lesion_f1", **kwargs):
    return lesion_agreement(cases, "x", measure, "AB", "M", draws=300, **kwargs)


def test_a_model_that_misses_what_both_readers_see_scores_below_them():
    row = lesion_row(case(0, A="PQ", B="PQ", M="P"), "x", "lesion_f1", "AB", "M")
    assert (row.human_human, row.model_human) == pytest.approx((1.0, 2 / 3))
    assert row.difference == pytest.approx(-1 / 3) and row.everyone_marked


def test_sensitivity_takes_both_readers_as_the_reference():
    row = lesion_row(case(0, A="PQRS", B="P", M="P"), "x", "lesion_sensitivity", "AB", "M")
    assert row.human_human == pytest.approx((1 / 4 + 1) / 2) and row.model_human == pytest.approx((1 / 4 + 1) / 2)


def test_more_false_positives_than_readers_turn_the_difference_negative():
    row = lesion_row(case(0, A="P", B="P", M="PQR"), "x", "lesion_false_positives", "AB", "M")
    assert (row.human_human, row.model_human, row.difference) == (0.0, 2.0, -2.0)


def test_a_case_without_any_lesion_is_left_out_and_counted():
    result = found([case(0, A="", B="", M=""), case(1, A="P", B="P", M="P")])
    assert (result.n_cases, result.left_out) == (1, 1)


def test_a_false_positive_where_no_reader_saw_anything_costs_the_whole_case():
    row = lesion_row(case(0, A="", B="", M="P"), "x", "lesion_f1", "AB", "M")
    assert (row.human_human, row.model_human, row.difference) == (1.0, 0.0, -1.0) and not row.everyone_marked


def test_a_reader_who_did_not_read_takes_no_part():
    row = lesion_row(case(0, A="P", B="-", M="P"), "x", "lesion_f1", "AB", "M")
    assert np.isnan(row.human_human) and row.model_human == 1.0
    assert found([case(0, A="P", B="-", M="P")]).n_cases == 0


@pytest.mark.parametrize("measure", LESION_MEASURES)
def test_a_model_that_reads_like_a_reader_has_no_difference(measure):
    cases = [case(n, A="PQr", B="PR", M="PQr" if n % 2 else "PR") for n in range(30)]
    copies = [case(n, A="PQr", B="PQr", M="PQr") for n in range(30)]
    assert found(copies, measure).difference.mean == 0.0
    result = found(cases, measure)
    assert result.n_cases == 30 and result.human_human.n == 30


def test_the_interval_draws_patients():
    rng = np.random.default_rng(0)
    misses = rng.random(40) < 0.4
    once = [case(n, A="PQ", B="PQ", M="P" if miss else "PQ") for n, miss in enumerate(misses)]
    often = [
        case(n + 40 * k, f"p{n}", A="PQ", B="PQ", M="P" if miss else "PQ")
        for k in range(3)
        for n, miss in enumerate(misses)
    ]
    assert found(often).difference.ci95 == pytest.approx(found(once).difference.ci95)
    assert found(often).difference.ci95[1] < 0 and found(often).n_cases == 120


def test_without_a_model_the_readers_are_described():
    result = lesion_agreement([case(0, A="P", B="PQ"), case(1, A="P", B="P")], "x", "lesion_f1", "AB", None, draws=200)
    assert result.human_human.mean == pytest.approx((2 / 3 + 1) / 2) and np.isnan(result.difference.mean)


def test_a_model_that_misses_small_lesions_is_found_out_by_size():
    cases = [case(n, A="Ps", B="Ps", M="P" if n % 2 else "Ps") for n in range(40)]
    small, middle, large, huge = detection_by_size(cases, "x", "AB", "M", draws=300)
    assert (small.model, small.readers, small.lesions) == (0.5, 1.0, 80)
    assert small.difference_ci95[1] < -0.2 and (large.model, large.readers) == (1.0, 1.0)
    assert np.isnan(middle.model) and huge.lesions == 0 and large.difference_ci95 is None


def test_false_positives_are_counted_by_their_own_size():
    cases = [case(0, A="P", B="P", M="Pq"), case(1, A="P", B="PR", M="P")]
    small, _, large, _ = detection_by_size(cases, "x", "AB", "M", draws=200)
    assert (small.model_false_positives, large.model_false_positives) == (0.5, 0.0)
    assert (small.reader_false_positives, large.reader_false_positives) == (0.0, 0.25)


def test_no_case_has_empty_classes():
    assert all(
        size.lesions == 0 and np.isnan(size.model_false_positives) for size in detection_by_size([], "x", "AB", "M")
    )
    assert np.isnan(found([]).difference.mean)
