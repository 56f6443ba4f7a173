"""DICOM segmentations: against their NRRD twins, against what highdicom wrote, and against damage."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import highdicom as hd
import imagecodecs
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.encaps import encapsulate
from pydicom.sr.codedict import codes
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from medseg.errors import DicomError, FileReadError, GeometryError, LabelError, MedsegError, UsageError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry, reorient
from medseg.io.dicom_seg import Segmentation, is_segmentation, read_segmentation, referenced_series
from medseg.shapes import BoolArray

DATA = Path(__file__).parents[1] / "data" / "dicom"
SEG = DATA / "seg"
REAL = Path(__file__).parents[3] / "shared" / "data" / "dicom" / "seg_dcmqi"
FRAME_DEFLATE = "1.2.840.10008.1.2.8.1"
Change = Callable[[Any], None]


@dataclass
class FakeSeries:
    id: str
    uid: str
    frame_of_reference_uid: str
    instance_uids: dict[str, int] = field(default_factory=dict)


@pytest.fixture(scope="module")
def slices() -> list[Any]:
    return [_named(path) for path in sorted((DATA / "small").iterdir())]


def _named(path: Path) -> Any:
    dataset = pydicom.dcmread(path)
    dataset.PatientName = "Doe^Jane"  # highdicom warns of a name without a caret
    return dataset


@pytest.fixture(scope="module")
def series(slices: list[Any]) -> FakeSeries:
    uids = {str(each.SOPInstanceUID): index for index, each in enumerate(slices)}
    return FakeSeries("series_00c0ffee", str(slices[0].SeriesInstanceUID), str(slices[0].FrameOfReferenceUID), uids)


@pytest.fixture(scope="module")
def grid() -> Geometry:
    """Of the three CT slices: 23 x 38 pixels of 0.7 mm, 2.5 mm apart."""
    affine = np.diag([-0.7, -0.7, 2.5, 1.0])
    affine[:3, 3] = -46.4649, -5.01881, -177.75
    return Geometry((23, 38, 3), affine)


@pytest.fixture(scope="module")
def ct(grid: Geometry) -> Acquisition:
    return Acquisition.of_planes(grid)


@pytest.fixture(scope="module")
def drawn() -> dict[str, BoolArray]:
    """Two segments (X, Y, Z) that overlap; A is absent from the middle slice but for the overlap's column."""
    a, b = np.zeros((2, 23, 38, 3), dtype=bool)
    a[4:15, 3:9, 0] = a[4:15, 3:9, 2] = a[4:9, 6:10, 1] = True
    b[2:9, 5:20, 1] = True
    return {"A": a, "B": b}


@pytest.fixture
def write_seg(tmp_path: Path, slices: list[Any]) -> Callable[..., Path]:
    """Lets highdicom write masks (X, Y, Z) of the three slices; `change` edits the dataset before it is saved."""

    def write(masks: dict[str, Any], kind: str = "BINARY", *, change: Change | None = None, sources: Any = None,
              volume: hd.Volume | None = None, **options: Any) -> Path:  # fmt: skip
        stack = np.stack([np.transpose(mask, (2, 1, 0)) for mask in masks.values()], axis=-1)
        pixels: Any = stack.astype(np.float32 if stack.dtype.kind == "f" else np.uint8)
        if kind == "LABELMAP":
            pixels = (pixels * np.arange(1, len(masks) + 1, dtype=np.uint8)).max(axis=-1)
        described = [hd.seg.SegmentDescription(number, name, codes.cid7150.Tissue, codes.cid7166.ConnectiveTissue,
                                               hd.seg.SegmentAlgorithmTypeValues.MANUAL)
                     for number, name in enumerate(masks, start=1)]  # fmt: skip
        dataset = hd.seg.Segmentation(
            sources or slices, pixels if volume is None else volume, kind, described, series_instance_uid="2.25.1",
            series_number=1, sop_instance_uid="2.25.2", instance_number=1, manufacturer="medseg",
            manufacturer_model_name="test", software_versions="1", device_serial_number="1", **options,
        )  # fmt: skip
        if change is not None:
            change(dataset)
        path = tmp_path / "seg.dcm"
        dataset.save_as(path)
        return path

    return write


def assert_masks(found: Segmentation, expected: dict[str, BoolArray]) -> None:
    assert list(found.masks) == list(expected)
    for name, mask in expected.items():
        np.testing.assert_array_equal(found.masks[name], mask, err_msg=name)


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


def test_absent_frames_are_zero_and_keep_their_place() -> None:
    found = read_segmentation(SEG / "labelmap.dcm")
    assert [int(n) for n in found.masks["Liver"].sum(axis=(0, 1))] == [315, 0, 315]


