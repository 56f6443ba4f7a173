"""`evaluate` on tiny data sets."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from medseg.errors import FileReadError, GeometryError, LabelError, OutputExistsError, UsageError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset, LabelFile, write_dataset
from medseg.io.nifti import write_labels
from medseg.workflows.evaluation import evaluate, score_table

LABELS = LabelSet({"background": 0, "liver": 5, "lesion": 2})
GRID = Geometry((12, 8, 8), np.diag([1.0, 1.0, 3.0, 1.0]))


def volume(liver: int, lesion: int = 0) -> np.ndarray:
    """A liver of `liver` columns and a lesion of `lesion` columns, 4 x 6 voxels each."""
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    labels[:liver, 2:6, 1:7] = 5
    labels[10 : 10 + lesion, 2:6, 1:7] = 2
    return labels


@pytest.fixture
def dataset(tmp_path):
    """Two cases: in c1 both raters mark liver and lesion; in c2 rater B did not read and nobody marks the lesion."""
    root = tmp_path / "data"
    files = {"A/c1": volume(4, 1), "B/c1": volume(5, 2), "T/c1": volume(4, 2), "A/c2": volume(6), "T/c2": volume(6)}
    for name, labels in files.items():
        write_labels(root / f"{name}.nii.gz", labels, GRID)
    cases = (
        CaseEntry("c1", root / "c1.nii.gz", {r: LabelFile(root / f"{r}/c1.nii.gz") for r in "AB"}, root / "T/c1.nii.gz",
                  split="test"),
        CaseEntry("c2", root / "c2.nii.gz", {"A": LabelFile(root / "A/c2.nii.gz")}, root / "T/c2.nii.gz"),
    )  # fmt: skip
    result = Dataset(root, LABELS, ("A", "B"), cases)
    write_dataset(result)
    return result


def predict(folder, **volumes):
    for case, labels in volumes.items():
        write_labels(folder / f"{case}.nii.gz", labels, GRID)
    return folder


@pytest.fixture
def predictions(tmp_path):
    return predict(tmp_path / "net", c1=volume(4, 1), c2=volume(3))


def read_rows(out):
    with open(out / "scores.csv", newline="") as stream:
        return {(row["case"], row["label"], row["rater"]): row for row in csv.DictReader(stream)}


def test_every_rater_and_the_truth_get_a_line(dataset, predictions, tmp_path):
    evaluate(dataset, predictions, tmp_path / "out")
    rows = read_rows(tmp_path / "out")
    assert set(rows) == {(c, label, r) for label in ("liver", "lesion") for c, r in
                         (("c1", "A"), ("c1", "B"), ("c1", "truth"), ("c2", "A"), ("c2", "truth"))}  # fmt: skip
    assert float(rows["c1", "liver", "A"]["dice"]) == 1.0
    assert float(rows["c1", "liver", "B"]["dice"]) == pytest.approx(8 / 9)
    assert float(rows["c2", "liver", "A"]["dice"]) == pytest.approx(6 / 9)
    assert float(rows["c1", "lesion", "truth"]["dice"]) == pytest.approx(2 / 3)
    assert float(rows["c1", "liver", "B"]["volume_reference_ml"]) == pytest.approx(5 * 24 * 0.003)


def test_means_are_over_cases_that_were_read_and_marked(dataset, predictions, tmp_path):
    result = evaluate(dataset, predictions, tmp_path / "out")
    liver, lesion = result["labels"]["liver"], result["labels"]["lesion"]
    assert liver["A"]["dice"]["mean"] == pytest.approx((1 + 6 / 9) / 2) and liver["A"]["dice"]["n"] == 2
    assert liver["B"]["dice"]["n"] == 1
    assert lesion["A"]["dice"]["n"] == 1  # nobody marked the lesion of c2
    assert result["empty_rules"]["dice"].startswith("one mask empty: 0")


def test_the_data_set_may_be_named_by_its_folder(dataset, predictions, tmp_path):
    by_path = evaluate(dataset.root, predictions, tmp_path / "out")
    assert by_path["schema"] == "medseg.evaluation/1"
    assert json.loads((tmp_path / "out/evaluation.json").read_text()) == by_path


def test_a_missed_structure_counts_zero_and_its_distance_as_the_diagonal(dataset, tmp_path):
    result = evaluate(dataset, predict(tmp_path / "net", c1=volume(0, 1), c2=volume(6)), tmp_path / "out", split="test")
    liver = result["labels"]["liver"]["A"]
    assert liver["dice"]["mean"] == 0.0 and liver["missed"] == 1 and liver["false_positives"] == 0
    assert liver["hd95"]["mean"] == pytest.approx(np.linalg.norm([11, 7, 21])) and liver["hd95"]["infinite"] == 1
    row = read_rows(tmp_path / "out")["c1", "liver", "A"]
    assert row["hd95"] == "" and row["flag"] == "one_empty"


def test_a_false_positive_is_a_zero(dataset, tmp_path):
    result = evaluate(dataset, predict(tmp_path / "net", c1=volume(4, 1), c2=volume(6, 1)), tmp_path / "out")
    lesion = result["labels"]["lesion"]["A"]
    assert lesion["dice"]["mean"] == pytest.approx(0.5) and lesion["false_positives"] == 1


def test_only_the_split_is_scored(dataset, predictions, tmp_path):
    result = evaluate(dataset, predictions, tmp_path / "out", split="test")
    assert result["design"]["n_cases"] == 1
    with pytest.raises(UsageError, match="split 'tset'"):
        evaluate(dataset, predictions, tmp_path / "out2", split="tset")


def test_missing_predictions_are_listed_and_refused(dataset, tmp_path):
    folder = predict(tmp_path / "net", c1=volume(4))
    with pytest.raises(FileReadError, match=r"1 of 2 cases have no prediction.*got c2"):
        evaluate(dataset, folder, tmp_path / "out")
    result = evaluate(dataset, folder, tmp_path / "out", allow_missing=True)
    assert result["design"]["missing_predictions"] == ["c2"] and result["design"]["n_cases"] == 1


def test_a_folder_without_predictions_is_refused(dataset, tmp_path):
    with pytest.raises(FileReadError, match="no such folder"):
        evaluate(dataset, tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no prediction of any case"):
        evaluate(dataset, tmp_path / "empty", tmp_path / "out", allow_missing=True)
    assert not (tmp_path / "out").exists()


def test_a_prediction_on_another_grid_is_refused_with_numbers(dataset, tmp_path):
    folder = predict(tmp_path / "net", c2=volume(3))
    shifted = GRID.affine.copy()
    shifted[0, 3] = 5.0
    write_labels(folder / "c1.nii.gz", volume(4), Geometry(GRID.shape, shifted))
    with pytest.raises(GeometryError, match=r"case c1, net: another grid than A.*origin"):
        evaluate(dataset, folder, tmp_path / "out")


def test_a_prediction_with_flipped_axes_is_turned_exactly(dataset, predictions, tmp_path):
    flipped = GRID.affine.copy()
    flipped[0, 0], flipped[0, 3] = -1.0, GRID.shape[0] - 1
    write_labels(predictions / "c1.nii.gz", volume(4, 1)[::-1], Geometry(GRID.shape, flipped))
    result = evaluate(dataset, predictions, tmp_path / "out", split="test")
    assert result["labels"]["liver"]["A"]["dice"]["mean"] == 1.0


def test_an_unknown_value_in_a_prediction_names_the_case(dataset, predictions, tmp_path):
    write_labels(predictions / "c1.nii.gz", volume(4) + 3, GRID)
    with pytest.raises(LabelError, match="case c1, model net"):
        evaluate(dataset, predictions, tmp_path / "out")


def test_an_earlier_result_is_kept_unless_told_otherwise(dataset, predictions, tmp_path):
    evaluate(dataset, predictions, tmp_path / "out")
    with pytest.raises(OutputExistsError):
        evaluate(dataset, predictions, tmp_path / "out")
    evaluate(dataset, predictions, tmp_path / "out", overwrite=True)


@pytest.mark.parametrize("tolerance", [-1.0, float("nan"), float("inf")])
def test_a_senseless_tolerance_is_refused(dataset, predictions, tmp_path, tolerance):
    with pytest.raises(UsageError, match="tolerance"):
        evaluate(dataset, predictions, tmp_path / "out", tolerance_mm=tolerance)


def test_the_screen_table_shows_every_label_and_rater(dataset, predictions, tmp_path):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(score_table(evaluate(dataset, predictions, tmp_path / "out")))
    text = console.export_text()
    assert all(word in text for word in ("liver", "lesion", "truth", "HD95 (mm)", "0.833"))


def test_files_hold_no_path_of_the_machine(dataset, predictions, tmp_path):
    result = evaluate(dataset, predictions, tmp_path / "out")
    assert set(result["provenance"]["input_sha256"]) == {
        "A/c1.nii.gz", "A/c2.nii.gz", "B/c1.nii.gz", "T/c1.nii.gz", "T/c2.nii.gz", "net/c1.nii.gz", "net/c2.nii.gz",
    }  # fmt: skip
    assert str(tmp_path) not in (tmp_path / "out/evaluation.json").read_text()


def test_progress_is_told_case_by_case(dataset, predictions, tmp_path):
    told: list[tuple[int, int]] = []
    evaluate(dataset, predictions, tmp_path / "out", on_case=lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def masks_file(root, rater, case, **slabs):
    """A binary file for each structure of a rater; livers of 0 to n columns that lesions may cover."""
    paths = {}
    for name, (first, last) in slabs.items():
        mask = np.zeros(GRID.shape, dtype=np.uint8)
        mask[first : last + 1, 2:6, 1:7] = 1
        paths[name] = root / rater / f"{case}_{name}.nii.gz"
        write_labels(paths[name], mask, GRID)
    return LabelFile(masks=paths)


def test_overlapping_regions_are_evaluated_one_by_one(dataset, tmp_path):
    drawn = masks_file(dataset.root, "A", "c1", liver=(0, 5), lesion=(4, 5))
    write_dataset(replace(dataset, raters=("A",), cases=(CaseEntry("c1", dataset.cases[0].image, {"A": drawn}),)))
    net = predict(tmp_path / "own", c1=volume(4, 2))
    result = evaluate(dataset.root, net, tmp_path / "out")
    rows = read_rows(tmp_path / "out")
    assert float(rows["c1", "liver", "A"]["dice"]) == pytest.approx(2 * 4 / (6 + 4))
    assert float(rows["c1", "liver", "A"]["volume_reference_ml"]) == pytest.approx(6 * 24 * 0.003)
    assert float(rows["c1", "lesion", "A"]["dice"]) == 0.0
    assert "A/c1_lesion.nii.gz" in str(result["provenance"])
