"""Readings of LIDC-IDRI: what stands in the XML, masks against pylidc's, and which outlines mean one nodule."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import FileReadError, LabelError
from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.io.lidc_nodules import LidcStudy, PlacedNodule, cluster, read_lidc
from medseg.io.lidc_xml import read_lidc_xml
from medseg.io.nifti import read_label_values
from medseg.shapes import IntArray

OUTLINES = Path(__file__).parents[1] / "data" / "lidc" / "outlines_0001.csv"
REAL = Path(__file__).parents[3] / "shared" / "data" / "lidc_0001" / "nifti"
VOXELS = [5905, 4613, 4955, 5498]  # of the four masks that pylidc makes of these outlines
LOWEST_Z, SLICE_MM = -132.5, 2.5
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage uid="1.3.6" xmlns="http://www.nih.gov">'
    "<ResponseHeader><Version>1.8.1</Version><SeriesInstanceUid>2.25.7</SeriesInstanceUid></ResponseHeader>"
)
Outline = tuple[float, str, list[tuple[int, int]]]  # z, TRUE or FALSE, points
WriteXml = Callable[..., Path]


@dataclass
class FakeSeries:
    id: str = "series_00c0ffee"
    uid: str = "2.25.7"
    frame_of_reference_uid: str = "2.25.8"
    instance_uids: dict[str, int] = field(default_factory=lambda: {f"uid{k}": k for k in range(16)})


@pytest.fixture
def chest() -> Acquisition:
    """The grid of LIDC-IDRI-0001: 16 slices."""
    affine = np.diag([-0.703125, -0.703125, SLICE_MM, 1.0])
    affine[:3, 3] = 166, 171.7, LOWEST_Z
    return Acquisition.of_planes(Geometry((512, 512, 16), affine))


@pytest.fixture
def write_xml(tmp_path: Path) -> WriteXml:
    """Writes sessions, each a list of nodules, each a list of outlines, in the layout of LIDC-IDRI."""

    def write(*sessions: Sequence[Sequence[Outline]], extra: str = "", head: str = HEAD) -> Path:
        body = "".join(f"<readingSession><servicingRadiologistID>anonymous</servicingRadiologistID>"
                       f"{''.join(map(_nodule_xml, session))}{extra}</readingSession>"
                       for session in sessions)  # fmt: skip
        path = tmp_path / "069.xml"
        path.write_text(f"{head}{body}</LidcReadMessage>", encoding="utf-8")
        return path

    return write


def _nodule_xml(outlines: Sequence[Outline]) -> str:
    rating = "<characteristics><subtlety>5</subtlety><malignancy>4</malignancy></characteristics>"
    return f"<unblindedReadNodule><noduleID>Nodule 001</noduleID>{rating}{''.join(map(_roi, outlines))}" \
           "</unblindedReadNodule>"  # fmt: skip


def _roi(outline: Outline) -> str:
    z, inclusion, points = outline
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    uid = f"uid{round((z - LOWEST_Z) / SLICE_MM)}"
    return f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>{uid}</imageSOP_UID>" \
           f"<inclusion>{inclusion}</inclusion>{edges}</roi>"  # fmt: skip


def ring(x: int, y: int, size: int) -> list[tuple[int, int]]:
    """The corners of a square outline around size x size pixels, the first of which is (x, y)."""
    low_x, low_y, high_x, high_y = x - 1, y - 1, x + size, y + size
    return [(low_x, low_y), (high_x, low_y), (high_x, high_y), (low_x, high_y)]


def square(x: int, y: int, size: int = 4, z: float = -120.0) -> list[Outline]:
    return [(z, "TRUE", ring(x, y, size))]


@pytest.fixture
def real_xml(write_xml: WriteXml) -> Path:
    """The true outlines of LIDC-IDRI-0001 in the layout of the collection."""
    sessions: list[list[list[Outline]]] = [[[]] for _ in range(4)]
    with open(OUTLINES, encoding="utf-8") as stream:
        for reader, z, inclusion, points in csv.reader(stream, delimiter=";"):
            pairs = [(int(x), int(y)) for x, y in (point.split(",") for point in points.split())]
            sessions[int(reader) - 1][0].append((float(z), inclusion, pairs))
    return write_xml(*sessions)


@pytest.fixture
def read(write_xml: WriteXml, chest: Acquisition) -> Callable[..., LidcStudy]:
    return lambda *sessions, **extra: read_lidc(write_xml(*sessions, **extra), FakeSeries(), chest)


def test_masks_of_four_real_radiologists_hold_as_many_voxels_as_pylidcs(real_xml: Path, chest: Acquisition) -> None:
    study = read_lidc(real_xml, FakeSeries(), chest)
    assert len(study.nodules) == 1
    assert [int(study.mask(reader).sum()) for reader in (1, 2, 3, 4)] == VOXELS


@pytest.mark.skipif(not REAL.exists(), reason="../shared/data is not there")
def test_masks_of_four_real_radiologists_are_pylidcs_voxel_by_voxel(real_xml: Path, chest: Acquisition) -> None:
    study = read_lidc(real_xml, FakeSeries(), chest)
    for reader in (1, 2, 3, 4):
        expected = read_label_values(REAL / f"nodule1_reader{reader}.nii.gz")[0] > 0
        np.testing.assert_array_equal(study.mask(reader, 1), expected)


def test_the_outline_itself_lies_outside_the_nodule(read: Callable[..., LidcStudy]) -> None:
    mask = read([square(10, 20, 3)]).mask(1, 1)
    assert np.argwhere(mask).min(axis=0).tolist() == [10, 20, 5]
    assert int(mask.sum()) == 9


def test_x_is_the_column_and_y_the_row(read: Callable[..., LidcStudy]) -> None:
    mask = read([[(-120.0, "TRUE", [(9, 19), (12, 19), (12, 25), (9, 25)])]]).mask(1)
    assert mask[10:12, 20:25, 5].all()
    assert int(mask.sum()) == 10


def test_an_exclusion_takes_its_outline_away_too(read: Callable[..., LidcStudy]) -> None:
    study = read([[(-120.0, "TRUE", ring(10, 10, 9)), (-120.0, "FALSE", ring(13, 13, 1))]])
    assert int(study.mask(1).sum()) == 9 * 9 - 3 * 3


def test_pixels_on_the_way_between_two_points_belong_to_the_outline(read: Callable[..., LidcStudy]) -> None:
    diamond = [(10, 5), (15, 10), (10, 15), (5, 10)]
    assert int(read([[(-120.0, "TRUE", diamond)]]).mask(1).sum()) == 41  # |x| + |y| < 5


def test_an_outline_that_holds_no_pixel_is_an_empty_mask_of_a_nodule(read: Callable[..., LidcStudy]) -> None:
    study = read([[(-120.0, "TRUE", [(10, 10), (11, 10), (10, 11)])]])
    assert len(study.nodules) == 1
    assert not study.mask(1, 1).any()


def test_a_nodule_below_3_mm_is_a_mark_and_no_mask(read: Callable[..., LidcStudy]) -> None:
    study = read([[(-120.0, "TRUE", [(10, 10)])], square(30, 30)])
    assert len(study.nodules) == 1
    assert study.facts(1)["marks_below_3_mm"] == 1


def test_lesions_that_are_no_nodules_are_counted(read: Callable[..., LidcStudy]) -> None:
    study = read([square(30, 30)], extra="<nonNodule><nonNoduleID>1</nonNoduleID></nonNodule>" * 3)
    assert study.facts(1)["non_nodules"] == 3


def test_facts_tell_the_reader_and_the_ratings_by_nodule(read: Callable[..., LidcStudy]) -> None:
    facts = read([], [square(30, 30)]).facts(2)
    assert facts["reader"] == 2
    assert facts["anonymous"]
    assert facts["ratings"] == {"nodule_1": {"subtlety": 5, "malignancy": 4}}


def test_a_reader_who_saw_nothing_has_empty_masks(read: Callable[..., LidcStudy]) -> None:
    study = read([], [square(30, 30)])
    assert len(study.readers) == 2
    assert not study.masks(1)["nodule_1"].any()
    assert study.masks(2)["nodule_1"].any()


def test_nodules_are_numbered_from_the_feet_up(read: Callable[..., LidcStudy]) -> None:
    study = read([square(30, 30, z=-110.0), square(90, 90, z=-130.0)])
    assert study.mask(1, 1)[90, 90, 1]
    assert study.mask(1, 2)[30, 30, 9]


def test_outlines_that_overlap_are_one_nodule_and_distant_ones_two(read: Callable[..., LidcStudy]) -> None:
    study = read([square(30, 30), square(200, 200)], [square(31, 31)])
    assert sorted(sorted(readings) for readings in study.nodules) == [[1], [1, 2]]


def test_no_nodule_holds_two_outlines_of_one_reader(read: Callable[..., LidcStudy]) -> None:
    """Reader 2 sees one nodule where reader 1 sees two: it goes with the one that it shares more of."""
    study = read([square(30, 30, 4), square(36, 30, 8)], [[(-120.0, "TRUE", ring(30, 30, 14))]])
    assert sorted(sorted(readings) for readings in study.nodules) == [[1], [1, 2]]
    both = next(readings for readings in study.nodules if len(readings) == 2)
    assert len(both[1].pixels) == 64


@pytest.mark.parametrize(("gap", "nodules"), [(2, 1), (6, 2)])
def test_outlines_join_across_a_gap_up_to_the_distance_between_slices(
    read: Callable[..., LidcStudy], gap: int, nodules: int
) -> None:
    """Outlines lie gap - 1 pixels of 0.703 mm apart: 0.7 mm join, 3.5 mm do not (slices 2.5 mm apart)."""
    assert len(read([square(30, 30)], [square(34 + gap, 30)]).nodules) == nodules


def test_the_order_of_the_readers_does_not_change_the_nodules() -> None:
    def nodule(reader: int, x: int) -> PlacedNodule:
        pixels: IntArray = np.array([[x + k, 0, 0] for k in range(6)])
        return PlacedNodule(reader, pixels, pixels.astype(float), {})

    drawn = [(0, 0), (1, 2), (2, 1), (3, 50)]
    one = cluster([nodule(reader, x) for reader, x in drawn], 2.5)
    other = cluster([nodule(reader, x) for reader, x in reversed(drawn)], 2.5)
    assert [sorted(each) for each in one] == [sorted(each) for each in other] == [[0, 1, 2], [3]]


def test_readings_of_another_series_are_refused(write_xml: WriteXml, chest: Acquisition) -> None:
    with pytest.raises(FileReadError, match="another series than series_00c0ffee") as error:
        read_lidc(write_xml([square(30, 30)]), FakeSeries(uid="2.25.9"), chest)
    assert "2.25" not in str(error.value)


def test_outlines_on_slices_that_the_series_lacks_are_refused(write_xml: WriteXml, chest: Acquisition) -> None:
    series = FakeSeries(instance_uids={"uid5": 5})
    with pytest.raises(LabelError, match=r"expected 2 outlines .* got 1 on others"):
        read_lidc(write_xml([square(30, 30), square(30, 30, z=-110.0)]), series, chest)


def test_an_outline_off_the_height_of_its_slice_is_refused_in_mm(write_xml: WriteXml, chest: Acquisition) -> None:
    series = FakeSeries(instance_uids={"uid5": 6})
    with pytest.raises(LabelError, match=r"expected z -117\.5 mm, got -120 mm"):
        read_lidc(write_xml([square(30, 30)]), series, chest)


def test_an_outline_that_leaves_the_slice_is_refused(read: Callable[..., LidcStudy]) -> None:
    with pytest.raises(LabelError, match="leaves the slice; expected pixels of 512 x 512, got column 512"):
        read([square(508, 30)])


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("<xCoord>29</xCoord>", "<xCoord>a</xCoord>", "damaged"),
        ("<xCoord>29</xCoord>", "<xCoord>2.5</xCoord>", "xCoord is no pixel"),
        ("<xCoord>29</xCoord>", "<xCoord>-1</xCoord>", "xCoord is no pixel"),
        ("<xCoord>29</xCoord>", "<xCoord>nan</xCoord>", "xCoord is no pixel"),
        ("<xCoord>29</xCoord>", "", "a point without xCoord"),
        ("<inclusion>TRUE</inclusion>", "<inclusion>MAYBE</inclusion>", "without inclusion"),
        ("<imageSOP_UID>uid5</imageSOP_UID>", "", "without imageSOP_UID"),
        ("-120.0", "inf", "no finite position"),
        ("<malignancy>4", "<malignancy>high", "malignancy is no number"),
        ("<malignancy>4", "<malignancy>2.5", "malignancy is no rating"),
        ("</LidcReadMessage>", "", "cannot be read as XML"),
        ("LidcReadMessage", "IdriReadMessage", "chest X-ray"),
        ("readingSession", "CXRreadingSession", "no reading session"),
    ],
)
def test_a_damaged_file_is_refused(write_xml: WriteXml, old: str, new: str, fault: str) -> None:
    path = write_xml([square(30, 30)])
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(FileReadError, match=fault):
        read_lidc_xml(path)


def test_entities_are_refused_before_they_expand(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "' + "&a;" * 100 + '">]>'
    path = tmp_path / "bomb.xml"
    path.write_text(f"<?xml version='1.0'?>{bomb}<LidcReadMessage>&b;</LidcReadMessage>", encoding="utf-8")
    with pytest.raises(FileReadError, match="document type or entities"):
        read_lidc_xml(path)


def test_other_files_and_missing_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "not.xml").write_bytes(b"\x00\x01 no xml")
    for path in (tmp_path / "not.xml", tmp_path / "missing.xml", tmp_path):
        with pytest.raises(FileReadError):
            read_lidc_xml(path)


def test_a_thousand_damaged_files_end_in_an_error_or_in_readings(write_xml: WriteXml) -> None:
    path = write_xml([square(30, 30)], [square(31, 30)])
    good, random = path.read_bytes(), np.random.default_rng(7)
    for _ in range(1000):
        bad = bytearray(good)
        for place in random.integers(0, len(bad), random.integers(1, 5)):
            bad[place] = random.integers(0, 256)
        path.write_bytes(bytes(bad[: random.integers(1, len(bad) + 1)] if random.random() < 0.3 else bad))
        try:
            assert read_lidc_xml(path).readers
        except FileReadError as error:
            assert str(error)
