"""CURVAS: a folder for each case with an image and three radiologists' annotations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import FileReadError, InputError, LabelError


@pytest.fixture
def source(tree: Any) -> Path:
    for case in ("UKCHLL001", "UKCHLL002"):
        tree.image(f"{case}/image.nii.gz")
        for number in (1, 2, 3):
            tree.labels(f"{case}/annotation_{number}.nii.gz", 1, 2, 3)
    return tree.root


def test_three_radiologists_read_every_case(source: Path, tree: Any, imports: Any) -> None:
    dataset, cases = imports("curvas", source)

    assert dataset.raters == ("radiologist_1", "radiologist_2", "radiologist_3") and not dataset.anonymous
    assert dict(dataset.labels.values) == {"background": 0, "pancreas": 1, "kidney": 2, "liver": 3}
    assert np.array_equal(cases[1].raters["radiologist_3"].labels, tree.blocks(1, 2, 3))
    assert [entry.patient for entry in dataset.cases] == ["p0001", "p0002"]


def test_the_archives_folders_are_splits(tree: Any, imports: Any) -> None:
    for folder, case in (("training_set", "UKCHLL001"), ("validation_set", "UKCHLL021"), ("testing_set", "UKCHLL026")):
        tree.image(f"{folder}/{case}/image.nii.gz")
        tree.labels(f"{folder}/{case}/annotation_1.nii.gz", 3)

    dataset, _ = imports("curvas", tree.root)

    assert [entry.split for entry in dataset.cases] == ["train", "validation", "test"]


def test_a_missing_annotation_is_a_missing_rater(source: Path, tmp_path: Path) -> None:
    from medseg.io.manifest import read_dataset
    from medseg.workflows.importing import import_

    (source / "UKCHLL002" / "annotation_2.nii.gz").unlink()

    result = import_("curvas", source, tmp_path / "out")

    assert list(read_dataset(result.path).cases[1].raters) == ["radiologist_1", "radiologist_3"]
    assert result.notes == ("1 cases were not read by all radiologists: UKCHLL002",)


# ---- refusals


def test_a_missing_image_is_named(source: Path, imports: Any) -> None:
    (source / "UKCHLL001" / "image.nii.gz").unlink()

    with pytest.raises(FileReadError, match=r"UKCHLL001/image\.nii\.gz: no such image file"):
        imports("curvas", source)


def test_the_wrong_folder_is_told(source: Path, imports: Any) -> None:
    with pytest.raises(FileReadError, match=r"no case; expected folders with image\.nii\.gz"):
        imports("curvas", source / "UKCHLL001")


def test_a_second_phase_is_refused_by_name(source: Path, tree: Any, imports: Any) -> None:
    tree.image("UKCHLL001/image_venous.nii.gz")

    with pytest.raises(InputError, match=r"UKCHLL001/image_venous\.nii\.gz: a second image or another file"):
        imports("curvas", source)


def test_unknown_values_are_listed(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("UKCHLL001/annotation_2.nii.gz", 4)

    with pytest.raises(LabelError, match=r"UKCHLL001/annotation_2\.nii\.gz.*got 4"):
        imports("curvas", source)


def test_two_files_of_one_annotation_are_refused(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("UKCHLL001/annotation_2.nii", 1)

    with pytest.raises(InputError, match=r"several files of one case; .*annotation_2\.nii, annotation_2\.nii\.gz"):
        imports("curvas", source)


def test_a_fourth_annotation_may_mean_other_values(source: Path, tree: Any, imports: Any) -> None:
    for case in ("UKCHLL001", "UKCHLL002"):
        tree.labels(f"{case}/annotation_4.nii.gz", 1)

    with pytest.raises(
        InputError, match=r"UKCHLL001/.*, UKCHLL002/.*: more annotations than CURVAS has.*Pass --labels"
    ):
        imports("curvas", source)
    assert len(imports("curvas", source, labels="pdac=1,x=2,y=3")[0].raters) == 4
