"""`masks`: what another tool drew comes back as DICOM on the slices of its series."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from medseg.cli import main
from medseg.errors import LabelError, OutputExistsError, UsageError
from medseg.imaging.geometry import reorient
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.io.dicom_seg import read_segmentation
from medseg.io.dicom_write_source import DicomSource, read_source
from medseg.io.itk_nrrd_write import write_segmentation_nrrd
from medseg.io.nifti import write_labels
from medseg.workflows import masks
from tests.support.acquired import LABELS, TILTED, predicted, write_slices

SAID = "kidney_left=2,Ring=7"


@pytest.fixture
def source(tmp_path: Path) -> DicomSource:
    return read_source(write_slices(tmp_path / "ct", TILTED))


@pytest.fixture
def drawn(tmp_path: Path, source: DicomSource) -> Prediction:
    """Labels on the upright grid, as other tools write them, in `mask.nii.gz`."""
    prediction = predicted(source)
    upright = prediction.geometry.canonical()
    write_labels(tmp_path / "mask.nii.gz", reorient(prediction.labels, prediction.geometry, upright), upright)
    return prediction


def test_masks_of_another_tool_become_dicom(tmp_path: Path, source: DicomSource, drawn: Prediction) -> None:
    found = masks(tmp_path / "mask.nii.gz", tmp_path / "ct", tmp_path / "out", labels=SAID,
                  made_by="TotalSegmentator 2.4.0")  # fmt: skip

    assert [path.parent.name for path in found.paths] == ["dicom-seg", "rtstruct", "out"]
    back = read_segmentation(found.paths[0], series=source.series, acquisition=source.acquisition).masks
    np.testing.assert_array_equal(back["Ring"], drawn.labels == 7)
    np.testing.assert_array_equal(back["kidney_left"], drawn.labels == 2)
    record = json.loads(found.paths[-1].read_text())
    assert record["made_by"] == {"algorithm": "TotalSegmentator", "version": "2.4.0"}


def test_a_single_label_becomes_a_single_segment(tmp_path: Path, source: DicomSource, drawn: Prediction) -> None:
    write_labels(tmp_path / "one.nii.gz", (drawn.labels == 7).astype(np.uint8), drawn.geometry)
    found = masks(tmp_path / "one.nii.gz", tmp_path / "ct", tmp_path / "out", labels="Ring=1", formats=("dicom-seg",))
    back = read_segmentation(found.paths[0], series=source.series, acquisition=source.acquisition).masks
    np.testing.assert_array_equal(back["Ring"], drawn.labels == 7)


def test_the_command_reads_names_from_a_file(tmp_path: Path, drawn: Prediction, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "labels.yaml").write_text("kidney_left: 2\nRing: 7\n")
    with pytest.raises(SystemExit, match="0"):
        main(["masks", str(tmp_path / "mask.nii.gz"), "--study", str(tmp_path / "ct"), "--format", "nrrd,png",
              "--labels", str(tmp_path / "labels.yaml"), "--out", str(tmp_path / "out")])  # fmt: skip
    assert {path.name for path in (tmp_path / "out").rglob("mask.*")} == {"mask.seg.nrrd", "mask.png", "mask.json"}


def test_a_segmentation_of_slicer_names_its_labels_itself(tmp_path: Path, drawn: Prediction) -> None:
    write_segmentation_nrrd(tmp_path / "drawn.seg.nrrd", drawn, facts={})

    found = masks(tmp_path / "drawn.seg.nrrd", tmp_path / "ct", tmp_path / "out", formats=("nifti",), way="manual")

    assert set(json.loads(found.paths[-1].read_text())["labels"]) == set(LABELS.names)


def test_values_without_a_name_are_refused(tmp_path: Path, drawn: Prediction) -> None:
    with pytest.raises(UsageError, match="--labels: nothing says what the values mean"):
        masks(tmp_path / "mask.nii.gz", tmp_path / "ct", tmp_path / "out")
    with pytest.raises(LabelError, match="mask"):
        masks(
            tmp_path / "mask.nii.gz", tmp_path / "ct", tmp_path / "out", labels=LabelSet({"background": 0, "Ring": 7})
        )
    assert not (tmp_path / "out" / "dicom-seg").exists()


def test_an_unknown_way_and_another_kind_of_study_are_refused(tmp_path: Path, drawn: Prediction) -> None:
    with pytest.raises(UsageError, match="--way cannot be 'magic'"):
        masks(tmp_path / "mask.nii.gz", tmp_path / "ct", tmp_path / "out", labels=SAID, way="magic")
    with pytest.raises(UsageError, match="--series means nothing"):
        masks(tmp_path / "mask.nii.gz", tmp_path / "mask.nii.gz", tmp_path / "out", labels=SAID, series="series_1")


def test_a_file_that_has_changed_is_not_taken_for_the_one_before(tmp_path: Path, drawn: Prediction) -> None:
    masks(tmp_path / "mask.nii.gz", tmp_path / "ct", tmp_path / "out", labels=SAID, formats=("nrrd",))
    upright = drawn.geometry.canonical()
    write_labels(tmp_path / "mask.nii.gz", np.zeros(upright.shape, dtype=np.uint8), upright)

    with pytest.raises(OutputExistsError, match="changed since the results that are there"):
        masks(tmp_path / "mask.nii.gz", tmp_path / "ct", tmp_path / "out", labels=SAID, formats=("nrrd",))
    assert masks(tmp_path / "mask.nii.gz", tmp_path / "ct", tmp_path / "out", labels=SAID, formats=("nrrd",),
                 overwrite=True).kept == ()  # fmt: skip
