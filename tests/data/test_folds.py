"""Folds: by patient, even, repeatable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.data.folds import (
    check_folds,
    draw_folds,
    fold_units,
    read_folds,
    read_own_folds,
    read_settled,
    run_folders,
    split_fold,
    unit_hash,
    write_folds,
)
from medseg.errors import ConfigError, FileReadError, InputError

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


# ---- by group


@dataclass(frozen=True)
class FoldedCase:
    id: str
    patient: str
    group: str | None


SITES = [FoldedCase(f"c{number}", f"p{number // 2}", f"site {number // 4}") for number in range(12)]


def test_one_fold_per_group_leaves_one_group_out_at_a_time() -> None:
    folds = draw_folds(fold_units(SITES, "group"), 3, seed=0)

    assert sorted(sorted(fold) for fold in folds) == [
        ["c0", "c1", "c2", "c3"], ["c10", "c11", "c8", "c9"], ["c4", "c5", "c6", "c7"]
    ]  # fmt: skip


def test_groups_that_share_a_patient_stay_together() -> None:
    traveller = [*SITES, FoldedCase("c12", "p0", "site 2")]

    units = fold_units(traveller, "group")

    assert units["c0"] == units["c12"] == units["c8"] != units["c4"]


def test_more_folds_than_groups_says_how_many_there_can_be() -> None:
    with pytest.raises(ConfigError, match=r"fewer training patients \(or groups\) than folds.*at most 3, got 5"):
        draw_folds(fold_units(SITES, "group"), 5, seed=0)


def test_folds_by_group_need_a_group_for_every_case() -> None:
    with pytest.raises(ConfigError, match=r"folds\.by: folds by group need.*got none for c12\. "):
        fold_units([*SITES, FoldedCase("c12", "p9", None)], "group")


# ---- folds of the user


def test_a_patient_in_two_folds_is_refused_by_a_hash_and_the_cases() -> None:
    units = {"a": "Miller 1951", "b": "Miller 1951", "c": "q"}

    with pytest.raises(InputError) as refused:
        check_folds([["a"], ["b", "c"]], units, where="mine.json")

    told = str(refused.value)
    assert told.startswith("mine.json: a patient or group is in several folds")
    assert f"{unit_hash('Miller 1951', units)}: a in fold 0 and b in fold 1" in told and "Miller" not in told


def test_the_hash_of_a_patient_cannot_be_looked_up_without_the_data_set() -> None:
    assert unit_hash("p", {"a": "p", "b": "q"}) != unit_hash("p", {"a": "p", "b": "r"})


@pytest.mark.parametrize(
    ("folds", "expected"),
    [
        ([["a"], ["b", "a"]], r"a case is there twice; got a in fold 0 and 1"),
        ([["a"]], r"expected 1 cases, got 2, and besides b\."),
        ([["a", "b"], ["x"]], r"got 2, without x\."),
        ([["a", "b"], []], r"a fold is empty; got no case in fold 1"),
    ],
)
def test_folds_must_hold_every_case_once(folds: list[list[str]], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        check_folds(folds, {"a": "p", "b": "q"})


@pytest.mark.parametrize(
    "text",
    [
        '{"folds": [["a"], ["b", "c"]]}',
        '[["a"], ["b", "c"]]',
        '[{"train": ["c", "b"], "val": ["a"]}, {"train": ["a"], "val": ["b", "c"]}]',
    ],
    ids=["ours", "a list", "of nnU-Net"],
)
def test_folds_are_read_in_every_form(tmp_path: Path, text: str) -> None:
    (tmp_path / "folds.json").write_text(text)

    assert read_own_folds(tmp_path / "folds.json") == [["a"], ["b", "c"]]


def test_a_single_split_is_no_folds_and_the_message_says_how_to_write_it(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text('[{"train": ["b", "c"], "val": ["a"]}]')

    with pytest.raises(
        InputError, match=r"split 0 differs by b, c\. Write \{\"folds\": \[\[held out\], \[others\]\]\}"
    ):
        read_own_folds(tmp_path / "s.json")


@pytest.mark.parametrize("text", ["", "[]", "[1]", '[{"train": ["a"]}]', '{"folds": [[1]]}', "[" * 100_000])
def test_what_is_no_folds_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.json").write_text(text)

    with pytest.raises(FileReadError, match=r"^mine\.json: the folds cannot be read.*splits_final\.json"):
        read_own_folds(tmp_path / "mine.json")


def test_what_was_settled_with_the_folds_comes_back(tmp_path: Path) -> None:
    write_folds(tmp_path / "folds.json", [["a"]], spacing_mm=[1, 1, 2])

    assert read_settled(tmp_path / "folds.json") == {"spacing_mm": [1, 1, 2]}


def test_the_folds_of_a_run_are_found_by_number(tmp_path: Path) -> None:
    for name in ("fold_10", "fold_2", "fold_mine", "fold_3"):
        (tmp_path / name).mkdir()
    for name in ("fold_10", "fold_2", "fold_mine"):
        (tmp_path / name / "run.json").touch()

    assert [path.name for path in run_folders(tmp_path)] == ["fold_2", "fold_10"]
    assert run_folders(tmp_path / "fold_2") == [tmp_path / "fold_2"]
    assert run_folders(tmp_path / "fold_3") == []
