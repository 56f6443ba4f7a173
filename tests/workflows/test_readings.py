"""Which reading is whose: folders of raters and models, data sets with several models, manifests."""

from __future__ import annotations

import multiprocessing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import FileReadError, LabelError, UsageError
from medseg.evaluation.scoring import score_case
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io.manifest import CaseEntry, Dataset, LabelFile
from medseg.io.nifti import write_labels, write_volume
from medseg.workflows.readings import (
    ReadingOptions,
    dataset_readings,
    folder_readings,
    manifest_readings,
)
from medseg.workflows.readings_runs import learned_raters
from tests.support.reading_files import GRID, box, write_boxes, write_structures


@pytest.fixture
def raters(tmp_path) -> Path:
    write_boxes(tmp_path / "raters" / "A", "c1", "c2")
    write_boxes(tmp_path / "raters" / "B", "c1", start=3)
    return tmp_path / "raters"


def manifest(folder: Path, *rows: str, head: str = "case,rater,path,role,status,reading,slices_read,labelled") -> Path:
    path = folder / "m.csv"
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


# --- several models


def test_several_models_stand_behind_the_raters_in_their_order(raters, tmp_path):
    folders = [write_boxes(tmp_path / name, "c1", "c2", start=start) for name, start in (("net", 4), ("atlas", 5))]
    found = folder_readings(raters, folders)
    assert found.models == ("net", "atlas") and found.model == "net"
    case = found.read("c1")
    assert list(case.readings) == ["A", "B", "net", "atlas"]
    assert case.readings["atlas"].mask("1").sum() == box(5).sum()
    assert list(found.read("c2").readings) == ["A", "net", "atlas"]  # B did not read it: missing, not empty
    assert {"net/c1.nii.gz", "atlas/c2.nii.gz", "raters/B/c1.nii.gz"} <= set(found.files)


def test_experts_alone_need_no_model(raters):
    found = folder_readings(raters)
    assert found.models == () and found.model is None and list(found.cases) == ["c1", "c2"]


def test_a_model_may_be_given_a_name(raters, tmp_path):
    first, second = (write_boxes(tmp_path / name / "out", "c1", "c2") for name in ("x", "y"))
    with pytest.raises(UsageError, match=r"two models are called 'out'.*--model first=DIR"):
        folder_readings(raters, [first, second])
    assert folder_readings(raters, [f"x={first}", f"y={second}"]).models == ("x", "y")
    assert folder_readings(raters, {"x": first, "A": second}).models == ("x", "A (model)")


def test_a_data_set_takes_several_folders_of_predictions(tmp_path):
    labels = LabelSet({"background": 0, "liver": 1})
    write_boxes(tmp_path / "A", "c1")
    write_volume(tmp_path / "c1.nii.gz", Volume(np.zeros(GRID.shape, np.float32), GRID))
    entry = CaseEntry(
        "c1", tmp_path / "c1.nii.gz", {"A": LabelFile(tmp_path / "A/c1.nii.gz")}, tmp_path / "A/c1.nii.gz"
    )
    folders = [write_boxes(tmp_path / "net", "c1"), write_structures(tmp_path / "seg", "c1", "liver")]
    found = dataset_readings(Dataset(tmp_path, labels, ("A",), (entry,)), folders)
    case = found.read("c1")
    assert found.models == ("net", "seg") and list(case.readings) == ["A", "net", "seg"] and case.truth is not None
    assert case.readings["seg"].mask("liver").sum() == box().sum()
    assert found.image is not None and (volume := found.image("c1")) is not None
    assert volume.geometry.shape == GRID.shape


def test_a_case_can_be_read_by_another_process(raters, tmp_path):
    found = folder_readings(raters, write_boxes(tmp_path / "net", "c1", "c2"))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        case = pool.map(found.read, ["c1"])[0]
    assert list(case.readings) == ["A", "B", "net"] and case.facts.labels["A"] == ("1",)


# --- what is not there


def test_cases_without_a_prediction_are_listed_and_refused_unless_allowed(raters, tmp_path):
    model = write_boxes(tmp_path / "net", "c1")
    with pytest.raises(FileReadError, match=r"net: 1 of 2 cases have no prediction; got c2.*--allow-missing"):
        folder_readings(raters, model)
    found = folder_readings(raters, model, allow_missing=True)
    assert "net" not in found.read("c2").readings
    assert found.notes == ("net: 1 of 2 cases have no prediction and were left out: c2",)


