"""Decathlon tasks as `dataset.json` of http://medicaldecathlon.com lists them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import FileReadError, InputError, LabelError

TASK = {
    "name": "Spleen", "tensorImageSize": "3D", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"},
    "numTraining": 2, "numTest": 1,
    "training": [{"image": f"./imagesTr/spleen_{n}.nii.gz", "label": f"./labelsTr/spleen_{n}.nii.gz"} for n in (2, 9)],
    "test": ["./imagesTs/spleen_1.nii.gz"],
}  # fmt: skip


@pytest.fixture
def source(tree: Any) -> Path:
    tree.json("dataset.json", TASK)
    for number in (2, 9):
        tree.image(f"imagesTr/spleen_{number}.nii.gz")
        tree.labels(f"labelsTr/spleen_{number}.nii.gz", 1)
    tree.image("imagesTs/spleen_1.nii.gz")
    tree.text("imagesTr/._spleen_2.nii.gz", "AppleDouble")
    return tree.root


def change(source: Path, **keys: Any) -> None:
    (source / "dataset.json").write_text(json.dumps(TASK | keys))


def test_listed_cases_become_patients_of_their_own(source: Path, imports: Any) -> None:
    dataset, cases = imports("msd", source)

    assert [(entry.id, entry.patient, entry.split) for entry in dataset.cases] == [
        ("c0001", "p0001", "train"), ("c0002", "p0002", "train"), ("c0003", "p0003", "test")]  # fmt: skip
    assert dataset.labels.foreground == ("spleen",) and len(cases) == 2


def test_the_value_0_is_the_background_whatever_its_name(source: Path, imports: Any) -> None:
    change(source, labels={"0": "Clear", "1": "spleen"})

    assert dict(imports("msd", source)[0].labels.values) == {"background": 0, "spleen": 1}


def test_unlisted_files_are_left_out_and_said(source: Path, tree: Any, tmp_path: Path) -> None:
    from medseg.workflows.importing import import_

    tree.image("imagesTr/spleen_77.nii.gz")

    result = import_("msd", source, tmp_path / "out")

    assert result.cases == 3 and "does not list are left out: spleen_77.nii.gz" in result.notes[0]


# ---- refusals


def test_several_modalities_are_listed_with_their_cases(source: Path, imports: Any) -> None:
    change(source, modality={"0": "T2", "1": "ADC"}, tensorImageSize="4D")

    with pytest.raises(InputError, match=r"2 channels.*T2 \(0\), ADC \(1\) in 3 cases: spleen_2\.nii\.gz"):
        imports("msd", source)


def test_a_file_of_several_frames_is_named(source: Path, tree: Any, imports: Any) -> None:
    tree.frames("imagesTr/spleen_2.nii.gz", 2)

    with pytest.raises(FileReadError, match=r"imagesTr/spleen_2\.nii\.gz: 4-D with 2 frames"):
        imports("msd", source)


def test_another_modality_needs_the_users_word(source: Path, imports: Any) -> None:
    change(source, modality={"0": "MRI"})

    with pytest.raises(InputError, match=r"the modality is not CT; expected CT, got MRI \(0\)\..*--assume-ct"):
        imports("msd", source)
    assert len(imports("msd", source, assume_ct=True)[1]) == 2


def test_missing_files_are_named(source: Path, imports: Any) -> None:
    (source / "imagesTr" / "spleen_9.nii.gz").unlink()

    with pytest.raises(FileReadError, match=r"imagesTr/spleen_9\.nii\.gz: no such image file"):
        imports("msd", source)


def test_an_nnunet_folder_is_sent_to_its_own_importer(source: Path, imports: Any) -> None:
    (source / "imagesTr" / "spleen_2.nii.gz").rename(source / "imagesTr" / "spleen_2_0000.nii.gz")

    with pytest.raises(FileReadError, match=r"Import it with the layout 'nnunet'"):
        imports("msd", source)


def test_the_wrong_folder_is_told(source: Path, imports: Any) -> None:
    with pytest.raises(FileReadError, match=r"no dataset\.json"):
        imports("msd", source / "imagesTr")


def test_unknown_values_are_listed(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("labelsTr/spleen_2.nii.gz", 1, 2)

    with pytest.raises(LabelError, match=r"labelsTr/spleen_2.*background 0, spleen 1, got 2"):
        imports("msd", source)


def test_a_case_listed_twice_is_refused(source: Path, imports: Any) -> None:
    change(source, training=[*TASK["training"], TASK["training"][0]], numTraining=3)

    with pytest.raises(InputError, match=r"a file is listed twice.*spleen_2"):
        imports("msd", source)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("numTraining", 5, "numTraining does not fit"),
        ("training", [], "no training cases"),
        ("training", [{"image": "../x.nii.gz", "label": "y.nii.gz"}], "not the path of a volume inside the source"),
        ("training", ["./imagesTr/spleen_2.nii.gz"], "a training case without image and label"),
        ("labels", {"background": 0, "spleen": 1}, "labels by name.*'nnunet'"),
        ("labels", {"0": "background", "1": "spleen", "2": "spleen"}, "two values have the name 'spleen'"),
        ("modality", None, "no modality"),
    ],
)
def test_contradictions_in_dataset_json_are_named(
    source: Path, imports: Any, key: str, value: Any, message: str
) -> None:
    change(source, **{key: value})

    with pytest.raises(InputError, match=message):
        imports("msd", source)
