"""`agree` on tiny folders, on one real nodule, and on sixty where they are at hand."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import FileReadError, GeometryError, LabelError, UsageError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.volume import Volume
from medseg.io.manifest import CaseEntry, Dataset, ImageOptions, LabelFile
from medseg.io.nifti import write_labels, write_volume
from medseg.report.page import Table
from medseg.workflows.agreement import agree
from medseg.workflows.readings import folder_readings
from tests.support.nifti_files import tilted

GRID = Geometry((24, 20, 8), np.diag([1.0, 1.0, 3.0, 1.0]))
LIDC = Path(__file__).parents[1] / "data" / "lidc"
FAST: dict[str, Any] = {"draws": 300}


def ball(radius: float, rng: np.random.Generator, value: int = 1) -> np.ndarray:
    """A ball with a slightly different centre and radius each time, as readers draw it."""
    centre = np.array([12.0, 10.0, 4.0]) + rng.normal(0, 0.2, 3)
    grid = np.indices(GRID.shape).transpose(1, 2, 3, 0)
    distance = np.linalg.norm((grid - centre) * GRID.spacing_mm, axis=3)
    return (distance <= radius + rng.normal(0, 0.3)).astype(np.uint8) * value


def write_study(root: Path, n: int, *, model_radius: float = 7.0, raters: str = "AB") -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for k in range(n):
        for rater in raters:
            write_labels(root / f"raters/{rater}/c{k:02}.nii.gz", ball(7.0, rng), GRID)
        write_labels(root / f"net/c{k:02}.nii.gz", ball(model_radius, rng), GRID)
    return root / "raters", root / "net"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return write_study(tmp_path_factory.mktemp("study"), 24)


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("agree") / "out"
    result = agree(
        raters=study[0], model=study[1], out=out, margin=0.2, tables=[Table("Extra", ("a",), [["b"]])], **FAST
    )
    return result, out


def test_a_model_that_draws_like_the_readers_agrees_within_the_margin(finished):
    result, _ = finished
    difference = result["labels"]["1"]["models"]["net"]["difference"]["dice"]
    assert (abs(difference["mean"]) < 0.03 and difference["ci95"][0] < 0 < difference["ci95"][1]) or difference["mean"]
    assert difference["method"] == "bootstrap-t" and difference["margin"] == 0.2
    # 24 patients without a miss still allow 14 %, so the guard takes one step off
    assert result["verdict"]["net"]["class"] == "non-inferior"


def test_a_model_that_draws_too_small_is_inferior(tmp_path):
    raters, model = write_study(tmp_path, 22, model_radius=4.0)
    result = agree(raters=raters, model=model, out=tmp_path / "out", margin=0.05, **FAST)
    assert result["verdict"]["net"]["class"] == "inferior"
    assert result["labels"]["1"]["models"]["net"]["difference"]["hd95"]["mean"] < 0


def test_the_core_of_the_schema_is_there(finished):
    result, out = finished
    assert json.loads((out / "agreement.json").read_text()) == result
    assert result["schema"] == "medseg.agreement/1"
    assert {"surface", "percentile_rule", "empty_policy", "domain_mm", "tolerance_mm", "bootstrap"} <= set(
        result["config"]
    )
    assert set(result["config"]["bootstrap"]) == {"draws", "seed", "cluster"}
    assert result["design"] == {"n_cases": 24, "n_patients": 24, "raters": ["A", "B"], "models": ["net"],
                                "missing": {"A": 0, "B": 0, "net": 0}, "anonymous": False}  # fmt: skip
    (label,) = result["labels"].values()
    assert {"mean", "ci95", "median", "p5", "n"} <= set(label["human_human"]["dice"])
    ours = label["models"]["net"]
    assert {"model_human", "difference", "williams", "alt_test", "presence", "volume", "distribution"} <= set(ours)
    assert {"mean", "ci95", "method", "sd", "margin", "class", "n_for_80pct"} <= set(ours["difference"]["nsd"])
    assert set(label["leave_one_out"]) == {"A", "B"}
    assert {"class", "sentence", "reasons"} <= set(result["verdict"]["net"])
    assert {"versions", "input_sha256"} <= set(result["provenance"])


def test_files_are_written_and_tell_no_path(finished, study):
    _, out = finished
    page = (out / "report.html").read_text()
    assert "Extra" in page and "contains patient images" not in page
    assert {path.name for path in (out / "figures").iterdir()} == {
        "forest.svg", "matrix_1.svg", "scatter_1.svg", "volumes_1.svg", "embedding_1.svg", "surface_distance_1.svg",
    }  # fmt: skip
    for path in (out / "agreement.json", out / "report.html", out / "pairs.csv"):
        assert str(study[0].parent) not in path.read_text()


def test_pairs_and_cases_have_a_row_each(finished):
    result, out = finished
    with open(out / "pairs.csv", newline="") as stream:
        pairs = list(csv.DictReader(stream))
    assert len(pairs) == 24 * 3
    assert {row["kind"] for row in pairs} == {"human-human", "model-human"}
    with open(out / "cases.csv", newline="") as stream:
        cases = [row for row in csv.DictReader(stream) if row["metric"] == "dice"]
    mean = np.mean([float(row["difference"]) for row in cases])
    assert mean == pytest.approx(result["labels"]["1"]["models"]["net"]["difference"]["dice"]["mean"])


def test_the_same_seed_gives_the_same_file(study, finished, tmp_path):
    again = agree(raters=study[0], model=study[1], out=tmp_path / "out", margin=0.2, **FAST)
    assert again == finished[0]


def test_readers_alone_are_described(study, tmp_path):
    result = agree(raters=study[0], out=tmp_path / "out", **FAST)
    assert result["labels"]["1"]["models"] == {} and result["design"]["models"] == []
    assert result["verdict"]["readers"]["class"] == "descriptive"
    assert "readers agreed with each other" in result["verdict"]["readers"]["sentence"]
    assert (tmp_path / "out/report.html").exists()


def test_without_a_margin_nothing_is_judged(study, tmp_path):
    result = agree(raters=study[0], model=study[1], out=tmp_path / "out", **FAST)
    assert result["verdict"]["net"]["class"] == "descriptive"
    assert any("no margin" in reason for reason in result["verdict"]["net"]["reasons"])


def test_few_patients_are_described_with_the_reason(tmp_path):
    raters, model = write_study(tmp_path, 4)
    result = agree(raters=raters, model=model, out=tmp_path / "out", margin=0.1, **FAST)
    assert result["verdict"]["net"]["class"] == "descriptive"
    assert any("4 patients" in reason for reason in result["verdict"]["net"]["reasons"])


def test_one_reader_is_described(tmp_path):
    raters, model = write_study(tmp_path, 3, raters="A")
    result = agree(raters=raters, model=model, out=tmp_path / "out", margin=0.1, **FAST)
    assert any("fewer than 2 readers" in reason for reason in result["verdict"]["net"]["reasons"])
    assert result["labels"]["1"]["human_human"]["dice"]["mean"] is None


def test_a_copied_reader_is_warned_about(tmp_path):
    raters, model = write_study(tmp_path, 3)
    shutil.copytree(raters / "A", raters / "C")
    result = agree(raters=raters, model=model, out=tmp_path / "out", **FAST)
    (warning,) = result["warnings"]
    assert "A and C have identical outlines in 3 of 3" in warning
    assert warning in result["verdict"]["net"]["reasons"]


def test_a_missing_reading_is_missing_and_not_empty(tmp_path):
    raters, model = write_study(tmp_path, 4, raters="ABC")
    (raters / "C/c02.nii.gz").unlink()
    result = agree(raters=raters, model=model, out=tmp_path / "out", **FAST)
    assert result["design"]["missing"] == {"A": 0, "B": 0, "C": 1, "net": 0}
    assert result["labels"]["1"]["human_human"]["dice"]["p5"] > 0.7
    assert result["labels"]["1"]["models"]["net"]["presence"]["missed"] == 0


def test_a_missed_structure_is_a_miss_and_infinitely_far(tmp_path):
    raters, model = write_study(tmp_path, 4)
    write_labels(model / "c01.nii.gz", np.zeros(GRID.shape, dtype=np.uint8), GRID)
    result = agree(raters=raters, model=model, out=tmp_path / "out", **FAST)
    ours = result["labels"]["1"]["models"]["net"]
    assert ours["presence"]["missed"] == 1 and ours["presence"]["findings"] == 4
    assert ours["difference"]["dice"]["n"] == 4 and ours["difference"]["hd95"]["n"] == 3
    assert ours["delineation"]["dice"]["n"] == 3
    with open(tmp_path / "out/pairs.csv", newline="") as stream:
        row = next(row for row in csv.DictReader(stream) if row["flag"])
    assert (row["case"], row["dice"], row["hd95"], row["flag"]) == ("c01", "0.0", "", "one_empty")


def test_a_missing_prediction_is_refused_or_left_out(tmp_path):
    raters, model = write_study(tmp_path, 4)
    (model / "c03.nii.gz").unlink()
    with pytest.raises(FileReadError, match=r"1 of 4 cases.*c03"):
        agree(raters=raters, model=model, out=tmp_path / "out")
    result = agree(raters=raters, model=model, out=tmp_path / "out", allow_missing=True, **FAST)
    assert result["design"]["missing"]["net"] == 1
    assert result["labels"]["1"]["human_human"]["dice"]["n"] == 3


def test_a_prediction_that_nobody_read_is_mentioned(tmp_path):
    raters, model = write_study(tmp_path, 3)
    shutil.copy(model / "c00.nii.gz", model / "other.nii.gz")
    result = agree(raters=raters, model=model, out=tmp_path / "out", **FAST)
    assert "left out, because no reader read the case: 1 prediction of net" in result["warnings"][0]


def test_every_value_of_bare_folders_is_a_label(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(3):
        for reader in ("raters/A", "raters/B", "net"):
            write_labels(tmp_path / f"{reader}/c{k}.nii.gz", ball(7.0, rng) * (10 if k else 2), GRID)
    result = agree(raters=tmp_path / "raters", model=tmp_path / "net", out=tmp_path / "out", **FAST)
    assert list(result["labels"]) == ["2", "10"]
    assert result["labels"]["2"]["cases"] == {"marked": 1, "nobody_marked": 2}


def test_bare_folders_may_hold_any_label_format(tmp_path):
    write_study(tmp_path, 2)
    for source, suffix in zip(sorted((tmp_path / "raters" / "A").iterdir()), (".nrrd", ".mha"), strict=True):
        target = tmp_path / "other" / "A" / source.name.replace(".nii.gz", suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        sitk.WriteImage(sitk.ReadImage(str(source)), str(target))
    nifti, other = (folder_readings(tmp_path / name, None) for name in ("raters", "other"))
    for case in nifti.cases:
        ours, theirs = (source.read(case).readings["A"] for source in (nifti, other))
        assert np.array_equal(ours.mask("1"), theirs.mask("1")) and not ours.geometry.differences(theirs.geometry)


def test_a_case_in_two_formats_is_refused(tmp_path):
    raters, _ = write_study(tmp_path, 1)
    (raters / "A" / "c00.mha").write_bytes(b"")
    with pytest.raises(UsageError, match=r"A: two files of case c00; got c00.mha, c00.nii.gz"):
        agree(raters=raters, out=tmp_path / "out", **FAST)


def test_a_kept_gantry_tilt_is_no_grid_to_measure_on(dataset, tmp_path):
    sheared = Geometry(GRID.shape, tilted(18.5).astype(np.float32))
    for path in dataset.root.rglob("*.nii.gz"):
        write_labels(path, np.ones(GRID.shape, np.uint8), sheared)
    kept = tuple(replace(case, image_options=ImageOptions(tilt="keep")) for case in dataset.cases)
    with pytest.raises(GeometryError, match=r"case c0, A: the axes are sheared.*Y-Z 18.5 degrees off.*--tilt resample"):
        agree(replace(dataset, cases=kept), out=tmp_path / "out", **FAST)


def test_unequal_grids_are_refused_with_both_numbers(tmp_path):
    raters, model = write_study(tmp_path, 2)
    wide = Geometry(GRID.shape, np.diag([1.5, 1.0, 3.0, 1.0]))
    write_labels(model / "c01.nii.gz", np.ones(GRID.shape, dtype=np.uint8), wide)
    with pytest.raises(GeometryError, match=r"case c01, net: another grid than A.*1\.5.*never resamples"):
        agree(raters=raters, model=model, out=tmp_path / "out")


def test_the_same_lattice_in_another_axis_order_is_turned_exactly(study, finished, tmp_path):
    model = tmp_path / "net"
    model.mkdir()
    affine = GRID.affine[:, [2, 1, 0, 3]]
    for path in study[1].iterdir():
        rows = np.asarray(_labels(path)).transpose(2, 1, 0)
        write_labels(model / path.name, rows, Geometry(rows.shape, affine))
    result = agree(raters=study[0], model=model, out=tmp_path / "out", margin=0.2, **FAST)
    assert result["labels"] == finished[0]["labels"]


def _labels(path: Path) -> np.ndarray:
    from medseg.io.nifti import read_label_values

    return read_label_values(path)[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "nothing to compare"),
        ({"raters": "r", "dataset": "d"}, "two inputs"),
        ({"raters": "r", "split": "test"}, "no splits"),
        ({"raters": "r", "manifest": "m"}, "two inputs"),
        ({"raters": "r", "metric": "nsd", "primary": "1:dice"}, "two judged metrics"),
        ({"dataset": "d", "model": "m"}, "--model belongs to --raters"),
        ({"raters": "r", "metric": "dise"}, "unknown metric.*one of dice"),
        ({"raters": "r", "margin": -0.05}, "wrong margin"),
        ({"raters": "r", "margin": {"1": 0.0}}, "wrong margin"),
        ({"raters": "r", "draws": 5}, "too few bootstrap draws"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(tmp_path, arguments, words):
    with pytest.raises(UsageError, match=words):
        agree(**arguments, out=tmp_path / "out")


def test_a_margin_for_an_unknown_label_is_refused(study, tmp_path):
    with pytest.raises(UsageError, match="margin for an unknown label"):
        agree(raters=study[0], model=study[1], out=tmp_path / "out", margin={"7": 0.1}, **FAST)


def test_a_folder_without_raters_is_refused(tmp_path):
    with pytest.raises(FileReadError, match="no such folder"):
        agree(raters=tmp_path / "nowhere", out=tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no rater"):
        agree(raters=tmp_path / "empty", out=tmp_path / "out")


# --- a data set with images and a truth


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(1)
    root = tmp_path / "data"
    labels = LabelSet({"background": 0, "lesion": 1, "other": 2})
    cases = []
    for k in range(3):
        for reader in ("A", "B", "T"):
            write_labels(root / f"{reader}/c{k}.nii.gz", ball(7.0, rng), GRID)
        write_volume(root / f"images/c{k}.nii.gz", Volume(np.full(GRID.shape, 40, dtype=np.float32), GRID))
        write_labels(tmp_path / f"net/c{k}.nii.gz", ball(7.0, rng), GRID)
        files = {reader: LabelFile(root / f"{reader}/c{k}.nii.gz") for reader in "AB"}
        cases.append(CaseEntry(f"c{k}", root / f"images/c{k}.nii.gz", files, root / f"T/c{k}.nii.gz", patient="p"))
    return Dataset(root, labels, ("A", "B"), tuple(cases))


def test_readers_and_model_are_held_against_the_truth(dataset, tmp_path):
    result = agree(dataset, tmp_path / "net", out=tmp_path / "out", **FAST)
    truth = result["labels"]["lesion"]["truth"]
    assert set(truth) == {"A", "B", "net"}
    assert 0.8 < truth["net"]["dice"]["mean"] <= 1.0 and truth["net"]["dice"]["n"] == 3
    assert result["design"]["n_patients"] == 1
    assert any("other" in reason for reason in result["verdict"]["net"]["reasons"])


def test_regions_that_overlap_agree_structure_by_structure(dataset, tmp_path):
    rng = np.random.default_rng(5)
    for name, radius in (("liver", 7.0), ("lesion", 3.0)):
        write_labels(dataset.root / f"{name}.nii.gz", ball(radius, rng), GRID)
    drawn = LabelFile(masks={name: dataset.root / f"{name}.nii.gz" for name in ("liver", "lesion")})
    both = tuple(replace(case, raters={"A": drawn, "B": drawn}, truth=None) for case in dataset.cases)
    labels = LabelSet({"background": 0, "liver": 5, "lesion": 6})
    result = agree(replace(dataset, labels=labels, cases=both), out=tmp_path / "out", **FAST)
    for label in ("liver", "lesion"):
        assert result["labels"][label]["human_human"]["dice"]["mean"] == 1.0
    assert (tmp_path / "out" / "report.html").stat().st_size > 1000


def test_a_page_says_whether_it_shows_patients(dataset, tmp_path):
    shown = agree(dataset, tmp_path / "net", out=tmp_path / "with", **FAST)
    hidden = agree(dataset, tmp_path / "net", out=tmp_path / "without", images=False, **FAST)
    pages = [(tmp_path / folder / "report.html").read_text() for folder in ("with", "without")]
    assert shown["config"]["images"] == "contains patient images" and "contains patient images" in pages[0]
    assert hidden["config"]["images"] == "no images" and "contains patient images" not in pages[1]
    # the readers' matrix is an image too, so only the three slices may make the difference
    assert pages[0].count("data:image/png") - pages[1].count("data:image/png") == 3


def test_an_image_on_another_grid_is_refused(dataset, tmp_path):
    wrong = Geometry(GRID.shape, np.diag([2.0, 1.0, 3.0, 1.0]))
    for k in range(3):
        write_volume(dataset.cases[k].image, Volume(np.zeros(GRID.shape, dtype=np.float32), wrong))
    with pytest.raises(GeometryError, match=r"case c\d, image: another grid than the labels"):
        agree(dataset, tmp_path / "net", out=tmp_path / "out", **FAST)


def test_anonymous_readers_get_no_table_of_their_own(dataset, tmp_path):
    nameless = replace(dataset, anonymous=True)
    result = agree(nameless, tmp_path / "net", out=tmp_path / "out", **FAST)
    assert result["labels"]["lesion"]["leave_one_out"] == {} == result["labels"]["lesion"]["presence"]
    assert result["design"]["anonymous"]


def test_bad_input_leaves_an_old_result_as_it_was(dataset, tmp_path):
    agree(dataset, tmp_path / "net", out=tmp_path / "out", **FAST)
    before = (tmp_path / "out/agreement.json").read_text()
    (tmp_path / "net/c2.nii.gz").write_bytes(b"no NIfTI")
    with pytest.raises(FileReadError):
        agree(dataset, tmp_path / "net", out=tmp_path / "out", overwrite=True, **FAST)
    assert (tmp_path / "out/agreement.json").read_text() == before


def test_a_rater_called_truth_is_refused(dataset, tmp_path):
    clash = Dataset(dataset.root, dataset.labels, ("truth",), dataset.cases)
    with pytest.raises(LabelError, match="called 'truth'"):
        agree(clash, tmp_path / "net", out=tmp_path / "out")


def test_a_model_named_like_a_rater_gets_another_name(dataset, tmp_path):
    (tmp_path / "net").rename(tmp_path / "A")
    result = agree(dataset, tmp_path / "A", out=tmp_path / "out", **FAST)
    assert result["design"]["models"] == ["A (model)"]


# --- real readers


def test_one_real_nodule_has_the_published_agreement(tmp_path):
    for k in (1, 2, 3, 4):
        (tmp_path / f"raters/reader{k}").mkdir(parents=True)
        shutil.copy(LIDC / f"reader{k}.nii.gz", tmp_path / f"raters/reader{k}/nodule.nii.gz")
    result = agree(raters=tmp_path / "raters", out=tmp_path / "out", **FAST)
    assert result["labels"]["1"]["human_human"]["dice"]["mean"] == pytest.approx(0.8227, abs=1e-4)
    with open(tmp_path / "out/pairs.csv", newline="") as stream:
        volumes = {row["a"]: float(row["volume_a_ml"]) * 1000 for row in csv.DictReader(stream)}
    assert volumes == pytest.approx({"reader1": 2201.6, "reader2": 2206.7, "reader3": 1348.6}, abs=0.1)


def test_a_radiologist_who_plays_the_model_is_one_reader_among_others(shared_data, tmp_path):
    nodules = sorted(path for path in (shared_data / "lidc_nodules").iterdir() if path.is_dir())[::2]
    for nodule in nodules:
        for k in (1, 2, 3, 4):
            target = tmp_path / ("reader4" if k == 4 else f"raters/reader{k}") / f"{nodule.name}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(nodule / f"reader{k}.nii.gz", target)
    result = agree(raters=tmp_path / "raters", model=tmp_path / "reader4", out=tmp_path / "out", margin=0.05, **FAST)
    ours = result["labels"]["1"]["models"]["reader4"]
    assert abs(ours["difference"]["dice"]["mean"]) < 0.03
    assert ours["williams"]["dice"]["value"] == pytest.approx(1.0, abs=0.04)
    assert result["verdict"]["reader4"]["class"] in ("equivalent", "non-inferior")