@pytest.mark.parametrize("empty", ["rater", "case"])
def test_an_empty_folder_is_refused(raters, empty):
    (raters / ("C" if empty == "rater" else "A/c9")).mkdir()
    words = "no label file of rater 'C'" if empty == "rater" else "A/c9: an empty folder"
    with pytest.raises((UsageError, FileReadError), match=words):
        folder_readings(raters)


def test_a_model_without_any_case_says_what_it_has(raters, tmp_path):
    with pytest.raises(UsageError, match=r"net: no prediction of any case; expected c1.nii.gz and so on, got x1"):
        folder_readings(raters, write_boxes(tmp_path / "net", "x1"))
    (tmp_path / "void").mkdir()
    with pytest.raises(UsageError, match=r"void: no prediction of any case.*got no label file"):
        folder_readings(raters, tmp_path / "void")


def test_a_file_and_a_folder_of_one_case_are_refused(raters):
    write_structures(raters / "A", "c1", "liver")
    with pytest.raises(UsageError, match=r"A: two files of case c1; got c1, c1.nii.gz"):
        folder_readings(raters)


def test_label_sets_that_differ_are_told_with_the_names(raters, tmp_path):
    write_labels(raters / "A" / "c1.nii.gz", box() + box(8, 10, 2), GRID)
    found = folder_readings(raters, write_boxes(tmp_path / "net", "c1", "c2", value=3))
    told = found.told([found.read(case).facts for case in found.cases])
    assert [sentence.split(",")[0] for sentence in told] == [
        "label sets differ: no reading of A holds 3",
        "label sets differ: no reading of B holds 2",
        "label sets differ: no reading of net holds 1",
    ]
    assert all("`labelled`" in sentence for sentence in told)


def test_equal_label_sets_are_not_told(raters):
    found = folder_readings(raters)
    assert found.told([found.read(case).facts for case in found.cases]) == ()


# --- file names


@pytest.mark.parametrize("match", ["{case}_seg.nii.gz", "{case}_seg", "(?P<case>.+)_seg", r"(?P<case>c\d+)_SEG"])
def test_a_pattern_says_what_of_a_name_is_the_case(raters, tmp_path, match):
    write_boxes(tmp_path / "net", "c1_seg", "c2_seg", "other")
    found = folder_readings(raters, tmp_path / "net", options=ReadingOptions(match=match))
    assert "net" in found.read("c2").readings
    assert found.notes == (f"left out, because they do not fit {match}: 1 file of net",)


@pytest.mark.parametrize("match", ["pred_{case}", "pred_(?P<case>.+)", "pred_{case}.nii.gz"])
def test_the_suffix_is_no_part_of_the_case(raters, tmp_path, match):
    write_boxes(tmp_path / "net", "pred_c1", "pred_c2")
    found = folder_readings(raters, tmp_path / "net", options=ReadingOptions(match=match))
    assert "net" in found.read("c2").readings


def test_each_model_may_have_its_own_pattern(raters, tmp_path):
    write_boxes(tmp_path / "net", "c1_seg", "c2_seg")
    write_boxes(tmp_path / "atlas", "c1", "c2")
    options = ReadingOptions(match={"net": "{case}_seg"})
    assert folder_readings(raters, [tmp_path / "net", tmp_path / "atlas"], options=options).models == ("net", "atlas")
    with pytest.raises(UsageError, match="--match: no model 'nett'; expected one of net"):
        folder_readings(raters, tmp_path / "net", options=ReadingOptions(match={"nett": "{case}"}))


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ("(.+)_seg", "does not say what the case is"),
        ("(?P<case>(a+)+)_seg", "can take for ever"),
        ("(?P<case>", "not a regular expression"),
        ("{case}_mask", "net: no file fits {case}_mask; got c1_seg.nii.gz"),
        ("(?P<case>c)._seg", "net: two files of case c"),
    ],
)
def test_patterns_that_cannot_be_right_are_refused(raters, tmp_path, match, words):
    write_boxes(tmp_path / "net", "c1_seg", "c2_seg")
    with pytest.raises(UsageError, match=words.replace("(", r"\(") if "{" in words else words):
        folder_readings(raters, tmp_path / "net", options=ReadingOptions(match=match))


def test_raters_may_have_a_pattern_of_their_own(tmp_path):
    write_boxes(tmp_path / "raters" / "A", "c1_gt")
    found = folder_readings(tmp_path / "raters", options=ReadingOptions(raters_match="{case}_gt"))
    assert list(found.cases) == ["c1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ReadingOptions(strata=("site",)), "--strata means nothing for bare folders"),
        (ReadingOptions(match="{case}"), "--match without a model"),
        (ReadingOptions(model_labels="map.yaml"), "--model-labels without a model"),
    ],
)
def test_options_that_would_be_ignored_are_refused(raters, options, words):
    with pytest.raises(UsageError, match=words):
        folder_readings(raters, options=options)


