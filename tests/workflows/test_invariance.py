"""Threshold models on blocks: where they break follows from geometry and HU."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import FileReadError, GeometryError, LabelError, OutputExistsError, UsageError
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io.nifti import write_labels
from medseg.workflows.dose_response import invariance
from medseg.workflows.invariance_files import invariance_figure, threshold_table
from tests.support.sided_blocks import GRID, NAMES, body, by_side, make_dataset

ALL, TRUTH, OWN = "all structures", "truth", "untransformed prediction"


@pytest.fixture(autouse=True)
def no_page(request, monkeypatch):
    """Drawing takes longer than everything else: only tests that look at the page have one."""
    if "page" not in request.node.name and "images" not in request.node.name:
        monkeypatch.setattr("medseg.workflows.invariance_files.invariance_page", lambda result, pictures: "")
        monkeypatch.setattr("medseg.workflows.invariance_files.save", lambda figure, path: None)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    return make_dataset(tmp_path_factory.mktemp("blocks"))


def run(dataset, out, model=by_side, **options):
    options = {"images": False} | options
    return invariance(model, dataset, out=out, **options)


def breaks(result, transform, reference=TRUTH, label=ALL, model="by_side"):
    return {side["side"]: side["at"] for side in result["results"][model]["breaks"][transform][label][reference]}


def means(result, transform, reference=TRUTH, label=ALL, model="by_side"):
    points = result["results"][model]["curves"][transform][label][reference]
    return {point["dose"]: point["mean"] for point in points}


def test_an_hu_shift_breaks_a_threshold_exactly_between_the_last_kept_and_the_first_lost_dose(dataset, tmp_path):
    result = run(dataset, tmp_path / "out", transforms="hu_shift", doses=["hu_shift=-60,-40,90"])
    assert means(result, "hu_shift") == {-60: 0, -40: 1, 0: 1, 90: 1}
    assert breaks(result, "hu_shift") == {"below": pytest.approx(-41), "above": None}  # 0.05 of the way from -40
    shown = list(threshold_table(result).columns[1].cells)
    assert [text.partition(" (")[0] for text in shown] == ["−41 HU", "not within the tested doses"]


def test_a_model_that_goes_by_side_is_equivariant_to_flips_because_names_are_swapped(dataset, tmp_path):
    result = run(dataset, tmp_path / "out", transforms="flip_x,flip_y,flip_z")
    for name in ("flip_x", "flip_y", "flip_z"):
        assert means(result, name, OWN) == {0: 1, 1: 1}


def test_without_mirror_pairs_the_flip_breaks_the_same_model(tmp_path):
    data = make_dataset(tmp_path / "data", names=LabelSet(NAMES.values))
    assert means(run(data, tmp_path / "out", transforms="flip_x"), "flip_x") == {0: 1, 1: 0}


def test_a_half_turn_about_the_body_axis_makes_left_right(dataset, tmp_path):
    result = run(dataset, tmp_path / "out", doses=["rotation_z=180"], transforms="rotation_z")
    assert means(result, "rotation_z") == {0: 1, 180: 0}
    assert means(result, "rotation_z", "resampling alone") == {0: 1, 180: 1}
    assert breaks(result, "rotation_z") == {"above": pytest.approx(9)}  # 0.05 of 180


def test_experts_are_told_one_by_one_and_together(dataset, tmp_path):
    result = run(dataset, tmp_path / "out", transforms="blur", doses=["blur=0.1"])
    single = [means(result, "blur", name)[0] for name in "AB"]
    assert result["design"]["references"] == [TRUTH, "experts", "A", "B", OWN]
    assert single[1] == pytest.approx(1)
    assert single[0] == pytest.approx(8 / 9)  # four of five slices
    assert means(result, "blur", "experts")[0] == pytest.approx(np.mean(single))


def test_scores_of_the_unchanged_input_are_those_of_evaluate(dataset, tmp_path):
    from medseg.workflows import evaluate

    def faulty(volume):
        return np.where(np.arange(10) < 6, by_side(volume), 0).astype(np.uint8)

    result = run(dataset, tmp_path / "out", model=faulty, transforms="blur", doses=["blur=0.1"])
    for number in range(3):
        labels = body(number)
        write_labels(tmp_path / f"predictions/c{number}.nii.gz", np.where(np.arange(10) < 6, labels, 0), GRID)
    expected = evaluate(dataset, tmp_path / "predictions", tmp_path / "evaluation")
    for label in ("left", "right"):
        for rater in ("A", "B", TRUTH):
            found = result["results"]["faulty"]["curves"]["blur"][label][rater][0]
            assert found["mean"] == pytest.approx(expected["labels"][label][rater]["dice"]["mean"])


def test_every_score_stands_in_the_table(dataset, tmp_path):
    run(dataset, tmp_path / "out", transforms="blur", doses=["blur=1"])
    with open(tmp_path / "out" / "invariance.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 2 * 2 * 4  # cases, doses, structures; truth, two experts and the model itself
    assert set(rows[0]) == {"model", "case", "patient", "transform", "dose", "unit", "label", "reference", "dice"}


def test_the_file_is_what_the_call_returns_and_the_page_needs_nothing_else(dataset, tmp_path):
    result = run(dataset, tmp_path / "out", transforms="blur,scale", doses=["blur=1", "scale=0.5"], images=True)
    assert json.loads((tmp_path / "out" / "invariance.json").read_text()) == result
    page = (tmp_path / "out" / "report.html").read_text()
    assert "contains patient images" in page
    assert "http" not in page.replace("http-equiv", "")
    assert str(tmp_path) not in page
    assert (tmp_path / "out" / "figures" / "curves.pdf").read_bytes().startswith(b"%PDF")


def test_a_figure_page_is_drawn_again_from_the_result(dataset, tmp_path):
    run(dataset, tmp_path / "out", transforms="blur", doses=["blur=1"])
    drawn = invariance_figure(tmp_path / "out", tmp_path / "curve.svg", transforms=["blur"])
    assert drawn.read_text().count("<svg") == 1
    with pytest.raises(OutputExistsError):
        invariance_figure(tmp_path / "out", tmp_path / "curve.svg")
    with pytest.raises(FileReadError, match="not what `medseg invariance` wrote"):
        invariance_figure(dataset, tmp_path / "other.svg")


def test_no_images_leaves_outlines(dataset, tmp_path):
    run(dataset, tmp_path / "out", transforms="hu_shift", doses=["hu_shift=-60"])
    page = (tmp_path / "out" / "report.html").read_text()
    assert "no images (outlines only)" in page
    assert "data:image" not in page


def test_without_references_only_the_equivariance_is_told(tmp_path):
    data = make_dataset(tmp_path / "data", references=False)
    result = run(data, tmp_path / "out", doses=["rotation_z=180"], transforms="rotation_z")
    assert result["design"]["main_reference"] == OWN
    assert means(result, "rotation_z", OWN) == {0: 1, 180: 0}
    assert any("no reference" in note for note in result["notes"])


def test_one_patient_has_no_interval_and_the_notes_say_why(tmp_path):
    result = run(make_dataset(tmp_path / "data", cases=1), tmp_path / "out", transforms="blur", doses=["blur=1"])
    point = result["results"]["by_side"]["curves"]["blur"][ALL][TRUTH][1]
    assert (point["ci95"], point["no_interval"]) == (None, "fewer than two patients")
    assert any("one patient" in note for note in result["notes"])


def test_another_model_is_compared_on_the_same_inputs(dataset, tmp_path):
    def lenient(volume):
        return by_side(Volume(volume.hu + 80, volume.geometry))  # a threshold of 20 HU

    result = run(dataset, tmp_path / "out", transforms="hu_shift", doses=["hu_shift=-60,-40"], versus=[lenient])
    entry = result["versus"]["lenient"]["hu_shift"][ALL][TRUTH]
    assert [point["difference"] for point in entry["doses"]] == [-1, 0, 0]
    assert entry["mean_over_doses"]["difference"] == pytest.approx(-0.5)


def test_slices_as_thick_already_are_not_predicted_again(dataset, tmp_path):
    seen = []

    def counting(volume):
        seen.append(volume.hu.shape)
        return by_side(volume)

    run(dataset, tmp_path / "out", model=counting, transforms="slice_thickness", doses=["slice_thickness=3,8"], cases=1)
    assert seen[:2] == [(20, 14, 10), (20, 14, 5)]
    assert seen.count((20, 14, 10)) == 1 + seen[2:].count((20, 14, 10))  # the picture of the worst case asks once more


def test_only_the_first_cases_are_tested(dataset, tmp_path):
    result = run(dataset, tmp_path / "out", transforms="blur", doses=["blur=1"], cases=2)
    assert result["design"]["n_cases"] == 2


@pytest.mark.parametrize(("model", "error", "message"), [
    (lambda volume: volume.hu, LabelError, "labels must be integers"),
    (lambda volume: np.zeros((2, 2, 2), dtype=np.uint8), GeometryError, "do not lie on the grid of the volume"),
    (lambda volume: np.full(volume.hu.shape, 9, dtype=np.uint8), LabelError, "that the label list does not know"),
], ids=["floats", "shape", "value"])  # fmt: skip
def test_what_a_model_gives_back_is_checked(dataset, tmp_path, model, error, message):
    with pytest.raises(error, match=message):
        run(dataset, tmp_path / "out", model=model, transforms="blur")


@pytest.mark.parametrize(("options", "message"), [
    ({"cases": 0}, "--cases: too few cases"),
    ({"predictions": "somewhere"}, "one thing to test is needed"),
    ({"versus": [by_side]}, "two models have one name"),
    ({"versus": [by_side] * 4}, "too many models"),
])  # fmt: skip
def test_wrong_calls_are_one_sentence(dataset, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        run(dataset, tmp_path / "out", transforms="blur", **options)


def test_a_finished_result_is_not_overwritten_unasked(dataset, tmp_path):
    run(dataset, tmp_path / "out", transforms="blur", doses=["blur=1"])
    with pytest.raises(OutputExistsError):
        run(dataset, tmp_path / "out", transforms="blur", doses=["blur=1"])
    run(dataset, tmp_path / "out", transforms="blur", doses=["blur=1"], overwrite=True)


def test_an_absent_image_is_told_before_anything_is_predicted(tmp_path):
    data = make_dataset(tmp_path / "data")
    (tmp_path / "data/images/c1.nii.gz").unlink()
    with pytest.raises(FileReadError, match="1 images are not there"):
        run(data, tmp_path / "out", transforms="blur")


def test_a_run_is_tested_and_patients_of_its_training_are_told(run_folder, phantoms, tmp_path):
    options = {"transforms": "flip_x", "images": False}
    unseen = invariance(run_folder, phantoms, out=tmp_path / "unseen", split="test", **options)
    seen = invariance(run_folder, phantoms, out=tmp_path / "seen", split="train", cases=1, **options)
    assert unseen["models"] == ["run"]
    assert [point["dose"] for point in unseen["results"]["run"]["curves"]["flip_x"]["liver"][TRUTH]] == [0, 1]
    assert not any("training" in note for note in unseen["notes"])
    assert any("1 of 1 patients were seen by run in training" in note for note in seen["notes"])


def test_a_run_of_other_labels_is_refused(run_folder, dataset, tmp_path):
    with pytest.raises(LabelError, match="run was trained for other labels than those of the data set"):
        invariance(run_folder, dataset, out=tmp_path / "out", transforms="blur")


def test_a_rater_may_not_be_called_like_a_reference(tmp_path):
    data = make_dataset(tmp_path / "data")
    data.write_text(data.read_text().replace("[A, B]", "[A, experts]").replace("B: ", "experts: "))
    with pytest.raises(LabelError, match="a rater is called 'experts'"):
        run(data, tmp_path / "out", transforms="blur")


def test_experts_with_a_mask_for_each_structure_are_scored_structure_by_structure(tmp_path):
    data = make_dataset(tmp_path / "data", cases=1)
    for name, value in (("left", 1), ("right", 2)):
        mask = body(0) == value
        if name == "right":
            mask |= body(0) == 1  # overlaps the other one
        write_labels(tmp_path / f"data/masks/{name}.nii.gz", mask.astype(np.uint8), GRID)
    masks = "A: {masks: {left: masks/left.nii.gz, right: masks/right.nii.gz}}"
    data.write_text(data.read_text().replace("A: labels/A/c0.nii.gz", masks))
    result = run(data, tmp_path / "out", transforms="flip_x")
    assert means(result, "flip_x", "A", "left") == {0: 1, 1: 1}
    assert means(result, "flip_x", "A", "right") == {0: pytest.approx(2 / 3), 1: pytest.approx(2 / 3)}
