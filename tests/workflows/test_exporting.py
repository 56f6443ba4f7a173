"""`export nnunet`: round trips, raters and their majority, ignored voxels, and what nnU-Net cannot be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import InputError, LabelError, OutputExistsError, UsageError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io import nifti
from medseg.io.manifest import CaseEntry, Dataset, LabelFile, write_dataset
from medseg.workflows.exporting import export
from medseg.workflows.importing import import_

GRID = Geometry((8, 8, 6), np.array([[-0.7, 0.1, 0, 101.7], [0.1, 0.7, 0, -45.3], [0, 0, 2.4, 30.9], [0, 0, 0, 1]]))
LABELS = LabelSet({"background": 0, "spleen": 9, "liver": 5}, ignore=255)
PLAIN = LabelSet({"background": 0, "spleen": 9, "liver": 5})


def boxes(**values: int) -> Any:
    """Background with blocks of 2 x 8 x 6 voxels at x = 0, 2, 4, 6 for a, b, c, d."""
    labels = np.zeros(GRID.shape, dtype=np.uint8)
    for name, value in values.items():
        start = 2 * "abcd".index(name)
        labels[start : start + 2] = value
    return labels


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two cases of three raters and a test case that A alone read."""
    root = tmp_path / "set"
    readings = {"A": boxes(a=5, b=5, c=9), "B": boxes(a=5, c=9, d=255), "C": boxes(a=5, b=9, d=9)}
    cases = []
    for case, raters in (("c0001", "ABC"), ("c0002", "ABC"), ("c0003", "A")):
        hu = np.arange(384, dtype=np.float32).reshape(GRID.shape) - 200.5
        nifti.write_volume(root / "images" / f"{case}.nii.gz", Volume(hu, GRID))
        files = {}
        for rater in raters:
            files[rater] = LabelFile(root / rater / f"{case}.nii.gz")
            nifti.write_labels(root / rater / f"{case}.nii.gz", readings[rater], GRID)
        split = "test" if case == "c0003" else "train"
        cases.append(CaseEntry(case, root / "images" / f"{case}.nii.gz", files, split=split))
    made = Dataset(root, LABELS, ("A", "B", "C"), tuple(cases))
    write_dataset(made)
    return made


def load(path: Path) -> Any:
    return nib.load(path)


def voxels(path: Path) -> Any:
    return np.asanyarray(load(path).dataobj)


def told(path: Path) -> dict[str, Any]:
    return json.loads((path / "dataset.json").read_text(encoding="utf-8"))


def listing(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != ".medseg")


