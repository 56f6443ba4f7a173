"""All readings on one grid, and a model's probabilities and samples on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from medseg.errors import FileReadError, GeometryError, LabelError, UsageError, VoxelError
from medseg.imaging.geometry import Geometry
from medseg.imaging.nearest_shift import largest_shift_mm
from medseg.io.nifti import write_labels, write_probabilities
from medseg.workflows.readings import ReadingOptions, folder_readings
from medseg.workflows.readings_labels import ModelLabels
from tests.support.nifti_files import oblique
from tests.support.reading_files import GRID, box, write_boxes, write_structures

FINE = Geometry((24, 20, 6), np.array([[0.5, 0, 0, -0.25], [0, 0.5, 0, -0.25], [0, 0, 3.0, 0], [0, 0, 0, 1]]))
RESAMPLED = ReadingOptions(resample_to="raters")


@pytest.fixture
def raters(tmp_path) -> Path:
    for name in "AB":
        write_boxes(tmp_path / "raters" / name, "c1", "c2")
    return tmp_path / "raters"


def fine_model(folder: Path, *cases: str) -> Path:
    """The raters' box on voxels half as wide in X and Y."""
    labels = box().repeat(2, axis=0).repeat(2, axis=1)
    for case in cases:
        write_labels(folder / f"{case}.nii.gz", labels, FINE)
    return folder


# --- grids


def test_another_grid_is_refused_with_numbers_and_the_option(raters, tmp_path):
    found = folder_readings(raters, fine_model(tmp_path / "net", "c1", "c2"))
    with pytest.raises(
        GeometryError, match=r"c1, net: another grid than A; got shape \(24, 20, 6\) against.*0\.5.*--resample-to"
    ):
        found.read("c1")


def test_a_model_is_resampled_on_request_and_the_report_is_told_by_how_much(raters, tmp_path):
    model = fine_model(tmp_path / "net", "c1")
    write_boxes(model, "c2")
    found = folder_readings(raters, model, options=RESAMPLED)
    case = found.read("c1")
    np.testing.assert_array_equal(case.readings["net"].mask("1"), box() > 0)
    assert case.readings["net"].geometry.shape == GRID.shape
    told = found.told([found.read(name).facts for name in found.cases])
    assert told == ("net: the labels of 1 of 2 cases were resampled to the readers' grid "
                    "(nearest neighbour, by up to 0.35 mm)",)  # fmt: skip  # a quarter mm along X and Y


def test_mask_folders_are_resampled_too(tmp_path):
    write_structures(tmp_path / "raters" / "A", "c1", "liver")
    labels = box().repeat(2, axis=0).repeat(2, axis=1)
    write_labels(tmp_path / "net" / "c1" / "liver.nii.gz", labels, FINE)
    reading = folder_readings(tmp_path / "raters", tmp_path / "net", options=RESAMPLED).read("c1").readings["net"]
    np.testing.assert_array_equal(reading.mask("liver"), box() > 0)


def test_what_a_models_image_does_not_reach_is_told(raters, tmp_path):
    part = GRID.cropped((0, 0, 0), (12, 5, 6))
    write_labels(tmp_path / "net" / "c1.nii.gz", box()[:, :5], part)
    write_labels(tmp_path / "net" / "c2.nii.gz", box()[:, :5], part)
    found = folder_readings(raters, tmp_path / "net", options=RESAMPLED)
    assert "up to 50.0 % of a grid lay outside" in found.told([found.read("c1").facts])[0]


def test_a_model_elsewhere_is_refused_even_when_it_may_be_resampled(raters, tmp_path):
    far = GRID.cropped((500, 0, 0), GRID.shape)
    for case in ("c1", "c2"):
        write_labels(tmp_path / "net" / f"{case}.nii.gz", box(), far)
    with pytest.raises(GeometryError, match=r"no voxel in common.*origin"):
        folder_readings(raters, tmp_path / "net", options=RESAMPLED).read("c1")