def test_only_the_readers_grid_can_be_resampled_to():
    with pytest.raises(UsageError, match="--resample-to: unknown grid; expected raters, got model"):
        ReadingOptions(resample_to="model")  # type: ignore[arg-type]


def test_images_lie_in_a_folder_of_their_own(raters, tmp_path):
    write_volume(tmp_path / "ct" / "c1.nii.gz", Volume(np.full(GRID.shape, 40, np.float32), GRID))
    found = folder_readings(raters, options=ReadingOptions(images=tmp_path / "ct"))
    assert found.image is not None and (volume := found.image("c1")) is not None
    assert volume.hu.max() == 40 and found.image("c2") is None


# --- manifests


def test_a_manifest_says_who_did_not_read_and_who_found_nothing(tmp_path):
    write_boxes(tmp_path, "a1", "b1", "a2")
    path = manifest(tmp_path, "c1,A,a1.nii.gz", "c1,B,b1.nii.gz", "c2,A,a2.nii.gz", "c2,B,,,absent",
                    "c3,A,,,missing", "c1,net,a1.nii.gz,model", "c2,net,,model,absent")  # fmt: skip
    found = manifest_readings(path)
    assert found.raters == ("A", "B") and found.models == ("net",) and list(found.cases) == ["c1", "c2"]
    case = found.read("c2")
    assert list(case.readings) == ["A", "B", "net"]
    assert not case.readings["B"].boxes() and case.readings["B"].geometry.shape == GRID.shape
    assert found.notes == ("1 case was left out, because no rater read it",)


def test_who_found_nothing_disagrees_with_who_found_something_and_who_did_not_read_does_not(tmp_path):
    write_boxes(tmp_path, "a")
    rows = ["c1,A,a.nii.gz", "c1,B,,,absent", "c1,C,,,missing"]
    case = manifest_readings(manifest(tmp_path, *rows)).read("c1")
    absent, missing = score_case(case.readings, labels=["1"], pairs=[("A", "B"), ("A", "C")])
    assert absent.values["dice"] == 0 and absent.flag == "one_empty" and missing.is_missing


def test_a_case_in_which_everybody_found_nothing_is_read(tmp_path):
    found = manifest_readings(manifest(tmp_path, "c1,A,,,absent", "c1,B,,,absent"))
    case = found.read("c1")
    assert list(case.readings) == ["A", "B"] and not case.readings["A"].boxes()


def test_a_file_that_marks_something_is_not_absent(tmp_path):
    write_boxes(tmp_path, "a1")
    found = manifest_readings(manifest(tmp_path, "c1,A,a1.nii.gz,,absent"))
    with pytest.raises(LabelError, match="case c1, A: absent, but the file marks voxels"):
        found.read("c1")


def test_slices_and_structures_that_were_not_read_are_missing(tmp_path):
    write_boxes(tmp_path, "a1")
    path = manifest(tmp_path, "c1,A,a1.nii.gz,,,,1-2,1", "c1,B,a1.nii.gz")
    reading = manifest_readings(path).read("c1").readings["A"]
    assert reading.slices_read == (1, 2) and reading.was_read("1") and not reading.was_read("2")
    with pytest.raises(LabelError, match="slices_read lies outside the file"):
        manifest_readings(manifest(tmp_path, "c1,A,a1.nii.gz,,,,1-6,")).read("c1")


def test_a_repeat_by_the_same_reader_stands_apart(tmp_path):
    write_boxes(tmp_path, "first")
    write_boxes(tmp_path, "second", start=3)
    found = manifest_readings(manifest(tmp_path, "c1,A,first.nii.gz,,,1", "c1,A,second.nii.gz,,,2"))
    case = found.read("c1")
    assert found.repeats == {"A, reading 2": "A"} and list(case.readings) == ["A"]
    assert case.repeats["A, reading 2"].mask("1").sum() == box(3).sum()


def test_a_truth_from_elsewhere_is_read_beside_the_readers(tmp_path):
    write_boxes(tmp_path, "a")
    write_boxes(tmp_path, "t", start=3)
    found = manifest_readings(manifest(tmp_path, "c1,A,a.nii.gz", "c1,B,a.nii.gz", "c1,phantom,t.nii.gz,truth"))
    case = found.read("c1")
    assert list(case.readings) == ["A", "B"] and found.raters == ("A", "B") and "truth/t.nii.gz" in found.files
    assert case.truth is not None and (case.truth.mask("1") != case.readings["A"].mask("1")).any()


