"""The alternative annotator test: would the model do in place of one of the readers? And does a real reader pass it?

Calderon, Reichart and Dror (2025), "The alternative annotator test", arXiv:2501.10970. Each reader is left out in turn;
patient by patient the model and the left-out reader are held against the remaining readers. The model wins against a
reader when the reader's advantage is significantly below epsilon, the price that one is ready to pay for a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from medseg.evaluation.margin_tests import t_test
from medseg.evaluation.pair_table import PairTable, row_means
from medseg.evaluation.statistics import patient_means
from medseg.shapes import BoolArray, FloatArray, IntArray

EPSILON = 0.2  # proposed by the authors for experts
FALSE_DISCOVERY = 0.05
PASSING_RATE = 0.5
TIE = 1e-12  # scores this close are equal
RULE = (
    "patient means of the score with the remaining readers; a reader's advantage is how much more often it scores "
    "higher than lower than the model; one-sided t test of advantage below epsilon per left-out reader (exact where "
    "all patients fall the same way), Benjamini-Yekutieli at 5 %; passed when at least half of the readers are beaten"
)


@dataclass(frozen=True)
class LeftOutReader:
    """The model against one reader, before the remaining readers.

    Args:
        rater: who was left out.
        n: patients in which both can be held against somebody else.
        advantage: share of patients in which the model scores at least as high as the reader, NaN without any.
        p: of the one-sided test that the reader's advantage is below epsilon, NaN below two patients.
        adjusted: p after Benjamini-Yekutieli.
        beaten: whether the test was rejected.
    """

    rater: str
    n: int
    advantage: float
    p: float
    adjusted: float
    beaten: bool


@dataclass(frozen=True)
class AlternativeAnnotatorTest:
    """Outcome of the test.

    Args:
        winning_rate: omega, share of readers that the model beats; NaN when the test is off.
        advantage_probability: rho, mean share of patients in which the model does at least as well as a reader.
        passed: whether omega reaches 0.5, or None when the test is off.
        epsilon: advantage of a reader that counts as none.
        n: patients that entered, the smallest number over readers.
        readers: one entry per left-out reader.
        reason: why the test is off, or empty.
        rule: how it was done.
    """

    winning_rate: float
    advantage_probability: float
    passed: bool | None
    epsilon: float
    n: int
    readers: tuple[LeftOutReader, ...] = ()
    reason: str = ""
    rule: str = RULE


@dataclass(frozen=True)
class NullControl:
    """Real readers who each play the model against the others.

    Args:
        tests: by reader, the test with that reader as the model.
        passed: how many of them pass; a test that real readers fail says little about a model that fails it.
        pass_rates: by reader, how often that reader passes when as many patients are drawn again.
        mean_pass_rate: their mean, NaN when the test is off.
        draws: number of drawn data sets per reader.
    """

    tests: dict[str, AlternativeAnnotatorTest]
    passed: int
    pass_rates: dict[str, float]
    mean_pass_rate: float
    draws: int
    reason: str = ""


def alternative_annotator_test(
    table: PairTable, *, epsilon: float = EPSILON, anonymous: bool = False
) -> AlternativeAnnotatorTest:
    """The test of a model against named readers, at any number of patients from two on.

    Args:
        anonymous: reader K is not the same person in every case: there is nobody to replace, the test is off.
    """
    if reason := _off(table, anonymous):
        return AlternativeAnnotatorTest(np.nan, np.nan, None, epsilon, 0, reason=reason)
    return compare_left_out(left_out_scores(table), epsilon=epsilon)


def compare_left_out(
    scores: dict[str, tuple[FloatArray, FloatArray]], *, epsilon: float = EPSILON
) -> AlternativeAnnotatorTest:
    """The test from, by reader, the reader's own and the model's scores (P,) with the remaining readers.

    >>> own, model = np.array([0.7, 0.8, 0.6, 0.9, 0.7]), np.array([0.9, 0.9, 0.9, 0.95, 0.8])
    >>> found = compare_left_out({"A": (own, model), "B": (own, model)})
    >>> found.winning_rate, found.advantage_probability, found.n
    (1.0, 1.0, 5)
    """
    outcomes = {rater: _outcomes(own, model) for rater, (own, model) in scores.items()}
    p = np.array([float(_p_values(outcome[None], epsilon)[0]) for outcome in outcomes.values()])
    adjusted = _adjusted(p)
    readers = tuple(
        LeftOutReader(
            rater,
            len(outcome),
            float(np.mean(outcome <= 0)) if len(outcome) else np.nan,
            float(p[place]),
            float(adjusted[place]),
            bool(adjusted[place] <= FALSE_DISCOVERY),
        )
        for place, (rater, outcome) in enumerate(outcomes.items())
    )
    rate = float(np.mean([reader.beaten for reader in readers]))
    shares = [reader.advantage for reader in readers if reader.n]
    patients = min(reader.n for reader in readers)
    if np.isnan(p).any():
        reason = "a reader shares fewer than two patients with the model and another reader"
        return AlternativeAnnotatorTest(np.nan, np.nan, None, epsilon, patients, readers, reason)
    return AlternativeAnnotatorTest(rate, float(np.mean(shares)), rate >= PASSING_RATE, epsilon, patients, readers)


def null_control(
    table: PairTable, *, epsilon: float = EPSILON, anonymous: bool = False, draws: int = 1000, seed: int = 0
) -> NullControl:
    """The test with each real reader in turn as the model, and how often each passes at this number of patients."""
    reason = _off(table, anonymous, players=1)
    if reason:
        return NullControl({}, 0, {}, np.nan, 0, reason)
    tests, rates = {}, {}
    for rater in table.raters:
        scores = left_out_scores(table.playing(rater))
        tests[rater] = compare_left_out(scores, epsilon=epsilon)
        if tests[rater].passed is not None:
            rates[rater] = _pass_rate(scores, epsilon, draws, seed)
    mean = float(np.mean(list(rates.values()))) if rates else np.nan
    return NullControl(tests, sum(bool(test.passed) for test in tests.values()), rates, mean, draws)


def left_out_scores(table: PairTable) -> dict[str, tuple[FloatArray, FloatArray]]:
    """By reader: patient means (P,) of the reader's and of the model's score with the same remaining readers."""
    found = {}
    for place, rater in enumerate(table.raters):
        own, model = table.human[:, place], table.model.copy()
        # the model only counts where the left-out reader read as well, and both meet the same readers
        model[np.isnan(own)] = np.nan
        own = np.where(np.isnan(model), np.nan, own)
        found[rater] = (
            patient_means(row_means(own), table.patients),
            patient_means(row_means(model), table.patients),
        )
    return found


def _off(table: PairTable, anonymous: bool, players: int = 0) -> str:
    if anonymous:
        return "the readers are anonymous: reader K is not the same person in every case"
    needed = 2 + players
    if len(table.raters) < needed:
        return f"{needed} readers are needed, so that one can be left out and {'two' if players else 'one'} remain"
    return ""


def _outcomes(own: FloatArray, model: FloatArray) -> IntArray:
    """1 where the reader scores higher, -1 where the model does, 0 for a tie, (P,)."""
    difference = own - model
    return np.where(np.abs(difference) <= TIE, 0, np.sign(difference)).astype(np.int64)


def _p_values(outcomes: IntArray, epsilon: float) -> FloatArray:
    """P (B,) of mean outcome below epsilon, for drawn outcomes (B, P); NaN below two patients."""
    n = outcomes.shape[1]
    if n < 2:
        return np.full(len(outcomes), np.nan)
    first = outcomes[:, 0]
    same: BoolArray = (outcomes == first[:, None]).all(axis=1)
    # no spread, no t: at a mean of epsilon a single outcome is at most (1 - epsilon) / 2 likely to be -1, 1 - epsilon
    # to be 0; of n alike outcomes that is the exact p. The t test would say 0 even for two patients.
    chance = np.select([first < 0, first == 0], [(1 - epsilon) / 2, 1 - epsilon], 1.0)
    p = chance**n
    if not same.all():
        p[~same] = t_test(outcomes[~same], epsilon, "less").pvalue
    return p


def _adjusted(p: FloatArray) -> FloatArray:
    """Benjamini-Yekutieli over the last axis of (..., R); NaN everywhere where one is NaN."""
    if np.isnan(p).any():
        return np.full(p.shape, np.nan)
    return np.asarray(stats.false_discovery_control(np.clip(p, 0.0, 1.0), axis=-1, method="by"))


def _pass_rate(scores: dict[str, tuple[FloatArray, FloatArray]], epsilon: float, draws: int, seed: int) -> float:
    """Share of drawn data sets of as many patients in which the test is passed."""
    outcomes = [_outcomes(own, model) for own, model in scores.values()]
    rng = np.random.default_rng(seed)
    # readers may have read different patients, so each draws its own, in the same place of its list where they agree
    places: Sequence[FloatArray] = [rng.random((draws, n)) for n in {len(outcome) for outcome in outcomes}]
    by_size = {place.shape[1]: place for place in places}
    p = np.stack(
        [_p_values(outcome[(by_size[len(outcome)] * len(outcome)).astype(np.int64)], epsilon) for outcome in outcomes],
        axis=1,
    )
    return float(np.mean(np.mean(_adjusted(p) <= FALSE_DISCOVERY, axis=1) >= PASSING_RATE))
