"""DICOM segmentations: against their NRRD twins, against what highdicom wrote, and against damage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import DicomError, LabelError, MedsegError, UsageError
from medseg.io.dicom_seg import read_segmentation
from tests.support.segmentations import (
    APART,
    CT,
    DATA,
    DRAWN,
    REAL,
    SEG,
    Change,
    FakeSeries,
    WriteSeg,
    assert_masks,
    ct_series,
    named,
    write_seg,
)

__all__ = ["write_seg"]  # a fixture


def nrrd(path: Path) -> tuple[Any, tuple[float, ...]]:
    """Values (X, Y, Z) and the LPS origin, as ITK reads them."""
    image = sitk.ReadImage(path)
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), image.GetOrigin()


@pytest.mark.parametrize("name", ["binary", "labelmap"])
def test_a_segmentation_equals_its_nrrd_twin(name: str) -> None:
    found = read_segmentation(SEG / f"{name}.dcm")
    values, origin = nrrd(SEG / f"{name}.nrrd")
    assert_masks(found, {"Liver": values == 1})
    np.testing.assert_allclose(found.geometry.origin_mm, np.array(origin) * [-1, -1, 1], atol=1e-4)
    np.testing.assert_allclose(found.geometry.spacing_mm, (0.7, 0.7, 2.5), atol=1e-9)


TWINS = {"liver.dcm": {"Liver": ("liver_seg.nrrd", 1)},
         "partial_overlaps.dcm": {"GREEN": ("partial_overlaps-1.nrrd", 1), "ORANGE": ("partial_overlaps-2.nrrd", 2),
                                  "PURPLE": ("partial_overlaps-3.nrrd", 3),
                                  "LIGHT_BLUE": ("partial_overlaps-1.nrrd", 4),
                                  "DARK_BLUE": ("partial_overlaps-1.nrrd", 5)}}  # fmt: skip


@pytest.mark.skipif(not REAL.exists(), reason="../shared/data is not there")
@pytest.mark.parametrize("name", TWINS)
def test_large_segmentations_equal_their_nrrd_twins(name: str) -> None:
    found = read_segmentation(REAL / name)
    assert_masks(found, {key: nrrd(REAL / file)[0] == value for key, (file, value) in TWINS[name].items()})
    assert found.geometry.spacing_mm[2] == pytest.approx(1.0, abs=1e-6)  # the CT's SliceThickness says 1.25


def test_segments_keep_their_facts() -> None:
    segment = read_segmentation(SEG / "binary.dcm").segments[0]
    assert (segment.number, segment.name, segment.category, segment.type) == (1, "Liver", "Tissue", "Liver")
    assert (segment.algorithm, segment.algorithm_name) == ("SEMIAUTOMATIC", "SlicerEditor")
    assert read_segmentation(SEG / "overlap.dcm").segments[1].tracking_id == "Spine"


def test_facts_name_no_person() -> None:
    found = read_segmentation(SEG / "labelmap.dcm")  # its ContentCreatorName is Doe^John
    assert dict(found.facts) == {"source": "DICOM SEG", "kind": "labelmap", "algorithms": ["semiautomatic"]}
    assert "Doe" not in repr(found)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_what_highdicom_wrote_is_read_on_the_ct(write_seg: WriteSeg, kind: str) -> None:
    masks = APART if kind == "LABELMAP" else DRAWN
    found = read_segmentation(write_seg(masks, kind), series=ct_series(), acquisition=CT)
    assert_masks(found, masks)
    assert not found.geometry.differences(CT.geometry)


def test_fractions_need_a_threshold_and_the_refusal_names_the_option() -> None:
    with pytest.raises(DicomError, match=r"probabilities, not masks; expected a threshold .*--threshold"):
        read_segmentation(SEG / "fractional.dcm")


@pytest.mark.parametrize(("threshold", "inside"), [(0.2, 4), (0.5, 2), (0.51, 1), (1.0, 1)])
def test_a_fraction_of_at_least_the_threshold_is_inside(write_seg: WriteSeg, threshold: float, inside: int) -> None:
    fractions = np.zeros((23, 38, 3), dtype=np.float32)
    fractions[3:8, 4, 1] = 0.1, 0.2, 0.4, 0.5, 1.0
    found = read_segmentation(write_seg({"A": fractions}, "FRACTIONAL", max_fractional_value=10), threshold=threshold)
    assert int(found.masks["A"].sum()) == inside
    assert found.facts["threshold"] == threshold
    assert found.facts["fraction"] == "probability"


@pytest.mark.parametrize("threshold", [0.0, 1.5, -1.0, float("nan")])
def test_a_threshold_that_is_no_fraction_is_refused(threshold: float) -> None:
    with pytest.raises(UsageError, match="no fraction"):
        read_segmentation(SEG / "fractional.dcm", threshold=threshold)


def test_a_segment_that_no_frame_shows_is_an_empty_mask(write_seg: WriteSeg) -> None:
    masks = {"A": DRAWN["A"], "nothing": np.zeros_like(DRAWN["A"])}
    assert_masks(read_segmentation(write_seg(masks)), masks)


def test_an_empty_segmentation_is_empty_masks(write_seg: WriteSeg) -> None:
    masks = {"A": np.zeros((23, 38, 3), dtype=bool)}
    assert_masks(read_segmentation(write_seg(masks, omit_empty_frames=False), acquisition=CT), masks)


def test_segments_of_one_label_take_their_number_and_nameless_ones_too(write_seg: WriteSeg) -> None:
    def rename(dataset: Any) -> None:
        for item, label in zip(dataset.SegmentSequence, ["lesion", "lesion", ""], strict=True):
            item.SegmentLabel = label

    path = write_seg({**DRAWN, "C": DRAWN["A"]}, change=rename)
    assert list(read_segmentation(path).masks) == ["lesion 1", "lesion 2", "segment 3"]


def test_names_that_would_fall_together_are_refused(write_seg: WriteSeg) -> None:
    def rename(dataset: Any) -> None:
        for item, label in zip(dataset.SegmentSequence, ["lesion", "lesion", "lesion 1"], strict=True):
            item.SegmentLabel = label

    with pytest.raises(LabelError, match="one name; got 'lesion 1'"):
        read_segmentation(write_seg({**DRAWN, "C": DRAWN["A"]}, change=rename))


def test_a_segmentation_of_a_multi_frame_ct_is_read_on_its_slices(write_seg: WriteSeg) -> None:
    enhanced = named(DATA / "multiframe" / "mf.dcm")
    multi_frame = FakeSeries("series_1", str(enhanced.SeriesInstanceUID), str(enhanced.FrameOfReferenceUID),
                        {str(enhanced.SOPInstanceUID): 0})  # fmt: skip
    assert_masks(read_segmentation(write_seg(DRAWN, sources=[enhanced]), series=multi_frame, acquisition=CT), DRAWN)


def _grow(dataset: Any) -> None:
    dataset.Rows = 65535


def _other_number(dataset: Any) -> None:
    dataset.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9


def _same_place(dataset: Any) -> None:
    groups = dataset.PerFrameFunctionalGroupsSequence
    groups[1].PlanePositionSequence = groups[0].PlanePositionSequence


def _no_position(dataset: Any) -> None:
    del dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def _concatenated(dataset: Any) -> None:
    dataset.InConcatenationTotalNumber = 2


def _uneven(dataset: Any) -> None:
    dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient[2] = -176.95


def _far(dataset: Any) -> None:
    dataset.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient[2] = 9e5
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = 0.1


def _control_characters(dataset: Any) -> None:
    dataset.SegmentSequence[0].SegmentLabel = "A\x07"
    _same_place(dataset)


def _no_type(dataset: Any) -> None:
    dataset.SegmentationType = "SURFACE"


def _endless(dataset: Any) -> None:
    dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0, 0.7]


@pytest.mark.parametrize(
    ("change", "kind", "fault"),
    [
        (_grow, DicomError, "pixel data are not what the header declares"),
        (_other_number, LabelError, "a segment that the file does not describe"),
        (_same_place, DicomError, "several frames of segment 'A' lie in one plane"),
        (_control_characters, DicomError, r"several frames of segment 'A\?' lie"),
        (_no_position, DicomError, "cannot be read"),
        (_concatenated, DicomError, "spread over several files"),
        (_uneven, DicomError, "uneven distances"),
        (_far, DicomError, "uneven|too far apart"),
        (_no_type, DicomError, "segmentation type that is not known"),
        (_endless, DicomError, "cannot be read"),
    ],
)
def test_contradictions_are_refused(write_seg: WriteSeg, change: Change, kind: type[MedsegError], fault: str) -> None:
    with pytest.raises(kind, match=fault):
        read_segmentation(write_seg(DRAWN, change=change))


def test_a_label_map_with_undescribed_values_is_refused(write_seg: WriteSeg) -> None:
    def drop(dataset: Any) -> None:
        del dataset.SegmentSequence[-1]

    with pytest.raises(LabelError, match="does not describe"):
        read_segmentation(write_seg(APART, "LABELMAP", change=drop))


@pytest.mark.parametrize("name", ["binary", "labelmap", "overlap", "fractional"])
def test_damaged_files_end_in_an_error_or_in_masks(tmp_path: Path, name: str) -> None:
    good, random = (SEG / f"{name}.dcm").read_bytes(), np.random.default_rng(3)
    for _ in range(60):
        bad = bytearray(good)
        for place in random.integers(0, len(bad), random.integers(1, 6)):
            bad[place] = random.integers(0, 256)
        (tmp_path / "bad.dcm").write_bytes(bytes(bad[: random.integers(1, len(bad))] if random.random() < 0.3 else bad))
        try:
            found = read_segmentation(tmp_path / "bad.dcm", threshold=0.5)
            assert all(found.masks[key].shape == found.geometry.shape for key in found.masks)
        except MedsegError as error:
            assert str(error)