def test_a_models_missing_prediction_needs_to_be_allowed(tmp_path):
    write_boxes(tmp_path, "a")
    path = manifest(tmp_path, "c1,A,a.nii.gz", "c2,A,a.nii.gz", "c1,net,a.nii.gz,model", "c2,net,,model,missing")
    with pytest.raises(FileReadError, match="net: 1 of 2 cases have no prediction; got c2"):
        manifest_readings(path)
    assert "net" not in manifest_readings(path, allow_missing=True).read("c2").readings


def test_files_that_are_not_there_are_counted_without_their_folders(tmp_path):
    path = manifest(tmp_path, "c1,A,Doe_Jane/a.nii.gz", "c2,A,Doe_Jane/b.nii.gz")
    with pytest.raises(FileReadError, match="c1 by A, c2 by A: not there: 2 readings of the manifest") as told:
        manifest_readings(path)
    assert "Doe" not in str(told.value)


def test_names_of_labels_and_strata_come_with_the_manifest(tmp_path):
    write_boxes(tmp_path, "a", value=5)
    (tmp_path / "m.yaml").write_text(
        "labels: {liver: 5}\nreadings:\n  - {case: c1, patient: p, rater: A, path: a.nii.gz, site: N}\n"
    )
    found = manifest_readings(tmp_path / "m.yaml")
    assert found.labels == ("liver",) and found.strata == {"c1": {"site": "N"}} and found.cases == {"c1": "p"}
    assert found.read("c1").readings["A"].mask("liver").sum() == box().sum()


def test_a_manifest_without_a_rater_is_refused(tmp_path):
    write_boxes(tmp_path, "a")
    with pytest.raises(UsageError, match="no rater read any case"):
        manifest_readings(manifest(tmp_path, "c1,net,a.nii.gz,model"))


# --- what a model was trained on


def write_run(folder: Path, fold: int | str = 0) -> Path:
    """The two files of a run folder that say who was trained on."""
    folder.mkdir(parents=True)
    (folder / "folds.json").write_text('{"schema": "medseg.folds/1", "folds": [["c7"], ["c2"]]}')
    (folder / "recipe.yaml").write_text(f"data: x\nfolds: {{count: 2, fold: {fold}}}\n")
    return folder


@pytest.mark.parametrize(("run", "fold"), [("run", 0), ("run", 1), ("run", "all"), ("run/fold_1", 1)])
def test_patients_whom_the_model_saw_in_training_are_refused(raters, tmp_path, run, fold):
    model = write_boxes(tmp_path / "net", "c1", "c2")
    write_run(tmp_path / run, fold)
    with pytest.raises(
        UsageError, match=r"run: 1 of 2 cases are of patients whom net saw in training.*got c2.*--split"
    ):
        folder_readings(raters, model, options=ReadingOptions(runs=tmp_path / "run"))


def test_a_run_that_saw_others_is_accepted(raters, tmp_path):
    model = write_boxes(tmp_path / "net", "c1", "c2")
    (raters / "A" / "c2.nii.gz").unlink()
    run = write_run(tmp_path / "run")
    assert folder_readings(raters, model, options=ReadingOptions(runs={"net": run})).models == ("net",)


def test_a_run_belongs_to_a_model_that_is_there(raters, tmp_path):
    model = write_boxes(tmp_path / "net", "c1", "c2")
    run = write_run(tmp_path / "run")
    with pytest.raises(UsageError, match="--run: no model 'other'"):
        folder_readings(raters, model, options=ReadingOptions(runs={"other": run}))
    with pytest.raises(FileReadError, match="net: not a run folder"):
        folder_readings(raters, model, options=ReadingOptions(runs=model))


def test_raters_of_the_cases_that_a_run_saw_are_those_it_learned_from(tmp_path):
    """The run saw c2 and c7, which A and C read; B read only what was kept aside."""
    run = write_run(tmp_path / "run")
    read = {"c1": "AB", "c2": "A", "c7": "AC"}
    entries = tuple(
        CaseEntry(case, tmp_path / "ct.nii.gz", {rater: LabelFile(tmp_path / f"{rater}.nii.gz") for rater in raters})
        for case, raters in read.items()
    )
    dataset = Dataset(tmp_path, LabelSet({"background": 0, "liver": 1}), ("A", "B", "C"), entries)
    assert learned_raters({"net": run}, dataset) == {"net": ("A", "C")}
    assert learned_raters({"net": run}, replace(dataset, anonymous=True)) == {}
