"""Folds: by patient, even, repeatable."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.folds import draw_folds, read_folds, split_fold, write_folds
from medseg.errors import ConfigError, FileReadError

PATIENTS = {f"c{number:02d}": f"p{number // 2}" for number in range(20)}  # ten patients with two cases each


@settings(deadline=None, max_examples=30)
@given(sizes=st.lists(st.integers(1, 5), min_size=3, max_size=12), count=st.integers(2, 3), seed=st.integers(0, 99))
def test_no_patient_is_split_and_no_case_lost(sizes: list[int], count: int, seed: int) -> None:
    patients = {f"c{p}_{n}": f"p{p}" for p, size in enumerate(sizes) for n in range(size)}

    folds = draw_folds(patients, count, seed)

    assert sorted(case for fold in folds for case in fold) == sorted(patients)
    homes = [{patients[case] for case in fold} for fold in folds]
    assert sum(map(len, homes)) == len(set(patients.values()))
    assert all(homes)


def test_folds_are_as_even_as_patients_allow() -> None:
    assert [len(fold) for fold in draw_folds(PATIENTS, 5, seed=1)] == [4] * 5


def test_folds_depend_on_the_seed_and_on_nothing_else() -> None:
    backwards = dict(reversed(PATIENTS.items()))

    assert draw_folds(PATIENTS, 5, seed=1) == draw_folds(backwards, 5, seed=1)
    assert draw_folds(PATIENTS, 5, seed=1) != draw_folds(PATIENTS, 5, seed=2)


def test_fewer_patients_than_folds_is_an_error_that_says_both() -> None:
    with pytest.raises(ConfigError, match=r"folds\.count.*at most 10, got 11"):
        draw_folds(PATIENTS, 11, seed=0)


def test_folds_come_back_from_their_file(tmp_path: Path) -> None:
    folds = draw_folds(PATIENTS, 3, seed=0)

    write_folds(tmp_path / "folds.json", folds)

    assert read_folds(tmp_path / "folds.json") == folds


def test_one_fold_is_held_out() -> None:
    assert split_fold([["a"], ["c", "b"], ["d"]], 1) == (["a", "d"], ["c", "b"])


def test_all_trains_on_every_case() -> None:
    assert split_fold([["b"], ["a"]], "all") == (["a", "b"], [])


def test_a_fold_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"0 to 1 or all, got 2"):
        split_fold([["a"], ["b"]], 2)


@pytest.mark.parametrize("text", ["", "{", '{"schema": "medseg.folds/1"}', '{"folds": 3}'])
def test_damaged_folds_are_an_error_that_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "folds.json").write_text(text)
    with pytest.raises(FileReadError, match=r"^folds\.json: the folds cannot be read"):
        read_folds(tmp_path / "folds.json")