def test_a_grid_without_a_declared_distance_takes_the_smallest_gap_of_which_all_are_multiples() -> None:
    found = read_segmentation(SEG / "overlap.dcm")  # slices at -99.48 and at 103.02, 104.27, 105.52 mm
    assert found.geometry.shape == (16, 16, 165)
    assert found.geometry.spacing_mm[2] == pytest.approx(1.25)
    assert np.flatnonzero(found.masks["first segment"].any(axis=(0, 1))).tolist() == [0, 162, 163, 164]


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
def test_what_highdicom_wrote_is_read_on_the_ct(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], series: FakeSeries, ct: Acquisition, kind: str
) -> None:
    if kind == "LABELMAP":
        drawn = {"A": drawn["A"] & ~drawn["B"], "B": drawn["B"]}
    found = read_segmentation(write_seg(drawn, kind), series=series, acquisition=ct)
    assert_masks(found, drawn)
    assert not found.geometry.differences(ct.geometry)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless])
@pytest.mark.parametrize("kind", ["FRACTIONAL", "LABELMAP"])
def test_compressed_frames_equal_the_plain_ones(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], kind: str, syntax: str
) -> None:
    drawn = {"A": drawn["A"] & ~drawn["B"], "B": drawn["B"]}
    assert_masks(read_segmentation(write_seg(drawn, kind, transfer_syntax_uid=syntax), threshold=1.0), drawn)


def test_a_deflated_file_equals_the_plain_one(write_seg: Callable[..., Path], drawn: dict[str, BoolArray]) -> None:
    path = write_seg(drawn)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    assert_masks(read_segmentation(path), drawn)


def _deflate(frame: Any) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(np.packbits(frame, bitorder="little").tobytes()) + packer.flush()


@pytest.mark.parametrize(
    ("syntax", "pack"), [(FRAME_DEFLATE, _deflate), (JPEG2000Lossless, lambda f: imagecodecs.jpeg2k_encode(f, level=0))]
)
def test_single_bits_packed_frame_by_frame_equal_the_plain_ones(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], syntax: str, pack: Callable[[Any], bytes]
) -> None:
    path = write_seg(drawn)
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate([pack(np.ascontiguousarray(frame)) for frame in dataset.pixel_array])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = JPEG2000Lossless
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    uid = syntax.encode().ljust(len(JPEG2000Lossless), b"\0")  # one of them is younger than pydicom
    path.write_bytes(path.read_bytes().replace(JPEG2000Lossless.encode(), uid))
    assert_masks(read_segmentation(path), drawn)


def test_fractions_need_a_threshold_and_the_refusal_names_the_option() -> None:
    with pytest.raises(DicomError, match=r"probabilities, not masks; expected a threshold .*--threshold"):
        read_segmentation(SEG / "fractional.dcm")


@pytest.mark.parametrize(("threshold", "inside"), [(0.2, 4), (0.5, 2), (0.51, 1), (1.0, 1)])
def test_a_fraction_of_at_least_the_threshold_is_inside(
    write_seg: Callable[..., Path], threshold: float, inside: int
) -> None:
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


def test_a_segment_that_no_frame_shows_is_an_empty_mask(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray]
) -> None:
    masks = {"A": drawn["A"], "nothing": np.zeros_like(drawn["A"])}
    assert_masks(read_segmentation(write_seg(masks)), masks)


def test_an_empty_segmentation_is_empty_masks(write_seg: Callable[..., Path], ct: Acquisition) -> None:
    masks = {"A": np.zeros((23, 38, 3), dtype=bool)}
    assert_masks(read_segmentation(write_seg(masks, omit_empty_frames=False), acquisition=ct), masks)


def test_segments_of_one_label_take_their_number_and_nameless_ones_too(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray]
) -> None:
    def rename(dataset: Any) -> None:
        for item, label in zip(dataset.SegmentSequence, ["lesion", "lesion", ""], strict=True):
            item.SegmentLabel = label

    path = write_seg({**drawn, "C": drawn["A"]}, change=rename)
    assert list(read_segmentation(path).masks) == ["lesion 1", "lesion 2", "segment 3"]


def test_names_that_would_fall_together_are_refused(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray]
) -> None:
    def rename(dataset: Any) -> None:
        for item, label in zip(dataset.SegmentSequence, ["lesion", "lesion", "lesion 1"], strict=True):
            item.SegmentLabel = label

    with pytest.raises(LabelError, match="one name; got 'lesion 1'"):
        read_segmentation(write_seg({**drawn, "C": drawn["A"]}, change=rename))


