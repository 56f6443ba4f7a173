"""A small CT series in every transfer syntax, as single and multi-frame files, and the harm that DICOM invites."""

from __future__ import annotations

import gc
import os
import struct
import warnings
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from damage_bytes import EVERY_FORMAT, Damage, Expect, Family, Reading, Sample, pick, victim
from pydicom import config
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders.base import RLELosslessEncoder
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from medseg.io import dicom

config.settings.writing_validation_mode = config.IGNORE
ROWS, COLUMNS, SLICES = 20, 24, 5
STUDY, SERIES, FRAME = "1.2.826.0.1.3680043.8.498.11", "1.2.826.0.1.3680043.8.498.22", "1.2.826.0.1.3680043.8.498.33"
PATIENT = ("Doe^Jane", "MRN4711", "19561123")  # must never be shown
SYNTAXES = {
    "explicit": ExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian, "big": ExplicitVRBigEndian,
    "deflated": DeflatedExplicitVRLittleEndian, "rle": RLELossless, "jpeg_lossless": JPEGLosslessSV1,
    "jpeg_ls": JPEGLSLossless, "jpeg_2000": JPEG2000Lossless, "htj2k": HTJ2KLossless,
}  # fmt: skip
ENCODERS: dict[str, Callable[[Any], Any]] = {
    "jpeg_lossless": imagecodecs.ljpeg_encode, "jpeg_ls": imagecodecs.jpegls_encode,
    "jpeg_2000": lambda pixels: imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, level=0),
    "htj2k": lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True),
    "rle": lambda pixels: RLELosslessEncoder.encode(
        pixels.tobytes(), rows=ROWS, columns=COLUMNS, samples_per_pixel=1, bits_allocated=16, bits_stored=16,
        pixel_representation=0, photometric_interpretation="MONOCHROME2", number_of_frames=1),
}  # fmt: skip


@cache
def stored_pixels() -> Any:
    """(slices, rows, columns) uint16: air around a disc of tissue, with noise."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[-1 : 1 : ROWS * 1j, -1 : 1 : COLUMNS * 1j]
    disc = np.where(x**2 + y**2 < 0.6, 1064, 24)
    return (disc + rng.integers(0, 24, (SLICES, ROWS, COLUMNS))).astype("<u2")


def image(index: int) -> Dataset:
    """The header of one slice without pixels."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, UID(f"{SERIES}.{index + 1}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = STUDY, SERIES, FRAME
    dataset.PatientName, dataset.PatientID, dataset.PatientBirthDate = PATIENT
    dataset.PatientSex, dataset.AccessionNumber, dataset.StudyID = "O", "", "1"
    dataset.StudyDate, dataset.StudyTime, dataset.SeriesNumber, dataset.AcquisitionNumber = "20200101", "120000", 1, 1
    dataset.Modality, dataset.Manufacturer, dataset.ConvolutionKernel = "CT", "medseg", "STANDARD"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber, dataset.SliceThickness = index + 1, 2.5
    dataset.Rows, dataset.Columns, dataset.PixelSpacing = ROWS, COLUMNS, [0.75, 0.8]
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-9, -7, 2.5 * index], [1, 0, 0, 0, 1, 0]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, -1024, "HU"
    return dataset


