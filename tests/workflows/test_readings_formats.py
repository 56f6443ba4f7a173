"""Readings of every format, and what a model calls the labels."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import ConfigError, DicomError, LabelError, UsageError
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io.nifti import write_labels
from medseg.io.roi_names import RoiRules
from medseg.workflows.readings import ReadingOptions, folder_readings, manifest_readings
from medseg.workflows.readings_labels import ModelLabels, read_model_labels
from tests.support.reading_files import GRID, box, write_boxes, write_structures
from tests.support.rtstruct_writer import write_ct, write_rtstruct

DICOM = Path(__file__).parents[1] / "data" / "dicom"
CT_GRID = Geometry((20, 16, 5), np.array([[-1.0, 0, 0, 9], [0, -1.0, 0, 7], [0, 0, 3.0, -50], [0, 0, 0, 1]]))
ROIS = {"labels": {"liver": {"value": 1, "match": "liver.*"}, "lesion": {"value": 2, "match": "gtv.*"}}}


@pytest.fixture
def raters(tmp_path) -> Path:
    """Two raters of one case, value 1."""
    for name in "AB":
        write_boxes(tmp_path / "raters" / name, "c1")
    return tmp_path / "raters"


def options(**changes) -> ReadingOptions:
    return ReadingOptions(**changes)


# --- a mask file for each structure


def test_mask_folders_of_raters_and_model_meet_by_name(tmp_path):
    write_structures(tmp_path / "raters" / "A", "c1", "liver", "spleen")
    write_structures(tmp_path / "raters" / "B", "c1", "liver")
    write_structures(tmp_path / "totalseg", "c1", "liver", "spleen")
    found = folder_readings(tmp_path / "raters", tmp_path / "totalseg")
    case = found.read("c1")
    assert found.labels == ("liver", "spleen")
    assert not case.readings["B"].was_read("spleen")  # no file: not looked for
    np.testing.assert_array_equal(case.readings["A"].mask("spleen"), case.readings["totalseg"].mask("spleen"))
    assert found.told([case.facts])[0].startswith("label sets differ: no reading of B holds spleen")
    assert "totalseg/c1/liver.nii.gz" in found.files


def test_masks_may_lie_one_folder_deeper_as_in_totalsegmentators_training_data(tmp_path):
    write_structures(tmp_path / "raters" / "A" / "s0001", "segmentations", "liver")
    assert folder_readings(tmp_path / "raters").labels == ("liver",)


def test_a_models_further_structures_are_refused_or_left_out_by_the_map(tmp_path, raters):
    write_structures(tmp_path / "seg", "c1", "liver", "spleen", "stomach")
    with pytest.raises(LabelError, match=r"c1, model seg: structures that are no label.*got spleen, stomach.*--model-"):
        folder_readings(raters, tmp_path / "seg", options=options(labels="liver=1"))
    mapping = ModelLabels(labels={"liver": "liver"}, ignore="rest")
    found = folder_readings(raters, tmp_path / "seg", options=options(labels="liver=1", model_labels=mapping))
    reading = found.read("c1").readings["seg"]
    assert reading.boxes().keys() == {"liver"} and reading.mask("liver").sum() == box().sum()


def test_structures_become_values_and_may_be_united(tmp_path, raters):
    write_structures(tmp_path / "seg", "c1", "lobe_left", "lobe_right")
    mapping = ModelLabels(labels={"lobe_left": "1", "lobe_right": "1"})
    found = folder_readings(raters, tmp_path / "seg", options=options(model_labels=mapping))
    either = (box(2) + box(3)) > 0
    np.testing.assert_array_equal(found.read("c1").readings["seg"].mask("1"), either)


def test_names_and_values_that_nothing_ties_together_are_refused(tmp_path, raters):
    model = write_structures(tmp_path / "seg", "c1", "liver")
    with pytest.raises(UsageError, match=r"structures with names beside label maps of values.*--labels.*got liver"):
        folder_readings(raters, model)
    write_structures(tmp_path / "named" / "A", "c1", "liver")
    with pytest.raises(UsageError, match="a label map of values beside structures with names"):
        folder_readings(tmp_path / "named", write_boxes(tmp_path / "net", "c1"))


def test_a_structure_stored_twice_is_refused(tmp_path):
    write_structures(tmp_path / "raters" / "A", "c1", "liver")
    shutil.copy(tmp_path / "raters/A/c1/liver.nii.gz", tmp_path / "raters/A/c1/liver.nii")
    with pytest.raises(UsageError, match="two files of structure liver"):
        folder_readings(tmp_path / "raters")


# --- what a model calls the labels


@pytest.mark.parametrize("text", ["5: liver\nignore: [3]\n", "labels: {5: liver}\nignore: rest\n"])
def test_a_models_values_become_the_readers_labels(raters, tmp_path, text):
    model = tmp_path / "net"
    write_labels(model / "c1.nii.gz", box(value=5) + box(8, 10, 3), GRID)
    (tmp_path / "map.yaml").write_text(text)
    settings = options(labels="liver=1,spleen=2", model_labels=tmp_path / "map.yaml")
    reading = folder_readings(raters, model, options=settings).read("c1").readings["net"]
    assert reading.mask("liver").sum() == box().sum() and not reading.mask("spleen").any()
    assert not reading.was_read("spleen")  # nothing of the model becomes it: not looked for, so no miss


def test_values_that_the_map_does_not_know_are_refused(raters, tmp_path):
    write_labels(tmp_path / "net" / "c1.nii.gz", box(value=5) + box(8, 10, 3), GRID)
    found = folder_readings(raters, tmp_path / "net", options=options(model_labels=ModelLabels(labels={"5": "1"})))
    with pytest.raises(
        LabelError, match=r"c1, model net: .*map of the model's labels.*expected 5, got 3.*`ignore: rest`"
    ):
        found.read("c1")


def test_a_map_to_a_label_that_nobody_has_is_refused(raters, tmp_path):
    model = write_boxes(tmp_path / "net", "c1")
    mapping = ModelLabels(labels={"1": "livre"})
    with pytest.raises(LabelError, match=r"unknown label 'livre' .did you mean 'liver'"):
        folder_readings(raters, model, options=options(labels="liver=1", model_labels=mapping))
    with pytest.raises(UsageError, match="leads to 'livre', and the readers' labels are values"):
        folder_readings(raters, model, options=options(model_labels=mapping))


def test_a_map_may_belong_to_one_of_several_models(raters, tmp_path):
    net, own = write_boxes(tmp_path / "net", "c1", value=5), write_boxes(tmp_path / "own", "c1")
    settings = options(model_labels={"net": ModelLabels(labels={"5": "1"})})
    case = folder_readings(raters, [net, own], options=settings).read("c1")
    np.testing.assert_array_equal(case.readings["net"].mask("1"), case.readings["own"].mask("1"))


def test_file_names_stand_for_their_structures(tmp_path):
    (tmp_path / "map.yaml").write_text("kidney_left.nii.gz: kidney\nignore: [stomach.nii.gz, 3]\n")
    found = read_model_labels(tmp_path / "map.yaml")
    assert found is not None and found.labels == {"kidney_left": "kidney"} and found.ignore == ("stomach", "3")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1:\n", "'1' becomes no label.*`ignore:`"),
        ("1: background\n", "'1' becomes no label"),
        ("1: liver\nignore: [1]\n", "'1' has a label and is ignored"),
        ("1: liver\nignore: all\n", "`ignore` is no list"),
        ("ignore: rest\n", "no label"),
        ("labels: {1: liver}\nignored: [2]\n", "unknown key 'ignored'"),
        ("a.nii.gz: liver\na: spleen\n", "'a' stands twice"),
    ],
)
def test_faults_of_a_map_are_named(tmp_path, text, words):
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_model_labels(tmp_path / "map.yaml")


# --- other files


def test_nrrd_and_mha_are_read_as_nifti_is(raters, tmp_path):
    for reader, suffix in (("A", ".nrrd"), ("B", ".mha")):
        nifti = raters / reader / "c1.nii.gz"
        sitk.WriteImage(sitk.ReadImage(str(nifti)), str(nifti).replace(".nii.gz", suffix))
        nifti.unlink()
    case = folder_readings(raters, write_boxes(tmp_path / "net", "c1")).read("c1")
    for reading in case.readings.values():
        np.testing.assert_array_equal(reading.mask("1"), box() > 0)


def write_slicer(path: Path, names: dict[str, int]) -> None:
    """A segmentation of 3-D Slicer that holds a liver, cropped to the voxels from (2, 2, 1) on."""
    labels = np.zeros((3, 6, 6), np.uint8)  # z, y, x
    labels[:, :5, :5] = names["liver"]
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((1.0, 1.0, 3.0))
    image.SetOrigin((-2.0, -2.0, 3.0))  # LPS
    image.SetDirection((-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0))
    for index, (name, value) in enumerate(names.items()):
        for key, text in (("ID", name), ("Name", name), ("LabelValue", str(value)), ("Layer", "0")):
            image.SetMetaData(f"Segment{index}_{key}", text)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def test_slicers_segments_are_compared_by_name_not_by_value(tmp_path):
    write_slicer(tmp_path / "raters" / "A" / "c1.seg.nrrd", {"liver": 1, "spleen": 2})
    write_slicer(tmp_path / "raters" / "B" / "c1.seg.nrrd", {"spleen": 1, "liver": 2})
    found = folder_readings(tmp_path / "raters")
    case = found.read(next(iter(found.cases)))
    assert found.labels == ("liver", "spleen")
    assert case.readings["A"].mask("liver").sum() == box().sum() and not case.readings["B"].mask("spleen").any()
    np.testing.assert_array_equal(case.readings["A"].mask("liver"), case.readings["B"].mask("liver"))


def test_slicers_names_beside_a_models_values_need_the_names_of_the_values(tmp_path):
    write_slicer(tmp_path / "raters" / "A" / "c1.nrrd", {"liver": 1, "spleen": 2})
    net = write_boxes(tmp_path / "net", "c1", value=7)
    case = folder_readings(tmp_path / "raters", net, options=options(labels="liver=7,spleen=8")).read("c1")
    np.testing.assert_array_equal(case.readings["A"].mask("liver"), case.readings["net"].mask("liver"))


def test_cropped_segments_are_put_onto_the_grid_of_the_others(tmp_path):
    write_slicer(tmp_path / "raters" / "A" / "c1.nrrd", {"liver": 1})
    write_structures(tmp_path / "raters" / "B", "c1", "liver")
    case = folder_readings(tmp_path / "raters").read("c1")
    assert case.geometry.shape == GRID.shape
    np.testing.assert_array_equal(case.readings["A"].mask("liver"), case.readings["B"].mask("liver"))


# --- DICOM


def manifest(folder: Path, *rows: str) -> Path:
    path = folder / "m.csv"
    path.write_text("\n".join(["case,rater,path,role,image", *rows]) + "\n")
    return path


def drawn(start: int) -> np.ndarray:
    mask = np.zeros(CT_GRID.shape, dtype=bool)
    mask[start : start + 6, 3:9, 1:4] = True
    return mask


@pytest.fixture
def structure_sets(tmp_path) -> Path:
    """A CT series, two structure sets that were drawn on it, and a model's label map on its grid."""
    series = write_ct(tmp_path / "ct", Volume(np.zeros(CT_GRID.shape, np.float32), CT_GRID))
    for name, start in (("A", 3), ("B", 4)):
        write_rtstruct(tmp_path / f"{name}.dcm", series, {"Liver": drawn(start), "GTV 1": drawn(8)}, label=name)
    write_labels(tmp_path / "net.nii.gz", drawn(4).astype(np.uint8), CT_GRID)
    return tmp_path


