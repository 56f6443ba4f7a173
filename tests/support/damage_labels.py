"""Structure sets, DICOM segmentations and LIDC readings on the small series, and the harm done to them."""

from __future__ import annotations

import struct
from functools import cache
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from damage_bytes import EVERY_FORMAT, Damage, Expect, Family, Reading, Sample, pick
from damage_dicom import (
    COLUMNS,
    FRAME,
    ROWS,
    SERIES,
    SLICES,
    deep_sequences,
    encoded,
    expected,
    image,
    item,
    set_everywhere,
    stored_pixels,
    with_pixels,
    wrong_length,
)
from highdicom.sr.coding import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import RTStructureSetStorage

from medseg.imaging.acquisition import Acquisition
from medseg.imaging.geometry import Geometry
from medseg.io.dicom_rtstruct import read_rtstruct
from medseg.io.dicom_seg import read_segmentation
from medseg.io.lidc_xml import read_lidc_xml
from medseg.io.roi_names import RoiRules

VALID, REFUSED, SAME = Expect.VALID, Expect.REFUSE, Expect.SAME
RULES = RoiRules.model_validate({"labels": {"tumour": {"value": 1, "match": "GTV.*"}}, "ignore": "Couch"})


@cache
def acquisition() -> Acquisition:
    return Acquisition.of_planes(Geometry((COLUMNS, ROWS, SLICES), expected().affine))


def ct_series() -> Any:
    """The identity of the CT, as a reader of DICOM gives it."""
    uids = {f"{SERIES}.{index + 1}": index for index in range(SLICES)}
    return SimpleNamespace(id="series_00000000", uid=SERIES, frame_of_reference_uid=FRAME, instance_uids=uids)


# ---- structure sets


@cache
def structure_set() -> Sample:
    """A keyhole-free square on three slices with a hole in the middle one, and a region to ignore."""
    dataset = image(0)
    for name in ("Rows", "Columns", "PixelSpacing", "ImagePositionPatient", "RescaleSlope", "RescaleIntercept"):
        delattr(dataset, name)
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = RTStructureSetStorage, f"{SERIES}.99", "RTSTRUCT"
    dataset.StructureSetLabel, dataset.StructureSetDate, dataset.StructureSetTime = "doctor", "20200101", "120000"
    images = Items([item(ReferencedSOPClassUID=image(0).SOPClassUID, ReferencedSOPInstanceUID=f"{SERIES}.{i + 1}")[0]
                    for i in range(SLICES)])  # fmt: skip
    dataset.ReferencedFrameOfReferenceSequence = item(
        FrameOfReferenceUID=FRAME,
        RTReferencedStudySequence=item(RTReferencedSeriesSequence=item(
            SeriesInstanceUID=SERIES, ContourImageSequence=images)),
    )  # fmt: skip
    dataset.StructureSetROISequence = Items([
        item(ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=FRAME, ROIGenerationAlgorithm="MANUAL")[0]
        for number, name in ((1, "GTV_1"), (2, "Couch"))
    ])  # fmt: skip
    squares = [(index, 4.0) for index in (1, 2, 3)] + [(2, 1.6)]
    dataset.ROIContourSequence = Items([
        item(ReferencedROINumber=1, ContourSequence=Items([_square(index, half) for index, half in squares]))[0],
        item(ReferencedROINumber=2, ContourSequence=Items([_square(0, 6.0)]))[0],
    ])  # fmt: skip
    dataset.RTROIObservationsSequence = item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="GTV")
    return Sample({"rs.dcm": encoded(dataset)}, "rs.dcm", ("rs.dcm",))


def _square(index: int, half: float) -> Dataset:
    corners = [(-half, -half), (half, -half), (half, half), (-half, half)]
    points = [round(value, 3) for x, y in corners for value in (x + 0.11, y + 0.13, 2.5 * index)]
    return item(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=points,
                ContourImageSequence=item(ReferencedSOPClassUID=image(0).SOPClassUID,
                                          ReferencedSOPInstanceUID=f"{SERIES}.{index + 1}"))[0]  # fmt: skip


def read_structures(path: Path) -> Reading:
    masks = read_rtstruct(path, ct_series(), acquisition(), RULES).masks
    return Reading(masks, acquisition().geometry.affine)


def expected_structures() -> Reading:
    """The square by its sides: pixel centres within half an edge, less those within the hole on the middle slice."""
    geometry = acquisition().geometry
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1).reshape(-1, 3)
    lps = geometry.world(index) * [-1, -1, 1] - [0.11, 0.13, 0]
    reach = np.abs(lps[:, :2]).max(axis=1).reshape(geometry.shape)
    mask = (reach < 4) & np.isin(np.arange(SLICES), (1, 2, 3))
    mask[:, :, 2] &= ~(reach[:, :, 2] < 1.6)
    return Reading({"tumour": mask}, geometry.affine)