def test_one_rater_becomes_nnunets_folders(dataset: Dataset, tmp_path: Path) -> None:
    result = export("nnunet", dataset, tmp_path / "raw", rater="A", name="Dataset123_Abdomen")

    assert (result.path, result.training, result.test) == (tmp_path / "raw" / "Dataset123_Abdomen", 2, 1)
    assert [name for name in listing(result.path) if "." in name] == [
        "dataset.json", "imagesTr/c0001_0000.nii.gz", "imagesTr/c0002_0000.nii.gz", "imagesTs/c0003_0000.nii.gz",
        "labelsTr/c0001.nii.gz", "labelsTr/c0002.nii.gz", "labelsTs/c0003.nii.gz"]  # fmt: skip
    labels = {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    assert told(result.path) == {"channel_names": {"0": "CT"}, "labels": labels, "numTraining": 2,
                                 "file_ending": ".nii.gz"}  # fmt: skip


def test_values_become_consecutive_in_their_order(dataset: Dataset, tmp_path: Path) -> None:
    path = export("nnunet", dataset, tmp_path / "raw", rater="A").path

    assert np.array_equal(voxels(path / "labelsTr" / "c0001.nii.gz"), boxes(a=1, b=1, c=2))


def test_the_ignore_label_is_the_highest(dataset: Dataset, tmp_path: Path) -> None:
    path = export("nnunet", dataset, tmp_path / "raw", rater="B").path

    assert told(path)["labels"] == {"background": 0, "liver": 1, "spleen": 2, "ignore": 3}
    assert np.array_equal(voxels(path / "labelsTr" / "c0001.nii.gz"), boxes(a=1, c=2, d=3))
    assert not (path / "labelsTs").exists()  # B did not read the test case


def test_more_than_half_of_the_readers_decide(dataset: Dataset, tmp_path: Path) -> None:
    path = export("nnunet", dataset.root, tmp_path / "raw", raters="majority").path

    # a: liver of three; b: liver, spleen and nothing; c: spleen of two; d: B did not read, C alone of two says spleen
    assert np.array_equal(voxels(path / "labelsTr" / "c0001.nii.gz"), boxes(a=1, c=2))


def test_slices_that_were_not_read_are_ignored(dataset: Dataset, tmp_path: Path) -> None:
    entry = dataset.cases[0]
    some = LabelFile(entry.raters["A"].path, slices_read=(1, 3))
    cases = (CaseEntry(entry.id, entry.image, {"A": some}),)

    path = export("nnunet", Dataset(dataset.root, PLAIN, ("A",), cases), tmp_path / "raw").path

    assert told(path)["labels"]["ignore"] == 3
    labels = voxels(path / "labelsTr" / "c0001.nii.gz")
    assert (labels[:, :, [0, 4, 5]] == 3).all() and np.array_equal(labels[:, :, 1], boxes(a=1, b=1, c=2)[:, :, 1])


def test_without_ignored_voxels_there_is_no_ignore_label(dataset: Dataset, tmp_path: Path) -> None:
    path = export("nnunet", Dataset(dataset.root, PLAIN, ("A",), dataset.cases), tmp_path / "raw", rater="A").path

    assert "ignore" not in told(path)["labels"]


# ---- round trips


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """nnU-Net's raw data with an ignore label; headers with an oblique sform."""
    for folder, case in (("Tr", "liver_3"), ("Tr", "liver_5"), ("Ts", "liver_9")):
        hu = np.arange(384, dtype=np.float32).reshape(GRID.shape) + 0.25
        nifti.write_volume(tmp_path / f"raw/images{folder}/{case}_0000.nii.gz", Volume(hu, GRID))
        nifti.write_labels(tmp_path / f"raw/labels{folder}/{case}.nii.gz", boxes(a=1, b=2, c=3), GRID)
    content = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "lesion": 2, "ignore": 3},
               "numTraining": 2, "file_ending": ".nii.gz"}  # fmt: skip
    (tmp_path / "raw" / "dataset.json").write_text(json.dumps(content))
    return tmp_path / "raw"


@pytest.mark.parametrize("copy", [False, True])
def test_a_round_trip_gives_equal_voxels_affines_and_names(raw: Path, tmp_path: Path, copy: bool) -> None:
    dataset = import_("nnunet", raw, tmp_path / "set", copy=copy).path

    path = export("nnunet", dataset, tmp_path / "again").path

    assert told(path) == told(raw)
    names = {"liver_3": "c0001", "liver_5": "c0002", "liver_9": "c0003"}
    assert sum("." in name for name in listing(path)) == sum("." in name for name in listing(raw)) == 7
    for original in raw.rglob("*.nii.gz"):
        case = original.name.partition(".")[0].removesuffix("_0000")
        again = path / original.parent.name / original.name.replace(case, names[case])
        assert np.array_equal(voxels(original), voxels(again))
        assert np.array_equal(load(original).affine, load(again).affine)


def test_a_round_trip_keeps_regions(raw: Path, tmp_path: Path) -> None:
    regions = {"background": 0, "whole": [1, 2], "lesion": 2, "ignore": 3}
    content = told(raw) | {"labels": regions, "regions_class_order": [1, 2]}
    (raw / "dataset.json").write_text(json.dumps(content))

    path = export("nnunet", import_("nnunet", raw, tmp_path / "set").path, tmp_path / "again").path

    assert told(path) == content and list(told(path)["labels"]) == list(regions)


# ---- refusals


