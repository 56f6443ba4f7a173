"""`check`: everything that is wrong with a data set at once, each fault with its case and a way to mend it."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from medseg.errors import FileReadError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.manifest import CaseEntry, Dataset, LabelFile, write_dataset
from medseg.workflows import check
from medseg.workflows.checking import CheckReport, Problem, render

LABELS = LabelSet({"background": 0, "left_kidney": 1, "right_kidney": 2}, (("left_kidney", "right_kidney"),))
GRID = Geometry((20, 16, 12), np.diag([1.0, 1.0, 2.0, 1.0]))  # X grows to the patient's right


def bodies(thickness: int = 2) -> np.ndarray:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[1:3, 2:4, 1 : 1 + thickness] = 1
    labels[7:9, 2:4, 1 : 1 + thickness] = 2
    return labels


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Three sound cases, each read by A and B."""
    cases = []
    for number, case in enumerate(("c1", "c2", "c3")):
        hu = np.full(GRID.shape, 40 + number, np.float32)
        hu[0] = -1000
        nifti.write_volume(tmp_path / f"{case}.nii.gz", Volume(hu, GRID))
        for rater, thickness in (("A", 2), ("B", 3)):
            nifti.write_labels(tmp_path / rater / f"{case}.nii.gz", bodies(thickness), GRID)
        raters = {rater: LabelFile(tmp_path / rater / f"{case}.nii.gz") for rater in "AB"}
        cases.append(CaseEntry(case, tmp_path / f"{case}.nii.gz", raters, split="train"))
    return Dataset(tmp_path, LABELS, ("A", "B"), tuple(cases))


def changed(dataset: Dataset, *cases: CaseEntry, raters: tuple[str, ...] = ("A", "B")) -> Dataset:
    return Dataset(dataset.root, dataset.labels, raters, cases)


def only_problem(report: CheckReport) -> Problem:
    assert len(report.problems) == 1, report.problems
    return report.problems[0]


def test_a_sound_data_set_is_ok_and_listed(dataset: Dataset) -> None:
    report = check(dataset, deep=True)

    row = report.cases[0]
    assert report.ok and report.problems == ()
    assert (row.shape, row.spacing_mm, row.orientation) == ((20, 16, 12), (1, 1, 2), "RAS")
    assert row.hu_range == (-1000, 40)
    assert row.volumes_ml["A"] == pytest.approx({"left_kidney": 0.016, "right_kidney": 0.016})  # 8 voxels of 2 mm3
    assert row.volumes_ml["B"]["left_kidney"] == pytest.approx(0.024)


def test_a_path_is_read_as_a_data_set(dataset: Dataset) -> None:
    write_dataset(dataset)

    assert check(dataset.root) == check(dataset)
    with pytest.raises(FileReadError):
        check(dataset.root / "absent")


def test_all_problems_of_all_cases_are_collected(dataset: Dataset) -> None:
    (dataset.root / "c1.nii.gz").unlink()
    content = (dataset.root / "A" / "c1.nii.gz").read_bytes()
    (dataset.root / "A" / "c1.nii.gz").write_bytes(content[:-30])
    nib.save(nib.Nifti1Image(np.full(GRID.shape, np.nan), GRID.affine), dataset.root / "c2.nii.gz")
    nifti.write_labels(dataset.root / "B" / "c3.nii.gz", bodies() * 4, GRID)

    report = check(dataset, deep=True)

    assert not report.ok
    assert [(problem.severity, problem.case) for problem in report.problems] == [
        ("error", "c1"),
        ("error", "c1"),
        ("error", "c2"),
        ("error", "c3"),
    ]
    found = [problem.message for problem in report.problems]
    assert "case c1, image c1.nii.gz: no such file" in found[0]
    assert "case c1, rater A (A/c1.nii.gz): the file is truncated" in found[1]
    assert "3840 of 3840 voxels are NaN" in found[2]
    assert "case c3, rater B" in found[3] and "got 4, 8" in found[3]
    assert all(problem.do for problem in report.problems)
    assert [row.case for row in report.cases] == ["c1", "c2", "c3"] and report.cases[0].shape is None


@pytest.mark.parametrize("fault", ["spacing", "origin", "orientation", "shape"])
def test_labels_on_another_grid_are_an_error_that_names_the_difference(dataset: Dataset, fault: str) -> None:
    affine, labels = GRID.affine.copy(), bodies(3)
    if fault == "shape":
        labels = labels[:-1]
    else:
        affine[{"spacing": (2, 2), "origin": (0, 3), "orientation": (1, 1)}[fault]] = (
            -1 if fault == "orientation" else 3
        )
    nifti.write_labels(dataset.root / "B" / "c2.nii.gz", labels, Geometry(labels.shape, affine))

    problem = only_problem(check(dataset, deep=True))

    assert (problem.severity, problem.case) == ("error", "c2")
    assert "rater B" in problem.message and f"got {fault} " in problem.message
    assert "Export the labels on the image's own grid" in problem.do


def test_a_case_without_rater_is_an_error_unless_it_is_for_test_or_no_rater_is_declared(dataset: Dataset) -> None:
    bare = CaseEntry("c9", dataset.cases[0].image, {}, split="train")

    problem = only_problem(check(changed(dataset, *dataset.cases[1:], bare)))
    for_test = only_problem(check(changed(dataset, *dataset.cases[1:], replace(bare, split="test"))))
    to_predict = only_problem(check(changed(dataset, bare, raters=())))

    assert (problem.severity, problem.case) == ("error", "c9") and "no rater" in problem.message
    assert for_test.severity == "warning" and "predicted and not judged" in for_test.do
    assert to_predict.severity == "warning" and "can only be predicted" in to_predict.message