def test_structure_sets_are_drawn_on_their_ct_and_meet_a_label_map(structure_sets):
    rows = ["c1,A,A.dcm,human,ct", "c1,B,B.dcm,,ct", "c1,net,net.nii.gz,model,"]
    rules = RoiRules.model_validate({**ROIS, "overlap": "separate"})
    found = manifest_readings(manifest(structure_sets, *rows), options=options(rois=rules))
    case = found.read("c1")
    assert found.labels == ("liver", "lesion")
    np.testing.assert_array_equal(case.readings["A"].mask("liver"), drawn(3))
    np.testing.assert_array_equal(case.readings["net"].mask("liver"), case.readings["B"].mask("liver"))
    assert found.image is not None and (volume := found.image("c1")) is not None
    assert volume.geometry.shape == CT_GRID.shape
    assert {"A/c1.dcm", "net/net.nii.gz"} <= set(found.files)


def test_bare_folders_take_structure_sets_with_their_images(structure_sets):
    for name in "AB":
        (structure_sets / "raters" / name).mkdir(parents=True)
        shutil.move(structure_sets / f"{name}.dcm", structure_sets / "raters" / name / "c1.dcm")
    (structure_sets / "images").mkdir()
    shutil.move(structure_sets / "ct", structure_sets / "images" / "c1")
    settings = options(rois=RoiRules.model_validate({**ROIS, "overlap": "separate"}), images=structure_sets / "images")
    case = folder_readings(structure_sets / "raters", options=settings).read("c1")
    np.testing.assert_array_equal(case.readings["B"].mask("liver"), drawn(4))