def test_several_raters_want_a_rule(dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"several raters.*got A, B, C\. Pass --rater NAME, or --raters majority"):
        export("nnunet", dataset, tmp_path / "raw")
    with pytest.raises(UsageError, match="exclude each other"):
        export("nnunet", dataset, tmp_path / "raw", rater="A", raters="majority")
    with pytest.raises(UsageError, match=r"no rater 'D'; expected one of A, B, C"):
        export("nnunet", dataset, tmp_path / "raw", rater="D")
    assert not (tmp_path / "raw").exists()


def test_training_cases_without_the_reading_are_listed_together(dataset: Dataset, tmp_path: Path) -> None:
    cases = tuple(CaseEntry(e.id, e.image, {"A": e.raters["A"]}, split=e.split) for e in dataset.cases)
    partly = Dataset(dataset.root, LABELS, dataset.raters, cases)

    with pytest.raises(LabelError, match=r"case c0001, case c0002: no reading to train on; expected B, got A"):
        export("nnunet", partly, tmp_path / "raw", rater="B")
    assert not (tmp_path / "raw").exists()


def test_a_structure_that_nobody_looked_for_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    entry = dataset.cases[0]
    partial = CaseEntry(entry.id, entry.image, {"A": LabelFile(entry.raters["A"].path, labelled=("liver",))})

    with pytest.raises(LabelError, match="case c0001: nobody looked for 'spleen', which nnU-Net cannot be told"):
        export("nnunet", Dataset(dataset.root, LABELS, ("A",), (partial,)), tmp_path / "raw")


def test_overlapping_regions_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    paths = {}
    for name in ("liver", "spleen"):
        paths[name] = dataset.root / f"{name}.nii.gz"
        nifti.write_labels(paths[name], boxes(a=1), GRID)
    cases = (CaseEntry("c0001", dataset.cases[0].image, {"A": LabelFile(masks=paths)}),)

    with pytest.raises(LabelError, match=r"case c0001: regions overlap.*liver and spleen share 96 voxels"):
        export("nnunet", Dataset(dataset.root, LABELS, ("A",), cases), tmp_path / "raw")


def test_labels_on_another_grid_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    nifti.write_labels(dataset.root / "A" / "c0001.nii.gz", boxes(a=5), Geometry(GRID.shape, np.eye(4)))

    with pytest.raises(InputError, match="case c0001, A: the label map lies on another grid"):
        export("nnunet", dataset, tmp_path / "raw", rater="A")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "Abdomen"}, "expected Dataset123_Name, got Abdomen"),
        ({"format": "msd"}, "no export format 'msd'; expected one of nnunet"),
        ({"rater": None, "raters": "random"}, "expected majority, got random"),
    ],
)
def test_wrong_calls_are_refused(dataset: Dataset, tmp_path: Path, options: Any, message: str) -> None:
    call = {"format": "nnunet", "dataset": dataset, "out": tmp_path / "raw", "rater": "A"} | options

    with pytest.raises(UsageError, match=message):
        export(**call)


def test_a_data_set_without_training_cases_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    only_test = Dataset(dataset.root, LABELS, dataset.raters, dataset.cases[2:])

    with pytest.raises(InputError, match="no training case"):
        export("nnunet", only_test, tmp_path / "raw", rater="A")


def test_an_old_export_is_kept_unless_overwrite(dataset: Dataset, tmp_path: Path) -> None:
    export("nnunet", dataset, tmp_path / "raw", rater="A")

    with pytest.raises(OutputExistsError, match="--overwrite"):
        export("nnunet", dataset, tmp_path / "raw", rater="B")
    path = export("nnunet", dataset, tmp_path / "raw", rater="B", overwrite=True).path
    assert not (path / "labelsTs").exists() and (path / "imagesTs").exists()


def test_shared_patients_are_noted(dataset: Dataset, tmp_path: Path) -> None:
    cases = tuple(CaseEntry(e.id, e.image, e.raters, patient="p1", split=e.split) for e in dataset.cases)

    result = export("nnunet", Dataset(dataset.root, LABELS, dataset.raters, cases), tmp_path / "raw", rater="A")

    assert "2 training cases share a patient" in result.notes[0]
