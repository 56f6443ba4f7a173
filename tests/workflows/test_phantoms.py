"""The embedded data set on disk: readable, repeatable, its experts written down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import OutputExistsError, UsageError
from medseg.io.manifest import read_case, read_dataset
from medseg.phantom.experts import Expert, sample_experts
from medseg.workflows import phantom

SPACING_MM = 16.0


def write(folder: Path, **more: Any) -> Path:
    return phantom(folder, **({"cases": 3, "experts": 2, "seed": 1, "spacing_mm": SPACING_MM} | more)).parent


def test_what_was_written_can_be_read(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path / "d"))

    cases = [read_case(dataset, entry) for entry in dataset.cases]
    assert [case.id for case in cases] == ["c001", "c002", "c003"]
    assert all(sorted(case.raters) == ["A", "B"] for case in cases)
    assert all(case.truth is not None and case.truth.mask("liver").any() for case in cases)
    assert dataset.labels.mirror_pairs == (("kidney_left", "kidney_right"),)


def test_the_same_seed_writes_the_same_voxels_however_many_cases_are_asked_for(tmp_path: Path) -> None:
    few, many = read_dataset(write(tmp_path / "few", cases=2)), read_dataset(write(tmp_path / "many"))

    for entry in few.cases:
        one, other = read_case(few, entry), read_case(many, many.entry(entry.id))
        assert np.array_equal(one.volume.hu, other.volume.hu)
        assert np.array_equal(one.raters["B"].labels, other.raters["B"].labels)


def test_a_third_of_the_cases_and_the_last_ones_are_the_test_set(tmp_path: Path) -> None:
    dataset = read_dataset(write(tmp_path / "d", cases=4))

    assert [entry.split for entry in dataset.cases] == ["train", "train", "train", "test"]
    assert [e.split for e in read_dataset(write(tmp_path / "e", test=2)).cases] == ["train", "test", "test"]


def test_the_experts_habits_and_what_they_overlooked_are_stored(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", cases=6)

    facts = json.loads((folder / "experts.json").read_text())

    assert tuple(Expert(**habits) for habits in facts["experts"]) == sample_experts(2, 1)
    assert list(facts["cases"]) == [f"c00{number}" for number in range(1, 7)]
    for case in facts["cases"].values():
        assert all(0 <= lesion < case["lesions"] for lost in case["overlooked"].values() for lesion in lost)


def test_experts_are_missing_but_never_all_of_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "d", cases=12, missing=0.8)

    readers = [len(entry.raters) for entry in read_dataset(folder).cases]

    assert min(readers) == 1
    assert sum(readers) < 20
    notes = json.loads((folder / "experts.json").read_text())["cases"]
    for entry in read_dataset(folder).cases:
        assert list(notes[entry.id]["overlooked"]) == list(entry.raters)


def test_progress_is_told_case_by_case(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    write(tmp_path / "d", progress=lambda what, done, total, note: told.append((done, total)))

    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    "wrong, expected",
    [
        ({"cases": 0}, r"--cases: out of range; expected 1 to 100000, got 0"),
        ({"experts": 0}, "--experts"),
        ({"seed": -1}, "--seed"),
        ({"test": 4}, r"--test: out of range; expected 0 to 3, got 4"),
        ({"missing": 1.0}, "--missing"),
        ({"spacing_mm": 0.1}, "--spacing-mm"),
    ],
)
def test_numbers_out_of_range_are_refused_before_anything_is_written(
    tmp_path: Path, wrong: dict[str, Any], expected: str
) -> None:
    with pytest.raises(UsageError, match=expected):
        write(tmp_path / "d", **wrong)
    assert not (tmp_path / "d").exists()


def test_an_existing_data_set_is_kept_unless_overwrite(tmp_path: Path) -> None:
    folder = write(tmp_path / "d")

    with pytest.raises(OutputExistsError, match="--overwrite"):
        write(folder)
    write(folder, cases=1, overwrite=True)
    assert len(read_dataset(folder).cases) == len(list((folder / "images").iterdir())) == 1