CONTOURS: tuple[tuple[str, str, bytes, Expect], ...] = (
    ("ContourData", "DS", b"nan\\nan\\nan\\0\\0\\nan\\1\\1\\nan", REFUSED), ("ContourData", "DS", b"1\\2", REFUSED),
    ("ContourData", "DS", b"1e300\\0\\0\\0\\1e300\\0\\1\\1\\0", REFUSED), ("ContourData", "DS", b"", REFUSED),
    ("ContourData", "DS", b"inf\\0\\5\\0\\inf\\5\\1\\1\\5", REFUSED), ("ContourData", "DS", b"x\\y\\z", REFUSED),
    ("ContourData", "DS", b"0\\0\\1.3\\4\\0\\1.3\\4\\4\\1.3", REFUSED),  # between two slices
    ("ContourData", "DS", b"1e9\\0\\5\\1e9\\1e9\\5\\0\\1e9\\5", VALID),  # far outside the image
    ("ContourData", "DS", b"\\".join([b"0"] * 299_997), VALID), ("NumberOfContourPoints", "IS", b"-4", VALID),
    ("NumberOfContourPoints", "IS", b"2000000000", VALID), ("ContourGeometricType", "CS", b"POINT ", REFUSED),
    ("ContourGeometricType", "CS", b"", REFUSED), ("ROINumber", "IS", b"1", REFUSED),
    ("ROINumber", "IS", b"x ", REFUSED),
    ("ReferencedROINumber", "IS", b"7", REFUSED), ("ReferencedROINumber", "IS", b"", REFUSED),
    ("ROIName", "LO", b"", REFUSED), ("ROIName", "LO", b"GTV" * 30000, REFUSED),
    ("ROIName", "LO", b"\xff\xfe", REFUSED),
    ("ROIName", "LO", b"Cord\x1b[31m\r\n", REFUSED), ("StructureSetLabel", "SH", b"\x00\x1b[31m", SAME),
    ("ReferencedFrameOfReferenceUID", "UI", b"1.2.3.4.5.6\x00", REFUSED),
    ("SeriesInstanceUID", "UI", b"1.2.3.4.5.6\x00", REFUSED),
    ("ReferencedSOPInstanceUID", "UI", b"1.2.3.4.5.6\x00", SAME), ("ROIContourSequence", "SQ", b"", REFUSED),
    ("StructureSetROISequence", "SQ", b"", REFUSED), ("ContourSequence", "OB", b"\x00\x01", REFUSED),
    ("ContourImageSequence", "UN", b"\xff" * 8, VALID),
)  # fmt: skip


def _absurd(table: tuple[tuple[str, str, bytes, Expect], ...]) -> Any:
    def absurd_element(sample: Sample, rng: np.random.Generator) -> Damage:
        keyword, vr, value, expect = pick(rng, table)
        harmed = set_everywhere(sample.files[sample.main], keyword, vr, value)
        return Damage(sample.with_file(sample.main, harmed), f"{keyword} ({vr}) = {value[:40]!r}", expect)

    return absurd_element


# ---- DICOM segmentations


def segment_masks() -> Any:
    """(X, Y, Z, 2) two boxes that share voxels."""
    masks = np.zeros((COLUMNS, ROWS, SLICES, 2), dtype=bool)
    masks[3:12, 4:15, 1:4, 0] = True
    masks[8:20, 10:18, 2:5, 1] = True
    return masks


