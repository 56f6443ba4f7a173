"""nnU-Net raw data as its documentation describes it: versions 1 and 2, regions, ignore label, channels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import FileReadError, InputError, LabelError
from medseg.io.layouts.region_table import read_regions_table

V2 = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1, "tumor": 2}, "numTraining": 2,
      "file_ending": ".nii.gz"}  # fmt: skip


@pytest.fixture
def source(tree: Any) -> Path:
    """Two training cases and one test case without labels."""
    tree.json("dataset.json", V2)
    for case in ("liver_7", "liver_12"):
        tree.image(f"imagesTr/{case}_0000.nii.gz")
        tree.labels(f"labelsTr/{case}.nii.gz", 1, 2)
    tree.image("imagesTs/liver_99_0000.nii.gz")
    return tree.root


def change(source: Path, **keys: Any) -> None:
    data = json.loads((source / "dataset.json").read_text())
    (source / "dataset.json").write_text(json.dumps(data | keys))


def test_training_and_test_cases_are_told_apart(source: Path, tree: Any, imports: Any) -> None:
    dataset, cases = imports("nnunet", source)

    assert [(entry.id, entry.split) for entry in dataset.cases] == [
        ("c0001", "train"), ("c0002", "train"), ("c0003", "test")]  # fmt: skip
    assert dataset.labels.values == {"background": 0, "liver": 1, "tumor": 2}
    assert dataset.raters == ("reference",) and dataset.cases[2].raters == {}
    assert np.array_equal(cases[0].raters["reference"].labels, tree.blocks(1, 2))


def test_voxels_stay_where_they_are(source: Path, imports: Any) -> None:
    dataset, _ = imports("nnunet", source)

    assert sorted(path.name for path in dataset.root.iterdir()) == [".medseg", "dataset.yaml"]
    assert dataset.cases[0].image == source / "imagesTr" / "liver_12_0000.nii.gz"


def test_test_labels_are_read_where_they_are_given(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("labelsTs/liver_99.nii.gz", 2)

    dataset, cases = imports("nnunet", source, rater="expert")

    assert dataset.select("test")[0].raters["expert"].path == source / "labelsTs" / "liver_99.nii.gz"
    assert len(cases) == 3


def test_version_1_names_labels_by_value(source: Path, imports: Any) -> None:
    version1 = {"modality": {"0": "CT"}, "labels": {"0": "background", "2": "tumor", "1": "liver"}, "numTraining": 2,
                "training": [], "test": []}  # fmt: skip
    (source / "dataset.json").write_text(json.dumps(version1))

    dataset, cases = imports("nnunet", source)

    assert dict(dataset.labels.values) == {"background": 0, "liver": 1, "tumor": 2} and len(cases) == 2


def test_the_ignore_label_becomes_the_ignore_value(source: Path, imports: Any) -> None:
    change(source, labels={"background": 0, "liver": 1, "ignore": 2})

    dataset, cases = imports("nnunet", source)

    assert dataset.labels.ignore == 2 and dataset.labels.foreground == ("liver",)
    assert (cases[0].raters["reference"].indices == -1).sum() == 12


def test_values_of_regions_get_names_and_the_regions_are_kept(source: Path, tree: Any, imports: Any) -> None:
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": 3}
    change(source, labels=regions, regions_class_order=[1, 2, 3])
    tree.labels("labelsTr/liver_7.nii.gz", 1, 2, 3)

    dataset, cases = imports("nnunet", source)

    assert dict(dataset.labels.values) == {"background": 0, "whole_1": 1, "core_2": 2, "enhancing": 3}
    table = read_regions_table(dataset.root)
    assert table is not None and table.class_order == (1, 2, 3)
    assert dict(table.values) == {"whole": (1, 2, 3), "core": (2, 3), "enhancing": (3,)}
    assert np.array_equal(cases[1].raters["reference"].labels, tree.blocks(1, 2, 3))


def test_explicit_paths_are_followed(source: Path, tree: Any, imports: Any) -> None:
    image, label = tree.image("../elsewhere/a.nii.gz"), tree.labels("../elsewhere/a_seg.nii.gz", 2)
    change(source, numTraining=1, dataset={"a": {"images": ["../elsewhere/a.nii.gz"], "label": str(label.resolve())}})

    dataset, cases = imports("nnunet", source)

    assert dataset.cases[0].image == image.resolve() and len(cases) == 1


def test_apple_files_and_sidecars_are_no_cases(source: Path, tree: Any, imports: Any) -> None:
    tree.text("imagesTr/._liver_7_0000.nii.gz", "")
    tree.text("imagesTr/liver_7_0000.json", "{}")

    assert len(imports("nnunet", source)[0].cases) == 3


# ---- refusals


def test_several_channels_are_listed_with_their_cases(source: Path, imports: Any) -> None:
    change(source, channel_names={"0": "CT", "1": "PET"})

    with pytest.raises(InputError, match=r"2 channels.*CT \(0000\), PET \(0001\) in 3 cases: liver_12, .*--only 'CT'"):
        imports("nnunet", source)


def test_the_channels_proposed_are_those_that_are_there(source: Path, tree: Any, imports: Any) -> None:
    change(source, channel_names={"0": "PET", "1": "CT_venous"})
    for folder, case in (("Tr", "liver_7"), ("Tr", "liver_12"), ("Ts", "liver_99")):
        tree.image(f"images{folder}/{case}_0001.nii.gz")

    with pytest.raises(InputError, match="--only 'CT_venous'"):
        imports("nnunet", source)
    with pytest.raises(InputError, match=r"not CT; expected CT, got CT_venous \(0001\)\. .*--assume-ct"):
        imports("nnunet", source, only="CT_venous")


def test_a_chosen_channel_is_taken(source: Path, tree: Any, imports: Any) -> None:
    change(source, channel_names={"0": "PET", "1": "CT"})
    for folder, case in (("Tr", "liver_7"), ("Tr", "liver_12"), ("Ts", "liver_99")):
        tree.image(f"images{folder}/{case}_0001.nii.gz")

    dataset, _ = imports("nnunet", source, only="CT")

    assert dataset.cases[0].image.name == "liver_12_0001.nii.gz"


def test_a_channel_that_nobody_declared_is_refused(source: Path, tree: Any, imports: Any) -> None:
    tree.image("imagesTr/liver_7_0001.nii.gz")

    with pytest.raises(InputError, match=r"liver_7: 2 channels.*expected 0000, got 0000, 0001"):
        imports("nnunet", source)


def test_another_channel_than_ct_needs_the_users_word(source: Path, imports: Any) -> None:
    change(source, channel_names={"0": "zscore"})

    with pytest.raises(InputError, match=r"not CT; expected CT, got zscore .*--assume-ct"):
        imports("nnunet", source)
    assert len(imports("nnunet", source, assume_ct=True)[0].cases) == 3


def test_a_missing_label_file_is_named(source: Path, imports: Any) -> None:
    (source / "labelsTr" / "liver_7.nii.gz").unlink()

    with pytest.raises(FileReadError, match=r"labelsTr/liver_7\.nii\.gz: no such label file"):
        imports("nnunet", source)


def test_a_label_without_an_image_is_named(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("labelsTr/liver_8.nii.gz", 1)

    with pytest.raises(LabelError, match=r"labelsTr/liver_8\.nii\.gz: a label file without an image"):
        imports("nnunet", source)


def test_unknown_values_are_listed(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("labelsTr/liver_7.nii.gz", 1, 7)

    with pytest.raises(LabelError, match=r"labelsTr/liver_7.*liver 1, tumor 2, got 7\. Name them with --labels"):
        imports("nnunet", source)


def test_the_wrong_folder_is_told_with_the_right_ones(source: Path, imports: Any) -> None:
    with pytest.raises(FileReadError, match=r"no dataset\.json; .* got folders that have one: source"):
        imports("nnunet", source.parent)
    with pytest.raises(FileReadError, match="no such folder"):
        imports("nnunet", source / "absent")


def test_a_decathlon_task_is_sent_to_its_own_importer(tree: Any, imports: Any) -> None:
    tree.json("dataset.json", {"modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"}})
    tree.image("imagesTr/spleen_2.nii.gz")

    with pytest.raises(FileReadError, match=r"imagesTr/spleen_2\.nii\.gz: not an image of this layout.*'msd'"):
        imports("nnunet", tree.root)


def test_a_case_of_training_and_test_is_refused(source: Path, tree: Any, imports: Any) -> None:
    tree.image("imagesTs/liver_7_0000.nii.gz")

    with pytest.raises(InputError, match="liver_7: a case of training and of test"):
        imports("nnunet", source)


def test_a_key_given_twice_is_refused(source: Path, imports: Any) -> None:
    (source / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1, "liver": 2}}')

    with pytest.raises(FileReadError, match="the key 'liver' is given twice"):
        imports("nnunet", source)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("file_ending", ".png", "files that hold no volume.*got .png"),
        ("numTraining", 3, "numTraining does not fit the training cases; expected 3, got 2"),
        ("labels", {"background": 0, "liver": 1, "spleen": 1}, "a label value is used twice"),
        ("labels", {"background": 0, "whole": [1, 2], "whole_1": 2}, "'whole_1' is already a name"),
        ("labels", {"background": 1, "liver": 2}, "background must have the value 0"),
        ("labels", {"background": 0, "liver": 1.0}, "the value of 'liver' is no integer"),
        ("labels", {"background": 0, "ignore": 1, "liver": 2}, "the ignore label must be one value above all others"),
        ("labels", {"background": 0, "whole": [0, 1]}, "contains the background value 0"),
        ("channel_names", {}, "no channel_names"),
        ("dataset", {"a": {"images": ["$HOME/a.nii.gz"], "label": "a.nii.gz"}}, "environment variable"),
        ("dataset", {"a": {"images": []}}, "a case without paths"),
    ],
)
def test_contradictions_in_dataset_json_are_named(
    source: Path, imports: Any, key: str, value: Any, message: str
) -> None:
    change(source, **{key: value})

    with pytest.raises(InputError, match=message):
        imports("nnunet", source)


def test_all_faults_of_all_cases_are_told_at_once(source: Path, tree: Any, imports: Any) -> None:
    (source / "labelsTr" / "liver_12.nii.gz").unlink()
    tree.labels("labelsTr/liver_7.nii.gz", 9)

    with pytest.raises(InputError, match=r"2 faults: labelsTr/liver_12.*no such label file \| labelsTr/liver_7.*got 9"):
        imports("nnunet", source)
