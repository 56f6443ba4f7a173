"""D per stratum: an exploration with adjusted p values."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.entries import Protocol
from medseg.evaluation.paired import CaseAgreement
from medseg.evaluation.strata import UNKNOWN, strata

PLAN = Protocol(draws=300)


def rows(*differences: float) -> list[CaseAgreement]:
    return [
        CaseAgreement(f"c{n}", f"p{n}", "x", "dice", 0.8, 0.8 + difference, difference, True)
        for n, difference in enumerate(differences)
    ]


def test_each_value_of_a_factor_has_its_own_difference():
    sites = {"c0": "north", "c1": "north", "c2": "south", "c3": "south"}
    north, south = strata(rows(0.0, 0.02, -0.1, -0.2), {"site": sites}, PLAN)
    assert (north.value, north.n_cases, north.difference.mean) == ("north", 2, pytest.approx(0.01))
    assert (south.difference.mean, south.model_human) == pytest.approx((-0.15, 0.65))
    assert south.p == pytest.approx(stats.ttest_1samp([-0.1, -0.2], 0).pvalue)


def test_p_values_are_adjusted_over_all_factors():
    rng = np.random.default_rng(0)
    many = rows(*rng.normal(0, 0.1, 60))
    factors = {name: {row.case: f"{name}{n % 3}" for n, row in enumerate(many)} for name in ("site", "phase")}
    found = strata(many, factors, PLAN)
    expected = stats.false_discovery_control([line.p for line in found])
    assert [line.p_adjusted for line in found] == pytest.approx(expected.tolist())


def test_a_case_without_a_value_is_shown_last():
    found = strata(rows(0.1, 0.2, 0.3), {"site": {"c0": "zurich", "c1": ""}}, PLAN)
    assert [(line.value, line.n_cases) for line in found] == [("zurich", 1), (UNKNOWN, 2)]
    assert np.isnan(found[0].p) and np.isnan(found[0].p_adjusted)


def test_a_case_without_a_difference_is_left_out():
    found = strata(rows(0.1, np.nan, 0.3), {"site": dict.fromkeys(("c0", "c1", "c2"), "a")}, PLAN)
    assert found[0].n_cases == 2


def test_no_row_and_no_factor_make_no_table():
    assert strata([], {"site": {}}, PLAN) == [] and strata(rows(0.1), {}, PLAN) == []
