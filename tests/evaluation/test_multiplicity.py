"""Adjusted p values against statsmodels and by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.multiplicity import benjamini_hochberg, holm

P = {"liver": 0.01, "spleen": 0.04, "kidney": 0.03, "tumour": 0.005, "vein": 0.9}


@pytest.mark.parametrize(("method", "name"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_adjusted_p_equals_statsmodels(method, name):
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    expected = multitest.multipletests(list(P.values()), method=name)[1]
    assert list(method(P).values()) == pytest.approx(expected)
    assert list(method(P)) == list(P)


def test_holm_by_hand_is_monotone_and_at_most_one():
    assert holm({1: 0.6, 2: 0.01, 3: 0.02}) == {1: 0.6, 2: pytest.approx(0.03), 3: pytest.approx(0.04)}
    assert holm({1: 0.9, 2: 0.8}) == {1: 1.0, 2: 1.0}


@pytest.mark.parametrize("method", [holm, benjamini_hochberg])
def test_an_unanswered_question_still_counts_as_asked(method):
    found = method({"a": 0.01, "b": np.nan})
    assert found["a"] == pytest.approx(0.02) and np.isnan(found["b"])


@pytest.mark.parametrize("method", [holm, benjamini_hochberg])
def test_one_question_stays_and_none_is_none(method):
    assert method({"a": 0.03}) == {"a": pytest.approx(0.03)} and method({}) == {}