@cache
def segmentation(kind: str) -> Sample:
    sources = [with_pixels(image(index), [plane], "explicit") for index, plane in enumerate(stored_pixels())]
    sources = [pydicom.dcmread(BytesIO(encoded(source))) for source in sources]
    code = CodedConcept("85756007", "SCT", "Tissue")
    segments = [
        hd.seg.SegmentDescription(number, name, code, code, hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for number, name in ((1, "first"), (2, "second"))
    ]
    masks = segment_masks().transpose(2, 1, 0, 3)
    file = hd.seg.Segmentation(
        sources, masks.astype(np.float32) if kind == "FRACTIONAL" else masks.astype(np.uint8), kind, segments,
        hd.UID(), 9, hd.UID(), 1, "medseg", "synthetic", "1", "1", content_label="DOCTOR",
    )  # fmt: skip
    content = encoded(file)
    start = content.rindex(b"\xe0\x7f\x10\x00") + 12
    return Sample({"seg.dcm": content}, "seg.dcm", ("seg.dcm",), {"seg.dcm": (start, len(content))})


def read_seg(path: Path) -> Reading:
    try:
        found = read_segmentation(path, series=ct_series(), acquisition=acquisition())
    except Exception as error:
        if "fractional" not in str(error):
            raise
        found = read_segmentation(path, series=ct_series(), acquisition=acquisition(), threshold=0.5)
    return Reading({name: found.masks[name] for name in found.masks}, found.geometry.affine)


def expected_segments() -> Reading:
    masks = segment_masks()
    return Reading({"first": masks[..., 0], "second": masks[..., 1]}, acquisition().geometry.affine)


FRAMES: tuple[tuple[str, str, bytes, Expect], ...] = (
    ("Rows", "US", struct.pack("<H", 65535), REFUSED), ("Columns", "US", struct.pack("<H", 0), REFUSED),
    ("Rows", "US", struct.pack("<H", 0), REFUSED), ("Columns", "US", struct.pack("<H", 65535), REFUSED),
    ("NumberOfFrames", "IS", b"-3", REFUSED), ("NumberOfFrames", "IS", b"2000000000", REFUSED),
    ("NumberOfFrames", "IS", b"all ", REFUSED), ("NumberOfFrames", "IS", b"0 ", REFUSED),
    ("BitsAllocated", "US", struct.pack("<H", 32), REFUSED), ("BitsAllocated", "US", struct.pack("<H", 0), REFUSED),
    ("SegmentationType", "CS", b"GUESS ", REFUSED), ("SegmentationType", "CS", b"", REFUSED),
    ("SegmentNumber", "US", struct.pack("<H", 1), REFUSED), ("SegmentNumber", "US", b"", REFUSED),
    ("ReferencedSegmentNumber", "US", struct.pack("<H", 60000), REFUSED),
    ("ReferencedSegmentNumber", "US", b"", REFUSED),
    ("SegmentSequence", "SQ", b"", REFUSED), ("SegmentLabel", "LO", b"", VALID),
    ("SegmentLabel", "LO", b"x" * 60000, VALID), ("SegmentLabel", "LO", b"../../etc/passwd", VALID),
    ("ImagePositionPatient", "DS", b"nan\\nan\\nan", REFUSED), ("ImagePositionPatient", "DS", b"1e300\\0\\0", REFUSED),
    ("ImagePositionPatient", "DS", b"0\\0", REFUSED), ("PixelSpacing", "DS", b"0\\0", REFUSED),
    ("PixelSpacing", "DS", b"nan\\1", REFUSED), ("PixelSpacing", "DS", b"9\\9", REFUSED),
    ("ImageOrientationPatient", "DS", b"0\\0\\0\\0\\0\\0", REFUSED),
    ("ImageOrientationPatient", "DS", b"1\\0\\0", REFUSED),
    ("FrameOfReferenceUID", "UI", b"1.2.3.4.5.6\x00", REFUSED), ("MaximumFractionalValue", "US", b"\x00\x00", VALID),
    ("PerFrameFunctionalGroupsSequence", "SQ", b"", REFUSED), ("SharedFunctionalGroupsSequence", "SQ", b"", VALID),
    ("PatientName", "PN", b"\xff\x1b$B" * 100, SAME), ("ContentLabel", "CS", b"\x00\x1b[31m", SAME),
    ("SegmentsOverlap", "CS", b"MAYBE ", VALID),
)  # fmt: skip


# ---- LIDC


def _roi(z: float, points: list[tuple[int, int]], inclusion: str = "TRUE") -> str:
    edges = "".join(f"<edgeMap><xCoord>{x}</xCoord><yCoord>{y}</yCoord></edgeMap>" for x, y in points)
    uid = f"{SERIES}.{int(z / 2.5) + 1}"
    return (f"<roi><imageZposition>{z}</imageZposition><imageSOP_UID>{uid}</imageSOP_UID>"
            f"<inclusion>{inclusion}</inclusion>{edges}</roi>")  # fmt: skip


@cache
def lidc() -> Sample:
    ring = [(x, y) for x in range(5, 13) for y in range(5, 13) if x in (5, 12) or y in (5, 12)]
    rois = "".join(_roi(2.5 * index, ring) for index in (1, 2, 3))
    session = ("<readingSession><servicingRadiologistID>Doe^Jane</servicingRadiologistID><unblindedReadNodule>"
               "<noduleID>MRN4711</noduleID><characteristics><malignancy>3</malignancy></characteristics>"
               f"{rois}</unblindedReadNodule></readingSession>")  # fmt: skip
    text = ('<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage uid="1.3.6.1.4.1" xmlns="http://www.nih.gov">'
            f"<ResponseHeader><SeriesInstanceUid>{SERIES}</SeriesInstanceUid></ResponseHeader>"
            f"{session * 2}</LidcReadMessage>\n")  # fmt: skip
    return Sample({"069.xml": text.encode()}, "069.xml", ("069.xml",))


def read_lidc(path: Path) -> Reading:
    readings = read_lidc_xml(path)
    facts = [(reader.number, nodule.ratings, [(c.z_mm, c.inclusion, c.image_uid, c.points.tolist())
                                              for c in nodule.contours])
             for reader in readings.readers for nodule in reader.nodules]  # fmt: skip
    return Reading(facts=repr((readings.series_uid, facts)))


XML = {  # what stands in the file: what stands there then
    b"<xCoord>5</xCoord>": (b"<xCoord>-5</xCoord>", b"<xCoord>1e999</xCoord>", b"<xCoord>nan</xCoord>", b"<xCoord/>",
                            b"<xCoord>5.5</xCoord>", b"<xCoord>" + b"9" * 5000 + b"</xCoord>"),
    b"<imageZposition>2.5<": (b"<imageZposition>nan<", b"<imageZposition>inf<", b"<imageZposition><"),
    b"<inclusion>TRUE<": (b"<inclusion>PERHAPS<", b"<inclusion><"),
    b"<malignancy>3<": (b"<malignancy>three<", b"<malignancy>" + b"3" * 5000 + b"<"),
    b"LidcReadMessage": (b"IdriReadMessage", b"html"), b"readingSession": (b"session",),
    b"UTF-8": (b"UTF-99", b"UTF-16"),
}  # fmt: skip


def absurd_xml(sample: Sample, rng: np.random.Generator) -> Damage:
    old = pick(rng, XML)
    new = pick(rng, XML[old])
    harmed = sample.files[sample.main].replace(old, new)
    return Damage(sample.with_file(sample.main, harmed), f"{old!r} becomes {new[:40]!r}", REFUSED)


def xml_bomb(sample: Sample, rng: np.random.Generator) -> Damage:
    """Entities that multiply, that name a file or an address, and elements without end."""
    text = sample.files[sample.main].decode()
    head, body = text.split("\n", 1)
    laughs = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    dtd = {
        "laughs": f'<!DOCTYPE x [<!ENTITY l0 "ha">{laughs}]>', "square": f'<!DOCTYPE x [<!ENTITY l9 "{"a" * 10**6}">]>',
        "file": '<!DOCTYPE x [<!ENTITY l9 SYSTEM "file:///etc/passwd">]>',
        "network": '<!DOCTYPE x [<!ENTITY l9 SYSTEM "http://127.0.0.1:9/x">]>',
        "outside": '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
        "parameter": '<!DOCTYPE x [<!ENTITY % p SYSTEM "file:///etc/passwd"> %p;]>',
    }  # fmt: skip
    kind = pick(rng, (*dtd, "deep", "wide", "attributes"))
    if kind in dtd:
        entity = "" if kind in ("outside", "parameter") else "&l9;" * (5000 if kind == "square" else 1)
        harmed = f"{head}\n{dtd[kind]}{body.replace('<ResponseHeader>', f'<ResponseHeader>{entity}')}"
        return Damage(sample.with_file(sample.main, harmed.encode()), f"XML bomb: {kind}", REFUSED)
    many = " ".join(f"b{n}='1'" for n in range(100_000))
    extra = {
        "deep": "<a>" * 200_000 + "</a>" * 200_000,
        "wide": "<a/>" * 400_000,
        "attributes": f"<a {many}/>",
    }[kind]
    harmed = f"{head}\n{body.replace('<ResponseHeader>', f'<ResponseHeader>{extra}')}"
    return Damage(sample.with_file(sample.main, harmed.encode()), f"XML: {kind}", SAME)


FAMILIES = {
    "rtstruct": Family(lambda: (structure_set(),), read_structures,
                       (_absurd(CONTOURS),) * 3 + (wrong_length, deep_sequences, *EVERY_FORMAT)),
    "seg": Family(lambda: (segmentation("BINARY"), segmentation("FRACTIONAL")), read_seg,
                  (_absurd(FRAMES),) * 3 + (wrong_length, deep_sequences, *EVERY_FORMAT)),
    "lidc": Family(lambda: (lidc(),), read_lidc, (absurd_xml, absurd_xml, xml_bomb, xml_bomb, *EVERY_FORMAT)),
}  # fmt: skip