@pytest.mark.parametrize("order", ["reversed", "coronal", "sagittal, flipped"])
def test_other_axis_orders_and_flips_land_on_the_ct(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], grid: Geometry, order: str
) -> None:
    """The CT is turned instead of the segmentation: the same lattice, cut another way."""
    turn = {"reversed": ((0, 1, 2), (1, 1, -1)), "coronal": ((0, 2, 1), (1, -1, 1)),
            "sagittal, flipped": ((2, 1, 0), (-1, -1, 1))}[order]  # fmt: skip
    turned = _turned(grid, *turn)
    found = read_segmentation(write_seg(drawn), acquisition=Acquisition.of_planes(turned))
    assert_masks(found, {name: reorient(mask, grid, turned) for name, mask in drawn.items()})


def _turned(grid: Geometry, order: tuple[int, ...], signs: tuple[int, ...]) -> Geometry:
    affine = grid.affine.copy()
    corner = np.zeros(3)
    for new, (old, sign) in enumerate(zip(order, signs, strict=True)):
        affine[:3, new] = sign * grid.affine[:3, old]
        corner[old] = 0 if sign > 0 else grid.shape[old] - 1
    affine[:3, 3] = grid.world(corner)
    x, y, z = (grid.shape[axis] for axis in order)
    return Geometry((x, y, z), affine)


def test_a_cropped_segmentation_lands_in_its_place(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], grid: Geometry
) -> None:
    whole = grid.cropped((-4, -3, -2), (40, 50, 9))
    found = read_segmentation(write_seg(drawn), acquisition=Acquisition.of_planes(whole))
    assert found.masks["B"][4:27, 3:41, 2:5].sum() == drawn["B"].sum() == found.masks["B"].sum()


def test_voxels_outside_the_ct_are_refused(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], grid: Geometry
) -> None:
    part = Acquisition.of_planes(grid.cropped((0, 0, 0), (23, 38, 2)))
    with pytest.raises(DicomError, match="66 voxels of segment 'A' lie outside the CT"):
        read_segmentation(write_seg(drawn), acquisition=part)


def test_empty_margins_outside_the_ct_are_left_out(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], grid: Geometry
) -> None:
    part = Acquisition.of_planes(grid.cropped((1, 1, 0), (20, 30, 3)))
    found = read_segmentation(write_seg(drawn), acquisition=part)
    np.testing.assert_array_equal(found.masks["A"], drawn["A"][1:21, 1:31])


@pytest.mark.parametrize(
    ("moved", "got"),
    [
        ({"shift": (0, 0, 1.0)}, r"1 mm apart"),
        ({"shift": (0.35, 0, 0)}, r"0.35 mm apart"),
        ({"scale": 1.02}, r"voxels of 0.7 x 0.7 mm against 0.714 x 0.714 mm"),
        ({"turn": 5.0}, r"axes turned by 5 degrees"),
    ],
)
def test_what_would_need_interpolation_is_refused_in_mm_or_degrees(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], grid: Geometry, moved: dict[str, Any], got: str
) -> None:
    affine = grid.affine.copy()
    affine[:3, 3] += moved.get("shift", (0, 0, 0))
    affine[:3, :2] *= moved.get("scale", 1.0)
    angle = np.radians(moved.get("turn", 0.0))
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    with pytest.raises(GeometryError, match=got):
        read_segmentation(write_seg(drawn), acquisition=Acquisition.of_planes(Geometry(grid.shape, affine)))


def test_frames_find_the_slices_of_an_uneven_acquisition(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], grid: Geometry
) -> None:
    """Slices at 0, 2.5 and 7.5 mm; the volume has planes every 2.5 mm, and the labels go to them by the acquisition."""
    affines = Acquisition.of_planes(grid).affines.copy()
    affines[2, 2, 3] += 2.5

    def move(dataset: Any) -> None:
        for own in dataset.PerFrameFunctionalGroupsSequence:
            position = own.PlanePositionSequence[0].ImagePositionPatient
            if float(position[2]) > -173:
                position[2] = float(position[2]) + 2.5

    uneven = Acquisition((23, 38), affines, grid.cropped((0, 0, 0), (23, 38, 4)), invented=(2,))
    found = read_segmentation(write_seg(drawn, change=move), acquisition=uneven)
    for name, mask in drawn.items():
        np.testing.assert_array_equal(found.masks[name], uneven.to_grid(mask))


