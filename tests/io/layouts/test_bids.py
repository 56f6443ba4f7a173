"""BIDS derivatives as the specification's chapter on imaging describes them, with CT images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import FileReadError, InputError, LabelError, UsageError
from medseg.imaging.regions import RegionMap

TABLE = (
    "index\tname\tabbreviation\tcolor\n0\tBackground\tBG\t#000000\n1\tLiver\tL\t#ff53bb\n7\tKidney left\tKL\t#2f8bbe\n"
)


@pytest.fixture
def source(tree: Any) -> Path:
    """Subject 01 with two sessions and subject 02 with none, each segmented by one pipeline."""
    tree.json("dataset_description.json", {"Name": "demo", "BIDSVersion": "1.8.0"})
    tree.text("derivatives/manual/dseg.tsv", TABLE)
    for place, name in (("sub-01/ses-1", "sub-01_ses-1"), ("sub-01/ses-2", "sub-01_ses-2"), ("sub-02", "sub-02")):
        tree.image(f"{place}/ct/{name}_ct.nii.gz")
        tree.labels(f"derivatives/manual/{place}/ct/{name}_dseg.nii.gz", 1, 7)
    return tree.root


def test_sessions_of_a_subject_are_cases_of_one_patient(source: Path, tree: Any, imports: Any) -> None:
    dataset, cases = imports("bids", source)

    assert [entry.patient for entry in dataset.cases] == ["p0001", "p0001", "p0002"]
    assert dict(dataset.labels.values) == {"background": 0, "Liver": 1, "Kidney left": 7}
    assert np.array_equal(cases[0].raters["reference"].labels, tree.blocks(1, 7))


def test_images_may_lie_in_rawdata(source: Path, tree: Any, imports: Any) -> None:
    (source / "rawdata").mkdir()
    for subject in ("sub-01", "sub-02"):
        (source / subject).rename(source / "rawdata" / subject)

    assert len(imports("bids", source)[1]) == 3


def test_segmentations_may_lie_beside_the_images(tree: Any, imports: Any) -> None:
    tree.image("sub-01/anat/sub-01_ct.nii.gz")
    tree.labels("sub-01/anat/sub-01_dseg.nii.gz", 1)
    tree.text("sub-01/anat/sub-01_dseg.tsv", TABLE)

    assert len(imports("bids", tree.root)[1]) == 1


def test_pipelines_are_raters_at_the_users_word(source: Path, tree: Any, imports: Any) -> None:
    tree.text("derivatives/drb/dseg.tsv", TABLE)
    tree.labels("derivatives/drb/sub-02/ct/sub-02_dseg.nii.gz", 7)

    with pytest.raises(UsageError, match=r"several kinds.*pipelines drb, manual; desc none.*--rater-from"):
        imports("bids", source)
    dataset, _ = imports("bids", source, rater_from="pipeline")
    assert dataset.raters == ("drb", "manual") and list(dataset.cases[2].raters) == ["drb", "manual"]


def test_an_entity_tells_the_rater_at_the_users_word(source: Path, tree: Any, imports: Any) -> None:
    for desc in ("anna", "berta"):
        tree.labels(f"derivatives/manual/sub-02/ct/sub-02_desc-{desc}_dseg.nii.gz", 1)
    (source / "derivatives/manual/sub-02/ct/sub-02_dseg.nii.gz").unlink()
    for path in (source / "derivatives/manual/sub-01").rglob("*_dseg.nii.gz"):
        path.rename(path.with_name(path.name.replace("_dseg", "_desc-anna_dseg")))

    dataset, _ = imports("bids", source, rater_from="desc")

    assert [sorted(entry.raters) for entry in dataset.cases] == [["anna"], ["anna"], ["anna", "berta"]]
    assert imports("bids", source, rater_from="desc", raters=("anna",))[0].raters == ("anna",)
    with pytest.raises(UsageError, match=r"--rater-from: no segmentation's name has a desk; expected .*desc"):
        imports("bids", source, rater_from="desk")


def test_masks_stay_apart_and_may_overlap(tree: Any, imports: Any) -> None:
    tree.image("sub-01/ct/sub-01_ct.nii.gz")
    for label in ("liver", "tumour"):
        tree.mask(f"derivatives/manual/sub-01/ct/sub-01_label-{label}_mask.nii.gz", tree.blocks(1))

    dataset, cases = imports("bids", tree.root)

    reading = cases[0].raters["reference"]
    assert isinstance(reading, RegionMap) and dataset.labels.foreground == ("liver", "tumour")
    assert reading.mask("tumour").sum() == reading.mask("liver").sum() == 12


def test_masks_may_be_called_by_the_tables_abbreviation(source: Path, tree: Any, imports: Any) -> None:
    (source / "derivatives/manual/sub-02/ct/sub-02_dseg.nii.gz").unlink()
    tree.mask("derivatives/manual/sub-02/ct/sub-02_label-KL_mask.nii.gz", tree.blocks(1))
    tree.text("derivatives/manual/sub-02/ct/sub-02_dseg.tsv", TABLE)

    dataset, _ = imports("bids", source)

    assert list(dataset.cases[2].raters["reference"].masks) == ["Kidney left"]


def test_verse_has_no_datatype_folders_and_no_pipeline(tree: Any, imports: Any) -> None:
    tree.image("rawdata/sub-verse000/sub-verse000_dir-orient_ct.nii.gz")
    tree.labels("derivatives/sub-verse000/sub-verse000_dir-orient_seg-vert_msk.nii.gz", 20, 28)

    dataset, cases = imports("bids", tree.root, labels="L1=20,T13=28")

    assert cases[0].raters["reference"].mask("T13").sum() == 12 and dataset.cases[0].patient == "p0001"


def test_one_phase_is_taken_at_the_users_word(source: Path, tree: Any, imports: Any) -> None:
    for phase in ("arterial", "venous"):
        tree.image(f"sub-03/ct/sub-03_acq-{phase}_ct.nii.gz")
    tree.labels("derivatives/manual/sub-03/ct/sub-03_acq-venous_dseg.nii.gz", 1)

    with pytest.raises(InputError, match=r"2 images of one session.*sub-03_acq-arterial_ct\.nii\.gz, .*--only"):
        imports("bids", source)
    dataset, _ = imports("bids", source, only="each")
    assert [(entry.patient, len(entry.raters)) for entry in dataset.cases[3:]] == [("p0003", 0), ("p0003", 1)]


# ---- refusals


def test_another_modality_in_a_session_is_named(source: Path, tree: Any, imports: Any) -> None:
    tree.image("sub-02/anat/sub-02_T1w.nii.gz")

    with pytest.raises(InputError, match=r"2 images of one session.*sub-02_T1w\.nii\.gz, sub-02_ct\.nii\.gz"):
        imports("bids", source)
    assert len(imports("bids", source, only="ct")[0].cases) == 3


def test_a_segmentation_without_an_image_is_named(source: Path, imports: Any) -> None:
    (source / "sub-02/ct/sub-02_ct.nii.gz").unlink()

    with pytest.raises(InputError, match=r"sub-02_dseg\.nii\.gz: a segmentation without an image"):
        imports("bids", source)


def test_the_wrong_folder_is_told(source: Path, imports: Any) -> None:
    with pytest.raises(FileReadError, match=r"no CT image; expected sub-01/ct/sub-01_ct\.nii\.gz"):
        imports("bids", source / "derivatives")


def test_unknown_values_are_listed(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("derivatives/manual/sub-02/ct/sub-02_dseg.nii.gz", 3)

    with pytest.raises(LabelError, match=r"sub-02_dseg\.nii\.gz.*Kidney left 7, got 3"):
        imports("bids", source)


def test_two_segmentations_of_one_rater_are_refused(source: Path, tree: Any, imports: Any) -> None:
    tree.labels("derivatives/manual/sub-02/ct/sub-02_seg-two_dseg.nii.gz", 1)

    with pytest.raises(InputError, match="several segmentations of one rater and image"):
        imports("bids", source)


def test_values_without_a_table_are_refused(source: Path, imports: Any) -> None:
    (source / "derivatives/manual/dseg.tsv").unlink()

    with pytest.raises(FileReadError, match=r"nothing names the label values; expected a dseg\.tsv.*--labels"):
        imports("bids", source)


def test_tables_that_contradict_each_other_are_refused(source: Path, tree: Any, imports: Any) -> None:
    tree.text("derivatives/manual/sub-02/ct/sub-02_dseg.tsv", "index\tname\n1\tSpleen\n")

    with pytest.raises(LabelError, match="two label tables contradict each other"):
        imports("bids", source)


def test_a_table_without_its_columns_is_refused(source: Path, tree: Any, imports: Any) -> None:
    tree.text("derivatives/manual/dseg.tsv", "value,label\n1,Liver\n")

    with pytest.raises(FileReadError, match=r"derivatives/manual/dseg\.tsv: not a label table"):
        imports("bids", source)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sub-02_label-L_probseg", "a probability map is no reading"),
        ("sub-02_space-MNI305_dseg", "in another space than its image; got space-MNI305"),
        ("sub-02_desc-brain_mask", "several kinds of segmentation"),
    ],
)
def test_files_that_would_need_a_guess_are_refused(
    source: Path, tree: Any, imports: Any, name: str, message: str
) -> None:
    (source / "derivatives/manual/sub-02/ct/sub-02_dseg.nii.gz").unlink()
    tree.labels(f"derivatives/manual/sub-02/ct/{name}.nii.gz", 1)

    with pytest.raises((InputError, UsageError), match=message):
        imports("bids", source)


def test_a_mask_of_no_structure_is_refused(source: Path, tree: Any, imports: Any) -> None:
    (source / "derivatives/manual/sub-02/ct/sub-02_dseg.nii.gz").unlink()
    tree.labels("derivatives/manual/sub-02/ct/sub-02_mask.nii.gz", 1)

    with pytest.raises(LabelError, match=r"sub-02_mask\.nii\.gz: a mask of no known structure"):
        imports("bids", source)
