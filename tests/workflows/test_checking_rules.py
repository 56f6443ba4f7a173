"""What shows when cases are laid side by side, told from headers of image files that are only made up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset
from medseg.report.doctor import CaseRow, Problem
from medseg.workflows.checking_case import Examined
from medseg.workflows.checking_image import ImageFacts
from medseg.workflows.checking_rules import comparison_problems

GRID = Geometry((10, 10, 10), np.eye(4))


def problems(
    *facts: ImageFacts, splits: Sequence[str] = (), patients: Sequence[str] = (), volumes: Sequence[float] = ()
) -> list[Problem]:
    """Of as many cases as there are facts."""
    entries, examined = [], []
    for n, fact in enumerate(facts):
        split = splits[n] if splits else "train"
        patient = patients[n] if patients else f"p{n}"
        entries.append(CaseEntry(f"c{n}", Path(f"c{n}"), {}, patient=patient, split=split))
        read = {"A": {"liver": volumes[n]}} if volumes else {}
        row = CaseRow(f"c{n}", patient, None, split, ("A",), volumes_ml=read, kernel=fact.kernel,
                      spacing_mm=fact.geometry.spacing_mm)  # fmt: skip
        examined.append(Examined(row, (), fact))
    dataset = Dataset(Path(), LabelSet({"background": 0, "liver": 1}), ("A",), tuple(entries))
    return list(comparison_problems(dataset, examined))


def kernel(name: str) -> ImageFacts:
    return ImageFacts(GRID, kernel=name)


def person(key: str) -> ImageFacts:
    return ImageFacts(GRID, person=key)


def test_kernels_of_two_families_are_a_warning_with_the_counts() -> None:
    (found,) = problems(kernel("B30f"), kernel("B70f"), kernel("STANDARD"), kernel(""))

    assert found.severity == "warning"
    assert "1 cases with a sharp one (B70f); 2 cases with a smooth one (B30f, STANDARD)" in found.message


@pytest.mark.parametrize("names", [("B30f", "STANDARD"), ("B30f", "unheard of"), ("", "")])
def test_one_family_and_unknown_kernels_are_no_mixture(names: tuple[str, ...]) -> None:
    assert problems(*(kernel(name) for name in names)) == []


def test_one_person_under_two_patients_is_an_error_across_splits_and_the_key_is_never_shown() -> None:
    (across,) = problems(person("SECRET"), person("SECRET"), splits=("train", "test"))
    (within,) = problems(person("SECRET"), person("SECRET"))

    assert (across.severity, within.severity) == ("error", "warning")
    assert "cases c0, c1 are of one person" in across.message and "SECRET" not in across.message + across.do


def test_one_person_under_one_patient_is_right() -> None:
    assert problems(person("x"), person("x"), patients=("p", "p")) == []


def test_a_placeholder_for_nearly_all_is_no_person() -> None:
    assert problems(*(person("ANONYMOUS") for _ in range(5)), person("x")) == []


def test_one_series_in_two_folders_is_an_error() -> None:
    twice = ImageFacts(GRID, series="series_0b20d139")

    (found,) = problems(twice, twice, ImageFacts(GRID, series="series_ffffffff"))

    assert found.severity == "error" and found.message == "cases c0, c1 hold the same DICOM series"


def test_a_spacing_that_stands_apart_is_told_with_the_rule() -> None:
    thick = ImageFacts(Geometry((10, 10, 10), np.diag([1.0, 1.0, 5.0, 1.0])))

    (found,) = problems(*[ImageFacts(GRID)] * 8, thick)

    assert found.case == "c8"
    assert "spacing along Z is 5 mm, against 1 mm in the median of 9 cases" in found.message
    assert "modified z-score of the logarithm above 3.5" in found.message


def test_a_volume_that_stands_apart_is_told_and_seven_cases_tell_nothing() -> None:
    usual = [1500.0, 1400.0, 1600.0, 1450.0, 1550.0, 1520.0]

    (found,) = problems(*[ImageFacts(GRID)] * 8, volumes=[*usual, 1480.0, 12.0])

    assert found.case == "c7"
    assert "case c7, rater A: liver has 12 ml, against 1490 ml in the median of 8 readings" in found.message
    assert problems(*[ImageFacts(GRID)] * 7, volumes=[*usual, 12.0]) == []