def test_raters_are_never_resampled(raters):
    write_labels(raters / "B" / "c1.nii.gz", np.ones(FINE.shape, np.uint8), FINE)
    with pytest.raises(GeometryError, match=r"case c1, B: another grid than A.*never resamples labels in silence.$"):
        folder_readings(raters, options=RESAMPLED).read("c1")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (GRID, 0.0),
        (FINE, np.hypot(0.25, 0.25)),
        (Geometry((24, 20, 3), np.diag([0.5, 0.5, 6.0, 1.0])), 3.0),
        (GRID.cropped((99, 0, 0), (2, 2, 2)), 0.0),
        (Geometry((9, 9, 9), oblique(spacing=(1.0, 2.0, 2.0))), 1.5),
    ],
)
def test_the_largest_shift_follows_from_the_spacings(source, expected):
    assert largest_shift_mm(source, GRID) == pytest.approx(expected)


# --- probabilities


def write_soft(path: Path, inside: float = 0.75, *, labels: int = 2, geometry: Geometry = GRID) -> Path:
    """The last label has this probability in the box, the background the rest."""
    soft = np.zeros((*geometry.shape, labels), np.float32)
    soft[..., -1] = np.where(box(geometry=geometry) > 0, inside, 0)
    soft[..., 0] = 1 - soft[..., -1]
    write_probabilities(path, soft, geometry)
    return path


@pytest.fixture
def net(tmp_path) -> Path:
    return write_boxes(tmp_path / "net", "c1", "c2")


def test_probabilities_are_found_and_read_when_asked_for(raters, net):
    write_soft(net / "probabilities" / "c1.nii.gz")
    found = folder_readings(raters, net)
    soft = found.read("c1").probabilities("1")
    assert soft is not None and soft.dtype == np.float32
    np.testing.assert_array_equal(soft, np.where(box() > 0, np.float32(0.75), 0))
    assert found.read("c2").probabilities("1") is None
    assert list(found.soft_files) == ["net/probabilities/c1.nii.gz"]


def test_probabilities_beside_a_single_model_count_as_its_own(raters, net):
    write_soft(net.parent / "probabilities" / "c1.nii.gz")
    assert folder_readings(raters, net).read("c1").probabilities("1") is not None
    other = write_boxes(net.parent / "other", "c1", "c2")
    assert folder_readings(raters, [net, other]).read("c1").probabilities("1") is None


def test_each_model_has_its_own_probabilities(raters, net):
    other = write_boxes(net.parent / "other", "c1", "c2")
    write_soft(net / "probabilities" / "c1.nii.gz", 0.75)
    write_soft(other / "probabilities" / "c1.nii.gz", 0.5)
    case = folder_readings(raters, [net, other]).read("c1")
    found = [case.probabilities("1", model) for model in (None, "net", "other", "none")]
    assert [None if soft is None else float(soft.max()) for soft in found] == [0.75, 0.75, 0.5, None]


def test_a_single_probability_needs_no_axis_of_labels(raters, net):
    inside = np.where(box() > 0, np.float32(0.75), 0)
    write_probabilities(net / "probabilities" / "c1.nii.gz", inside, GRID)
    soft = folder_readings(raters, net).read("c1").probabilities("1")
    assert soft is not None
    np.testing.assert_array_equal(soft, inside)


def test_named_labels_take_their_place_in_the_list(raters, net):
    write_soft(net / "probabilities" / "c1.nii.gz", labels=3)
    case = folder_readings(raters, net, options=ReadingOptions(labels="liver=1,spleen=2")).read("c1")
    soft = case.probabilities("spleen")
    assert soft is not None and float(soft.max()) == 0.75
    write_soft(net / "probabilities" / "c1.nii.gz", labels=4)
    with pytest.raises(LabelError, match=r"another number of labels.*expected 3: background, liver, spleen, got 4"):
        case.probabilities("spleen")


