"""Several models on the same patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medseg.evaluation.ranking import rank_models
from medseg.evaluation.statistics import mean_interval


def patients(values: np.ndarray) -> dict[str, float]:
    return {f"p{k}": float(value) for k, value in enumerate(values)}


@pytest.fixture
def three() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.1, 40)  # cases differ much more than models
    return {
        "worst": hard - 0.05 + rng.normal(0, 0.01, 40),
        "best": hard + 0.02 + rng.normal(0, 0.01, 40),
        "twin": hard + 0.02 + rng.normal(0, 0.01, 40),
    }


def test_models_stand_in_the_order_of_their_means(three):
    found = rank_models({name: patients(values) for name, values in three.items()})
    means = [ranked.difference.mean for ranked in found.models]
    assert means == sorted(means, reverse=True) and [ranked.place for ranked in found.models] == [1, 2, 3]
    assert found.models[-1].model == "worst" and (found.n, found.left_out) == (40, 0)


def test_differences_are_paired_so_that_hard_cases_cancel(three):
    found = rank_models({name: patients(values) for name, values in three.items()})
    pair = next(pair for pair in found.pairs if {pair.model, pair.other} == {"best", "worst"})
    assert pair.difference.ci95 == pytest.approx(mean_interval(three["best"] - three["worst"]).ci95)
    assert pair.p == pytest.approx(stats.ttest_rel(three["best"], three["worst"]).pvalue)
    low, high = pair.difference.ci95 or (0, 0)
    assert high - low < 0.02  # each mean by itself is uncertain by 0.06


def test_places_stay_open_where_models_cannot_be_told_apart(three):
    found = rank_models({name: patients(values) for name, values in three.items()})
    assert {ranked.model: ranked.places for ranked in found.models} == {"best": (1, 2), "twin": (1, 2), "worst": (3, 3)}


def test_patients_that_one_model_lacks_are_left_out_and_counted():
    a, b = {"p1": 0.1, "p2": 0.2, "p3": 0.3}, {"p1": 0.0, "p2": np.nan, "p4": 0.0}
    found = rank_models({"a": a, "b": b})
    assert (found.n, found.left_out) == (1, 3)


def test_equal_models_share_a_place():
    values = patients(np.array([0.1, 0.2, 0.3]))
    found = rank_models({"a": values, "b": dict(values)})
    assert [ranked.place for ranked in found.models] == [1, 1] and np.isnan(found.pairs[0].p_holm)


def test_no_common_patient_gives_no_order_and_no_interval():
    found = rank_models({"a": {"p1": 0.1}, "b": {"p2": 0.2}})
    assert found.n == 0 and all(ranked.difference.ci95 is None for ranked in found.models)


def test_one_model_is_first():
    found = rank_models({"a": patients(np.arange(5.0))})
    assert found.models[0].places == (1, 1) and found.pairs == ()