def test_regions_that_overlap_are_settled_as_the_rules_say(structure_sets):
    path = manifest(structure_sets, "c1,B,B.dcm,human,ct")
    with pytest.raises(LabelError, match=r"case c1, B: regions overlap.*share.*`overlap: separate`"):
        manifest_readings(path, options=options(rois=RoiRules.model_validate(ROIS))).read("c1")
    rules = RoiRules.model_validate({**ROIS, "overlap": "priority", "priority": ["lesion"]})
    reading = manifest_readings(path, options=options(rois=rules)).read("c1").readings["B"]
    np.testing.assert_array_equal(reading.mask("liver"), drawn(4) & ~drawn(8))


def test_a_structure_set_needs_rules_and_its_series(structure_sets):
    with pytest.raises(UsageError, match=r"c1, A: a structure set, and no rule.*--rois rois.yaml"):
        manifest_readings(manifest(structure_sets, "c1,A,A.dcm,human,ct"))
    rules = RoiRules.model_validate(ROIS)
    for image, words in (("", "the CT's DICOM series"), ("net.nii.gz", "the image is no DICOM series")):
        found = manifest_readings(manifest(structure_sets, f"c1,A,A.dcm,human,{image}"), options=options(rois=rules))
        with pytest.raises(UsageError, match=words):
            found.read("c1")