def test_frames_find_the_slices_of_a_tilted_gantry(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], grid: Geometry
) -> None:
    """Each slice lies 0.5 mm further back than the one below: by 11.3 degrees."""
    affines = Acquisition.of_planes(grid).affines.copy()
    affines[:, 1, 3] -= 0.5 * np.arange(3)

    def move(dataset: Any) -> None:
        for own in dataset.PerFrameFunctionalGroupsSequence:
            position = own.PlanePositionSequence[0].ImagePositionPatient
            position[1] = 5.01881 + 0.2 * (float(position[2]) + 177.75)

    tilted = Acquisition((23, 38), affines, grid.cropped((0, 0, 0), (23, 40, 3)), tilt_deg=11.3)
    found = read_segmentation(write_seg(drawn, change=move), acquisition=tilted)
    for name, mask in drawn.items():
        np.testing.assert_array_equal(tilted.to_slices(found.masks[name]), mask)
        assert found.masks[name][:, :, 2].sum() == mask[:, :, 2].sum()


def test_a_segmentation_of_a_multi_frame_ct_is_read_on_its_slices(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], ct: Acquisition
) -> None:
    enhanced = _named(DATA / "multiframe" / "mf.dcm")
    series = FakeSeries("series_1", str(enhanced.SeriesInstanceUID), str(enhanced.FrameOfReferenceUID),
                        {str(enhanced.SOPInstanceUID): 0})  # fmt: skip
    assert_masks(read_segmentation(write_seg(drawn, sources=[enhanced]), series=series, acquisition=ct), drawn)


def test_another_series_or_frame_of_reference_is_refused_without_a_uid(series: FakeSeries) -> None:
    strangers = [FakeSeries("series_b", "2.25.5", series.frame_of_reference_uid),
                 FakeSeries("series_b", series.uid, "2.25.5", series.instance_uids)]  # fmt: skip
    for stranger, fault in zip(strangers, ["made on another series than series_b", "frame of reference"], strict=True):
        with pytest.raises(DicomError, match=fault) as error:
            read_segmentation(SEG / "binary.dcm", series=stranger)
        assert "2.25" not in str(error.value)
        assert "1.2.826" not in str(error.value)


def test_a_segmentation_that_names_no_series_is_refused(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], series: FakeSeries
) -> None:
    def forget(dataset: Any) -> None:
        del dataset.ReferencedSeriesSequence
        for own in dataset.PerFrameFunctionalGroupsSequence:
            del own.DerivationImageSequence

    with pytest.raises(DicomError, match="does not say that it was made on series_00c0ffee"):
        read_segmentation(write_seg(drawn, change=forget), series=series)


def test_the_series_that_a_segmentation_names_can_be_asked_for(series: FakeSeries) -> None:
    assert referenced_series(SEG / "binary.dcm") == {series.uid}


def test_segmentations_are_told_from_other_files(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no DICOM")
    assert is_segmentation(SEG / "overlap.dcm")
    assert is_segmentation(SEG / "labelmap.dcm")
    assert not any(map(is_segmentation, [DATA / "small" / "IMG0001.dcm", tmp_path / "text", tmp_path, tmp_path / "no"]))


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
def test_contradictions_are_refused(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray], change: Change, kind: type[MedsegError], fault: str
) -> None:
    with pytest.raises(kind, match=fault):
        read_segmentation(write_seg(drawn, change=change))


def test_a_label_map_with_undescribed_values_is_refused(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray]
) -> None:
    def drop(dataset: Any) -> None:
        del dataset.SegmentSequence[-1]

    with pytest.raises(LabelError, match="does not describe"):
        read_segmentation(write_seg({"A": drawn["A"] & ~drawn["B"], "B": drawn["B"]}, "LABELMAP", change=drop))


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no DICOM " * 50)
    with pytest.raises(DicomError, match="expected a SEG file, got CT"):
        read_segmentation(DATA / "small" / "IMG0001.dcm")
    for path in (tmp_path / "text", tmp_path / "missing", tmp_path):
        with pytest.raises(FileReadError):
            read_segmentation(path)


def test_a_deflate_bomb_is_refused_before_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("medseg.io.dicom_seg_header.MAX_UNPACKED", 100_000)
    dataset = pydicom.dcmread(SEG / "binary.dcm")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.PixelData = bytes(1_000_000)
    dataset.save_as(tmp_path / "bomb.dcm")
    with pytest.raises(FileReadError, match="larger than any segmentation"):
        read_segmentation(tmp_path / "bomb.dcm")


def test_run_lengths_that_point_outside_their_frame_are_refused(
    write_seg: Callable[..., Path], drawn: dict[str, BoolArray]
) -> None:
    """The codec itself would read beyond the frame and crash."""

    def damage(dataset: Any) -> None:
        dataset.PixelData = encapsulate([struct.pack("<16L", 1, 10**9, *[0] * 14)] * int(dataset.NumberOfFrames))

    path = write_seg({"A": drawn["A"]}, "LABELMAP", transfer_syntax_uid=RLELossless, change=damage)
    with pytest.raises(DicomError, match="cannot be read"):
        read_segmentation(path)


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