def test_the_map_of_a_models_labels_adds_up_the_probabilities_of_one_label(raters, tmp_path):
    net = write_boxes(tmp_path / "net", "c1", "c2", value=2)
    soft = np.zeros((*GRID.shape, 3), np.float32)
    soft[..., 1], soft[..., 2] = 0.25, 0.5
    write_probabilities(net / "probabilities" / "c1.nii.gz", soft, GRID)
    settings = ReadingOptions(model_labels=ModelLabels(labels={"1": "1", "2": "1"}))
    found = folder_readings(raters, net, options=settings).read("c1").probabilities("1")
    assert found is not None and np.all(found == 0.75)


@pytest.mark.parametrize(("value", "told"), [(1.5, "-0.5 to 1.5"), (-3.0, "-3 to 4"), (np.nan, "NaN")])
def test_values_that_are_no_probabilities_are_refused(raters, net, value, told):
    write_soft(net / "probabilities" / "c1.nii.gz", value)
    case = folder_readings(raters, net).read("c1")
    with pytest.raises(
        VoxelError, match=f"c1, model net, probabilities: values that are no .*expected 0 to 1, got {told}"
    ):
        case.probabilities("1")


def test_probabilities_on_another_grid_are_refused_or_resampled(raters, tmp_path):
    net = fine_model(tmp_path / "net", "c1", "c2")
    soft = np.full((*FINE.shape, 2), 0.5, np.float32)
    write_probabilities(net / "probabilities" / "c1.nii.gz", soft, FINE)
    found = folder_readings(raters, net, options=RESAMPLED).read("c1").probabilities("1")
    assert found is not None and found.shape == GRID.shape and np.allclose(found, 0.5)
    write_boxes(net, "c1")
    with pytest.raises(GeometryError, match="probabilities: another grid than the readers"):
        folder_readings(raters, net, allow_missing=True).read("c1").probabilities("1")


def test_probabilities_are_turned_as_labels_are(raters, net):
    affine = GRID.affine[:, [2, 1, 0, 3]]
    rows = np.where(box() > 0, 0.75, 0).astype(np.float32).transpose(2, 1, 0)
    turned = np.stack([1 - rows, rows], axis=3)
    write_probabilities(net / "probabilities" / "c1.nii.gz", turned, Geometry(rows.shape, affine))
    soft = folder_readings(raters, net).read("c1").probabilities("1")
    assert soft is not None
    np.testing.assert_array_equal(soft, np.where(box() > 0, np.float32(0.75), 0))


def test_two_probability_files_of_one_case_are_refused(raters, net):
    for suffix in (".nii", ".nii.gz"):
        write_soft(net / "probabilities" / f"c1{suffix}")
    with pytest.raises(UsageError, match="probabilities: two files of case c1"):
        folder_readings(raters, net)


def test_a_damaged_file_is_named_by_its_case(raters, net):
    path = write_soft(net / "probabilities" / "c1.nii.gz")
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(FileReadError, match="case c1, model net, probabilities"):
        folder_readings(raters, net).read("c1").probabilities("1")


# --- samples


def test_samples_come_one_by_one_in_the_order_of_their_numbers(raters, net):
    for number, start in ((1, 2), (2, 3), (10, 4)):
        write_labels(net / "samples" / "c1" / f"{number}.nii.gz", box(start), GRID)
    found = folder_readings(raters, net)
    case = found.read("c1")
    assert case.sample_count() == 3 and found.read("c2").sample_count() == 0
    assert [sample.mask("1").sum() for sample in case.samples()] == [box(start).sum() for start in (2, 3, 4)]
    assert list(found.read("c2").samples()) == [] and len(found.soft_files) == 3


def test_a_sample_on_another_grid_is_refused(raters, net):
    write_labels(net / "samples" / "c1" / "1.nii.gz", np.ones(FINE.shape, np.uint8), FINE)
    with pytest.raises(GeometryError, match="another grid than readers"):
        list(folder_readings(raters, net).read("c1").samples())