def test_one_patient_in_two_splits_is_an_error(dataset: Dataset) -> None:
    first, second, _ = dataset.cases
    train = CaseEntry("c1", first.image, first.raters, patient="p1", split="train")
    test = CaseEntry("c2", second.image, second.raters, patient="p1", split="test")

    problem = only_problem(check(changed(dataset, train, test)))

    assert problem.severity == "error"
    assert problem.message == "patient p1 is in several splits: test, train (c1, c2)"


def test_a_reading_without_any_label_is_an_error_unless_the_rater_says_what_they_looked_for(dataset: Dataset) -> None:
    nifti.write_labels(dataset.root / "A" / "c1.nii.gz", bodies() * 0, GRID)
    first, *others = dataset.cases
    looked = LabelFile(first.raters["A"].path, labelled=("left_kidney", "right_kidney"))
    declared = CaseEntry("c1", first.image, {**first.raters, "A": looked}, split="train")

    problem = only_problem(check(dataset, deep=True))

    assert problem.severity == "error" and problem.message == "case c1, rater A: nothing is labelled"
    assert "take the file out" in problem.do and "`labelled:`" in problem.do
    assert check(changed(dataset, declared, *others), deep=True).problems == ()


def test_a_label_that_nobody_drew_is_a_warning(dataset: Dataset) -> None:
    labels = LabelSet({**LABELS.values, "spleen": 3}, LABELS.mirror_pairs)

    problem = only_problem(check(Dataset(dataset.root, labels, dataset.raters, dataset.cases), deep=True))

    assert problem.severity == "warning" and problem.message == "spleen is in no reading of any case"


def test_identical_raters_are_a_warning(dataset: Dataset) -> None:
    nifti.write_labels(dataset.root / "B" / "c3.nii.gz", bodies(), GRID)

    problem = only_problem(check(dataset, deep=True))

    assert problem.severity == "warning" and "raters A and B are identical" in problem.message


def test_swapped_sides_are_a_warning_with_the_distance(dataset: Dataset) -> None:
    swapped = np.array([0, 2, 1], np.uint8)[bodies()]
    nifti.write_labels(dataset.root / "A" / "c1.nii.gz", swapped, GRID)

    problem = only_problem(check(dataset, deep=True))

    assert problem.severity == "warning"
    assert "case c1, rater A: left_kidney lies 6 mm to the patient's right of right_kidney" in problem.message


def test_a_rater_who_read_nothing_is_a_warning(dataset: Dataset) -> None:
    problem = only_problem(check(changed(dataset, *dataset.cases, raters=("A", "B", "C"))))

    assert problem.message == "rater C has read no case"


def test_a_structure_outside_labelled_is_a_warning(dataset: Dataset) -> None:
    first = dataset.cases[0]
    raters = {**first.raters, "A": LabelFile(first.raters["A"].path, labelled=("left_kidney",))}

    problem = only_problem(check(changed(dataset, CaseEntry("c1", first.image, raters)), deep=True))

    assert "rater A: right_kidney is drawn but not in `labelled`" in problem.message


@pytest.mark.parametrize(
    ("slope", "intercept", "message"),
    [(0.001, 0, "99 % of them span only 1"), (1, 1024, "none is below 0"), (60, 0, "outside any CT scale")],
)
def test_values_that_are_no_hu_are_an_error(dataset: Dataset, slope: float, intercept: float, message: str) -> None:
    hu = np.full(GRID.shape, 40, np.float32)
    hu[0] = -1000
    nifti.write_volume(dataset.root / "c1.nii.gz", Volume(hu * slope + intercept, GRID))

    problem = only_problem(check(dataset, deep=True))

    assert (problem.severity, problem.case) == ("error", "c1")
    assert "the values are no HU" in problem.message and message in problem.message


def test_the_truth_is_checked_like_a_reading(dataset: Dataset) -> None:
    first = dataset.cases[0]
    nifti.write_labels(dataset.root / "truth.nii.gz", bodies()[1:], Geometry((19, 16, 12), GRID.affine))
    entry = CaseEntry("c1", first.image, first.raters, truth=dataset.root / "truth.nii.gz")

    report = check(changed(dataset, entry), deep=True)

    assert "case c1, truth: the label map lies on another grid" in only_problem(report).message
    assert set(report.cases[0].volumes_ml) == {"A", "B", "truth"}


def test_json_and_tables_hold_cases_problems_and_how_to_mend_them(dataset: Dataset) -> None:
    (dataset.root / "B" / "c2.nii.gz").unlink()
    report = check(dataset, deep=True)
    console = Console(width=200, record=True, file=StringIO())

    console.print(render(report))

    data, text = json.loads(report.to_json()), console.export_text()
    assert data["ok"] is False and data["cases"][1]["volumes_ml"].keys() == {"A"}
    assert data["problems"][0]["do"] == "Check the path."
    assert "20 x 16 x 12" in text and "no such file" in text and "Check the path." in text
    assert "3 cases, 2 raters: 1 error, 0 warnings. Looked at: voxels of 3 cases" in text
    assert str(dataset.root) not in text + report.to_json()