def test_segmentations_are_compared_by_their_segments_names(tmp_path):
    for name in "AB":
        (tmp_path / "raters" / name / "c1").mkdir(parents=True)
        shutil.copy(DICOM / "seg" / "binary.dcm", tmp_path / "raters" / name / "c1" / "1.2.3.dcm")
    found = folder_readings(tmp_path / "raters")
    case = found.read("c1")
    assert found.labels and case.readings["A"].mask(found.labels[0]).any()
    np.testing.assert_array_equal(case.readings["A"].mask(found.labels[0]), case.readings["B"].mask(found.labels[0]))
    assert set(found.files) == {"raters/A/c1.dcm", "raters/B/c1.dcm"}  # a file's name is often a UID


def test_a_fractional_segmentation_needs_a_threshold(tmp_path):
    (tmp_path / "raters" / "A").mkdir(parents=True)
    shutil.copy(DICOM / "seg" / "fractional.dcm", tmp_path / "raters" / "A" / "c1.dcm")
    with pytest.raises(DicomError, match=r"case c1, A: .*--threshold"):
        folder_readings(tmp_path / "raters").read("c1")
    case = folder_readings(tmp_path / "raters", options=options(threshold=0.5)).read("c1")
    assert any(mask.any() for mask in case.readings["A"].masks.values())  # type: ignore[union-attr]