def encoded(dataset: Dataset, syntax: str = "explicit") -> bytes:
    """The bytes of a DICOM file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[syntax]
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def with_pixels(dataset: Dataset, frames: Sequence[Any], syntax: str) -> Dataset:
    """Puts the pixels in as the transfer syntax wants them."""
    if syntax in ENCODERS:
        dataset.PixelData = encapsulate([ENCODERS[syntax](frame) for frame in frames])
        dataset["PixelData"].is_undefined_length = True
    else:
        kind = ">u2" if syntax == "big" else "<u2"
        dataset.PixelData = b"".join(frame.astype(kind).tobytes() for frame in frames)
    dataset["PixelData"].VR = "OB" if syntax in ENCODERS else "OW"
    return dataset


@cache
def series(syntax: str, below: str = "") -> Sample:
    """Five files in one transfer syntax, their names not in their order; read by their folder."""
    files, pixels = {}, {}
    for index, plane in enumerate(stored_pixels()):
        content = encoded(with_pixels(image(index), [plane], syntax), syntax)
        name = f"{below}slice{(index * 3) % SLICES}.dcm"
        files[name] = content
        if syntax != "deflated":
            length = len(content) - content.rindex(b"\xe0\x7f\x10\x00" if syntax != "big" else b"\x7f\xe0\x00\x10")
            end = len(content) - (8 if syntax in ENCODERS else 0)  # without the delimiter no voxel is lost
            pixels[name] = (len(content) - length + 12, end)
    return Sample(files, below.rstrip("/"), tuple(files), pixels)


def item(**elements: Any) -> Items:
    """A sequence of one item."""
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return Items([dataset])


@cache
def enhanced(syntax: str = "explicit") -> Sample:
    """The same voxels as one Enhanced CT file (PS3.3 A.38), its frames not in the order of the body."""
    dataset = image(0)
    for name in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept",
                 "RescaleType", "SliceThickness", "ConvolutionKernel", "AcquisitionNumber"):  # fmt: skip
        delattr(dataset, name)
    dataset.SOPClassUID, dataset.NumberOfFrames = EnhancedCTImageStorage, SLICES
    dataset.SharedFunctionalGroupsSequence = item(
        PixelMeasuresSequence=item(PixelSpacing=[0.75, 0.8], SliceThickness=2.5),
        PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=-1024, RescaleType="HU"),
        CTImageFrameTypeSequence=item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]),
    )
    order = [3, 0, 4, 1, 2]
    dataset.PerFrameFunctionalGroupsSequence = Items([
        item(PlanePositionSequence=item(ImagePositionPatient=[-9, -7, 2.5 * index]),
             FrameContentSequence=item(StackID="1", InStackPositionNumber=index + 1))[0]
        for index in order
    ])  # fmt: skip
    content = encoded(with_pixels(dataset, [stored_pixels()[index] for index in order], syntax), syntax)
    start = content.rindex(b"\xe0\x7f\x10\x00") + 12
    return Sample(
        {"enhanced.dcm": content},
        "enhanced.dcm",
        ("enhanced.dcm",),
        {"enhanced.dcm": (start, len(content) - (8 if syntax in ENCODERS else 0))},
    )


@cache
def dicomdir() -> Sample:
    """The series with the directory that a CD has."""
    from tempfile import TemporaryDirectory

    from pydicom.fileset import FileSet

    with TemporaryDirectory() as folder:
        files = FileSet()
        for index, plane in enumerate(stored_pixels()):
            dataset = with_pixels(image(index), [plane], "explicit")
            files.add(pydicom.dcmread(BytesIO(encoded(dataset))))
        files.write(folder)
        found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}
    with warnings.catch_warnings():  # pydicom leaves a folder of its own to the garbage collector, which warns
        warnings.simplefilter("ignore", ResourceWarning)
        del files
        gc.collect()
    return Sample(found, "DICOMDIR", ("DICOMDIR", *found))


def expected() -> Reading:
    """What every undamaged sample must give: HU along X, Y, Z, and the affine in RAS."""
    hu = stored_pixels().astype(np.float32).transpose(2, 1, 0) - 1024
    affine = np.diag([-0.8, -0.75, 2.5, 1.0])
    affine[:3, 3] = 9, 7, 0
    return Reading({"hu": hu}, affine)


def read(path: Path) -> Reading:
    volume = dicom.read_series(path)
    return Reading({"hu": volume.hu}, volume.geometry.affine)


# ---- harm that only DICOM knows

REFUSED, VALID, SAME = Expect.REFUSE, Expect.VALID, Expect.SAME
ABSURD: tuple[tuple[str, str, bytes, Expect], ...] = (  # keyword, VR, raw value, what may come of it
    ("Rows", "US", struct.pack("<H", 65535), REFUSED), ("Columns", "US", struct.pack("<H", 65535), REFUSED),
    ("Rows", "US", struct.pack("<H", 0), REFUSED), ("Columns", "US", struct.pack("<H", 0), REFUSED),
    ("Rows", "US", b"", REFUSED), ("Rows", "UL", struct.pack("<I", 2**31), REFUSED), ("Rows", "DS", b"20.5", REFUSED),
    ("BitsAllocated", "US", struct.pack("<H", 7), REFUSED), ("BitsAllocated", "US", struct.pack("<H", 64), REFUSED),
    ("BitsAllocated", "US", struct.pack("<H", 0), REFUSED), ("BitsAllocated", "US", struct.pack("<H", 1), REFUSED),
    ("BitsStored", "US", struct.pack("<H", 0), VALID), ("BitsStored", "US", struct.pack("<H", 40), VALID),
    ("HighBit", "US", struct.pack("<H", 65535), VALID), ("PixelRepresentation", "US", struct.pack("<H", 9), VALID),
    ("SamplesPerPixel", "US", struct.pack("<H", 3), REFUSED), ("SamplesPerPixel", "US", struct.pack("<H", 0), VALID),
    ("NumberOfFrames", "IS", b"-1", SAME), ("NumberOfFrames", "IS", b"2000000000", SAME),
    ("NumberOfFrames", "IS", b"many", SAME), ("NumberOfFrames", "IS", b"1e400", SAME),
    ("NumberOfFrames", "IS", b"9" * 5000, SAME),
    ("PixelSpacing", "DS", b"0\\0", REFUSED), ("PixelSpacing", "DS", b"-1\\-1", REFUSED),
    ("PixelSpacing", "DS", b"nan\\nan", REFUSED), ("PixelSpacing", "DS", b"inf\\1", REFUSED),
    ("PixelSpacing", "DS", b"1e308\\1e308", REFUSED), ("PixelSpacing", "DS", b"1e-300\\1e-300", REFUSED),
    ("PixelSpacing", "DS", b"0.75", REFUSED), ("PixelSpacing", "DS", b"1\\2\\3", REFUSED),
    ("PixelSpacing", "DS", b"0,75\\0,8", REFUSED), ("PixelSpacing", "DS", b"\x00\x00\\\x00", REFUSED),
    ("ImagePositionPatient", "DS", b"nan\\nan\\nan", REFUSED), ("ImagePositionPatient", "DS", b"inf\\0\\0", REFUSED),
    ("ImagePositionPatient", "DS", b"0\\0\\1e300", REFUSED), ("ImagePositionPatient", "DS", b"1\\2", REFUSED),
    ("ImagePositionPatient", "DS", b"a\\b\\c", REFUSED), ("ImagePositionPatient", "DS", b"", REFUSED),
    ("ImagePositionPatient", "DS", b"\\".join([b"1"] * 30000), REFUSED),
    ("ImageOrientationPatient", "DS", b"0\\0\\0\\0\\0\\0", REFUSED),
    ("ImageOrientationPatient", "DS", b"1\\0\\0\\1\\0\\0", REFUSED),
    ("ImageOrientationPatient", "DS", b"nan\\0\\0\\0\\1\\0", REFUSED),
    ("ImageOrientationPatient", "DS", b"1\\0\\0\\0\\1", REFUSED),
    ("ImageOrientationPatient", "DS", b"1e200\\0\\0\\0\\1e200\\0", REFUSED),
    ("RescaleSlope", "DS", b"nan", REFUSED), ("RescaleSlope", "DS", b"1e300", REFUSED),
    ("RescaleSlope", "DS", b"0", REFUSED), ("RescaleSlope", "DS", b"one", REFUSED),
    ("RescaleSlope", "DS", b"1\\2", REFUSED), ("RescaleIntercept", "DS", b"-inf", REFUSED),
    ("RescaleIntercept", "DS", b"1e39", REFUSED), ("RescaleIntercept", "DS", b"", REFUSED),
    ("RescaleIntercept", "SH", b"\xff\xfe\xfd", REFUSED),
    ("PixelPaddingValue", "US", b"\x01", VALID), ("PixelPaddingValue", "LO", b"padding ", VALID),
    ("PixelPaddingValue", "SS", struct.pack("<hh", 1, 2), VALID),
    ("Modality", "CS", b"\xff\xff", VALID), ("Modality", "OB", b"", SAME),
    ("SeriesInstanceUID", "UI", b"..1..", VALID), ("SeriesInstanceUID", "UI", b"\x00" * 64, VALID),
    ("SeriesInstanceUID", "UI", b"Doe^Jane", VALID), ("SOPClassUID", "UI", b"1.2.3", VALID),
    ("SpecificCharacterSet", "CS", b"ISO 9999\\none", SAME), ("PatientName", "PN", b"\xff\x1b$B" * 100, SAME),
    ("PatientBirthDate", "DA", b"not a date", SAME), ("PatientID", "LO", b"MRN4711" * 4000, SAME),
    ("InstanceNumber", "IS", b"99999999999999999999", SAME), ("SliceThickness", "DS", b"nan", SAME),
    ("GantryDetectorTilt", "DS", b"nan", SAME), ("GantryDetectorTilt", "DS", b"1e300", SAME),
    ("ImageType", "CS", b"\\\\\\\\", VALID), ("PhotometricInterpretation", "CS", b"PALETTE COLOR ", REFUSED),
    ("PhotometricInterpretation", "CS", b"MONOCHROME1 ", REFUSED), ("PhotometricInterpretation", "CS", b"", VALID),
    ("AcquisitionDateTime", "DT", b"\x80" * 40, SAME), ("WindowCenter", "DS", b"forty", SAME),
)  # fmt: skip


def absurd_tag(sample: Sample, rng: np.random.Generator) -> Damage:
    """An impossible value in one slice or in all of them."""
    keyword, vr, value, expect = pick(rng, ABSURD)
    names = [victim(sample, rng)] if rng.random() < 0.4 else list(sample.victims)
    for name in names:
        sample = sample.with_file(name, set_everywhere(sample.files[name], keyword, vr, value))
    shown = value if len(value) < 40 else value[:20] + b"..."
    if expect is SAME and len(names) < len(sample.victims):
        expect = VALID  # what is no matter when all slices say it may split a series when one says it
    return Damage(sample, f"{keyword} ({vr}) = {shown!r} in {len(names)} file(s)", expect)


def set_everywhere(content: bytes, keyword: str, vr: str, value: bytes) -> bytes:
    """The file with a raw value in every place where the element stands, else at the top."""
    dataset = pydicom.dcmread(BytesIO(content), force=True)
    tag = Tag(keyword)
    padded = value + b" " * (len(value) % 2) if vr not in ("US", "UL", "SS", "OB") else value
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    for place in [place for place in _datasets(dataset) if tag in place] or [dataset]:
        place[tag] = RawDataElement(tag, vr, len(padded), padded, 0, False, little)
    stream = BytesIO()
    dataset.save_as(stream, enforce_file_format=False)
    return stream.getvalue()


def _datasets(dataset: Dataset) -> list[Dataset]:
    """A data set and all the items of its sequences."""
    items = [item for element in dataset if element.VR == "SQ" for item in element.value]
    return [dataset, *(place for item in items for place in _datasets(item))]


def wrong_length(sample: Sample, rng: np.random.Generator) -> Damage:
    """The length field of an element says far too much, or that it is undefined."""
    name = victim(sample, rng)
    content = bytearray(sample.files[name])
    group, element = pick(rng, ((0x28, 0x10), (0x20, 0x32), (0x20, 0x0D), (0x8, 0x8), (0x10, 0x10), (0x7FE0, 0x10),
                                (0x2, 0x10), (0x2, 0x0), (0x5200, 0x9230)))  # fmt: skip
    at = content.find(struct.pack("<HH", group, element))
    if at < 0:
        return flipped(sample, rng)
    length = int(pick(rng, (0, 1, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF)))
    wide = bytes(content[at + 4 : at + 6]) in (b"OB", b"OW", b"SQ", b"UN")
    explicit = bytes(content[at + 4 : at + 6]).isalpha()
    where, form = (at + 8, "<I") if wide else (at + 6, "<H") if explicit else (at + 4, "<I")
    content[where : where + struct.calcsize(form)] = struct.pack(
        form, length & (0xFFFF if form == "<H" else 0xFFFFFFFF)
    )
    words = f"{name}: length of ({group:04x},{element:04x}) set to {length}"
    return Damage(sample.with_file(name, bytes(content)), words, VALID)


def flipped(sample: Sample, rng: np.random.Generator) -> Damage:
    return pick(rng, EVERY_FORMAT)(sample, rng)


def deep_sequences(sample: Sample, rng: np.random.Generator) -> Damage:
    """Thousands of sequences in each other, where a reader that calls itself runs out of stack."""
    name = victim(sample, rng)
    depth = int(pick(rng, (50, 2000, 60_000)))
    undefined = b"\xff\xff\xff\xff"
    opening = struct.pack("<HH", 0x0008, 0x1140) + b"SQ\0\0" + undefined + b"\xfe\xff\x00\xe0" + undefined
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    content = sample.files[name]
    at = content.find(struct.pack("<HH", 0x0010, 0x0010))
    if at < 0:
        return flipped(sample, rng)
    harmed = content[:at] + opening * depth + (closing * depth if rng.random() < 0.5 else b"") + content[at:]
    return Damage(sample.with_file(name, harmed), f"{name}: {depth} sequences in each other", VALID)


def other_syntax(sample: Sample, rng: np.random.Generator) -> Damage:
    """The file claims another transfer syntax than its pixels have."""
    dataset = pydicom.dcmread(BytesIO(sample.files[name := victim(sample, rng)]))
    claim = pick(
        rng, (*SYNTAXES.values(), UID("1.2.840.10008.1.2.4.100"), UID("1.2.3.4"), UID("1.2.840.10008.1.2.4.51"))
    )
    true = dataset.file_meta.TransferSyntaxUID
    content = sample.files[name]
    old, new = (f"{uid}\0".encode() if len(uid) % 2 else str(uid).encode() for uid in (true, claim))
    at = content.find(old, 132)
    length = content[at - 2 : at]
    if struct.unpack("<H", length)[0] != len(old):
        return flipped(sample, rng)
    harmed = content[: at - 2] + struct.pack("<H", len(new)) + new + content[at + len(old) :]
    return Damage(sample.with_file(name, harmed), f"{name} claims {claim.name}", SAME if claim == true else VALID)


def lost_slice(sample: Sample, rng: np.random.Generator) -> Damage:
    """A slice that is neither the first nor the last is gone, renamed or no file any more."""
    if len(sample.victims) != SLICES:
        return flipped(sample, rng)
    inner = [name for name in sample.victims if 0 < _height(sample.files[name]) < 2.5 * (SLICES - 1)]
    name = pick(rng, inner)
    return Damage(sample.without(name), f"{name}, a slice within, is gone", REFUSED)


def _height(content: bytes) -> float:
    return float(pydicom.dcmread(BytesIO(content), stop_before_pixels=True).ImagePositionPatient[2])


def strange_neighbours(sample: Sample, rng: np.random.Generator) -> Damage:
    """Named pipes, links in a circle or into nowhere, folders named as files: none may stop or hang the reader."""
    kind = pick(rng, ("pipe", "loop", "dangling", "folder", "device", "long name", "itself"))
    below = Path(sample.main if not Path(sample.main).suffix and sample.main != "DICOMDIR" else "")

    def prepare(folder: Path) -> None:
        place = folder / below
        if kind == "pipe":
            os.mkfifo(place / "slice9.dcm")
        elif kind == "loop":
            (place / "again").symlink_to(place, target_is_directory=True)
        elif kind == "dangling":
            (place / "slice9.dcm").symlink_to(place / "nothing")
        elif kind == "folder":
            (place / "slice9.dcm").mkdir()
        elif kind == "device":
            (place / "slice9.dcm").symlink_to("/dev/zero")
        elif kind == "itself":
            (place / "slice9.dcm").symlink_to(place / "slice9.dcm")
        else:
            (place / ("n" * 250)).write_bytes(b"DICM" * 50)

    harmed = Sample(sample.files, sample.main, sample.victims, sample.pixels, prepare)
    return Damage(harmed, f"a neighbour: {kind}", SAME)


def inflated(sample: Sample, rng: np.random.Generator) -> Damage:
    """A deflated data set that becomes gigabytes (a bomb)."""
    name = victim(sample, rng)
    meta = sample.files[name]
    end = meta.find(b"UL\x04\x00") + 6
    group_length = struct.unpack("<I", meta[end : end + 4])[0] if end > 6 else 0
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = struct.pack("<HH2s2xI", 0x0009, 0x0010, b"OB", 0xFFFFFFF0)
    bomb = deflate.compress(head) + b"".join(deflate.compress(bytes(1 << 20)) for _ in range(64)) + deflate.flush()
    if not group_length or b"1.2.840.10008.1.2.1.99" not in meta[:600]:
        return flipped(sample, rng)
    return Damage(sample.with_file(name, meta[: end + 4 + group_length] + bomb), f"{name}: deflated bomb", VALID)


WAYS = (absurd_tag, absurd_tag, absurd_tag, wrong_length, deep_sequences, other_syntax, lost_slice, *EVERY_FORMAT)
FAMILIES = {
    "dicom": Family(lambda: tuple(series(s) for s in ("explicit", "implicit", "big")), read,
                    (*WAYS, strange_neighbours)),
    "dicom_compressed": Family(lambda: tuple(series(s) for s in (*ENCODERS, "deflated")), read,
                               (*WAYS, *EVERY_FORMAT, inflated)),
    "dicom_enhanced": Family(lambda: (enhanced(), enhanced("jpeg_ls"), enhanced("rle")), read, WAYS),
    "dicomdir": Family(lambda: (dicomdir(),), read, (*EVERY_FORMAT, wrong_length, deep_sequences, strange_neighbours)),
}  # fmt: skip
