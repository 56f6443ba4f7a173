"""Other readers, other cases: the two-way bootstrap and what stands in for it with few readers."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.evaluation.pair_table import PairTable
from medseg.evaluation.two_way import MIN_RATERS, two_way, two_way_draws


def table(model: np.ndarray, human: np.ndarray, patients: list[str] | None = None) -> PairTable:
    cases, readers = model.shape
    human = human.copy()
    human[:, range(readers), range(readers)] = np.nan
    names = patients or [f"p{k}" for k in range(cases)]
    return PairTable(tuple("ABCDEFGH"[:readers]), tuple(names), model, human, np.ones(cases, dtype=bool))


def symmetric(values: np.ndarray) -> np.ndarray:
    return (values + values.transpose(0, 2, 1)) / 2


def random_table(cases: int = 12, readers: int = 6, seed: int = 0) -> PairTable:
    rng = np.random.default_rng(seed)
    human = symmetric(rng.uniform(0.6, 0.9, (cases, readers, readers)))
    return table(rng.uniform(0.6, 0.9, (cases, readers)), human)


def brute_force(source: PairTable, patients: list[int], readers: list[int]) -> float:
    """D of drawn cases and readers, pair by pair; a reader is never paired with himself."""
    differences = []
    for case in patients:
        ours = [source.model[case, r] for r in readers]
        theirs = [
            source.human[case, a, b]
            for place, a in enumerate(readers)
            for b in readers[place + 1 :]
            if a != b and not np.isnan(source.human[case, a, b])
        ]
        ours = [value for value in ours if not np.isnan(value)]
        if ours and theirs:
            differences.append(np.mean(ours) - np.mean(theirs))
    return float(np.mean(differences)) if differences else np.nan


@pytest.mark.parametrize("gap", [False, True])
def test_drawn_differences_equal_those_pair_by_pair(monkeypatch, gap):
    source = random_table(4, 5)
    if gap:
        source.model[1, 2] = np.nan
        source.human[1, 2] = source.human[1, :, 2] = np.nan
    readers, patients = [0, 0, 2, 3, 3], [1, 1, 0, 3]
    counts = iter([np.bincount(readers, minlength=5), np.bincount(patients, minlength=4)])
    monkeypatch.setattr("medseg.evaluation.two_way.draw_counts", lambda *_: iter([next(counts)[None].astype(float)]))
    assert two_way_draws(source, 1, 0) == pytest.approx([brute_force(source, patients, readers)])


def test_a_draw_of_one_reader_only_has_no_human_pair(monkeypatch):
    counts = iter([np.array([[5.0, 0, 0, 0, 0]]), np.ones((1, 4))])
    monkeypatch.setattr("medseg.evaluation.two_way.draw_counts", lambda *_: iter([next(counts)]))
    assert np.isnan(two_way_draws(random_table(4, 5), 1, 0)).all()


def test_equal_scores_of_all_pairs_have_an_interval_without_width():
    found = two_way(table(np.full((10, 6), 0.7), np.full((10, 6, 6), 0.8)), draws=200)
    assert found.ci95 == pytest.approx((-0.1, -0.1)) and found.mean == pytest.approx(-0.1)


def test_readers_who_differ_widen_the_interval():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.01, (30, 6))
    same = table(0.7 + noise, np.full((30, 6, 6), 0.7))
    habits = table(0.7 + noise + np.linspace(-0.2, 0.2, 6), np.full((30, 6, 6), 0.7))
    widths = [high - low for low, high in (two_way(t, draws=500).ci95 or (0, 0) for t in (same, habits))]
    assert widths[1] > 5 * widths[0]


def test_below_five_readers_ranges_stand_in_for_the_interval():
    source = random_table(10, MIN_RATERS - 1)
    found = two_way(source)
    assert found.ci95 is None and found.draws == 0 and "fewer than 5" in found.rule
    assert found.range == (min(found.without.values()), max(found.without.values()))
    assert found.without["B"] == pytest.approx(source.without("B").differences().mean())


def test_two_readers_cannot_be_thinned_out():
    found = two_way(random_table(10, 2))
    assert found.range is None and found.without == {} and found.reason == "fewer than three readers"


def test_anonymous_readers_have_no_second_way():
    found = two_way(random_table(), anonymous=True)
    assert found.ci95 is None and found.range is None and found.reason == "the readers are anonymous"


def test_cases_of_one_patient_are_drawn_together():
    source = random_table(6, 5)
    twice = PairTable(source.raters, ("a", "a", "b", "b", "c", "c"), source.model, source.human, source.marked)
    found = two_way(twice, draws=100)
    assert found.n == 3 and found.mean == pytest.approx(source.differences().mean())


def test_the_same_seed_gives_the_same_interval():
    assert two_way(random_table(), seed=4, draws=300).ci95 == two_way(random_table(), seed=4, draws=300).ci95
