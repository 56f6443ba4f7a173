"""What a file's header says as numbers and words: `Image`, one CT slice that has not been read yet.

Nothing here is shown to anyone but sizes, spacings, directions and words of the DICOM standard.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.uid import UID

from medseg.io.dicom_damage import DamageError
from medseg.io.dicom_elements import Elements, text
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.dicom_sources import Item

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame relatives, which continue this UID
CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2"  # CT, Enhanced CT, Legacy Converted Enhanced CT
CT_CLASSES = (CT_STORAGE, CT_STORAGE + ".1", CT_STORAGE + ".2")
DIRECTORY = "1.2.840.10008.1.3.10"
DIRECTORY_KIND = "DICOMDIR"
DOSE_REPORT = "1.2.840.10008.5.1.4.1.1.88.67"
OBJECTS = {"RTSTRUCT": "RTSTRUCT", "SEG": "SEG", "SR": "SR", "PR": "presentation state", "KO": "key object selection"}
LARGEST_SIDE = 1 << 14
LARGEST_NUMBER = 1e30  # so that products of a few numbers stay finite; what is absurd below it is refused by name

Position = tuple[float, float, float]
Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the stored values of a file are laid down (PS3.3 C.7.6.3, PS3.5 chapter 8).

    Args:
        syntax: transfer syntax UID.
        shape: pixel rows and columns.
        bits: allocated, stored, high bit.
        frames: images in the file.
        offset: first byte of the pixel data in the file; `length` their bytes, None when encapsulated.
        offsets: extended offset table, empty when there is none.
    """

    syntax: str
    little: bool
    shape: tuple[int, int]
    samples: int
    photometric: str
    bits: tuple[int, int, int]
    signed: bool
    frames: int
    offset: int | None
    length: int | None
    offsets: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What all images of a file share, for telling series apart. Identifiers stay in memory and are never shown."""

    sop_uid: str
    series_uid: str
    study_uid: str
    patient: str
    modality: str
    sop_class: str
    kvp: str
    body_part: str
    cardiac_phase: str
    folder: str  # of the file; only where a series has no UID


@dataclass(frozen=True, slots=True)
class Image:
    """One CT slice by its header.

    Args:
        frame: number of the image in its file, from 0.
        position: ImagePositionPatient, LPS mm; `orientation` six cosines; `pixel_mm` row and column spacing. None
            where the header has none.
        padding: the two limits of the stored values that are padding.
    """

    item: Item
    frame: int
    facts: Facts
    pixels: PixelFormat
    frame_of_reference: str
    image_type: tuple[str, ...]
    kernel: str
    acquisition: str
    temporal: str
    thickness_mm: float | None
    position: Numbers | None
    orientation: Numbers | None
    pixel_mm: Numbers | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    padding: tuple[int, int] | None


class Header:
    """Typed access to the raw values of `Elements`."""

    def __init__(self, elements: Elements) -> None:
        self.elements = elements
        self._values: Mapping[str, bytes] = elements.values

    def text(self, name: str) -> str:
        """One value without its padding; empty where the element is absent."""
        return text(self._values.get(name, b""))

    def words(self, name: str) -> tuple[str, ...]:
        """The parts of a value of several."""
        value = self.text(name)
        return tuple(part.strip() for part in value.split("\\")) if value else ()

    def numbers(self, name: str, count: int) -> Numbers | None:
        """Decimal numbers; None where the element is absent or empty.

        Raises:
            DamageError: as `sound_numbers`.
        """
        words = self.words(name)
        return sound_numbers(name, words, count) if words else None

    def number(self, name: str) -> float | None:
        """One decimal number, or None."""
        numbers = self.numbers(name, 1)
        return None if numbers is None else numbers[0]

    def integer(self, name: str, default: int | None = None) -> int:
        """A binary unsigned 16 bit value (US); of several the first.

        Raises:
            DamageError: the element is absent and there is no default.
        """
        raw = self._values.get(name, b"")
        if len(raw) >= 2:
            return int.from_bytes(raw[:2], "little" if self.elements.little else "big")
        if raw or default is None:
            raise DamageError(f"{name} is missing")
        return default

    def longs(self, name: str) -> tuple[int, ...]:
        """Binary 64 bit values (OV)."""
        raw = self._values.get(name, b"")
        return tuple(int(n) for n in np.frombuffer(raw, "<u8" if self.elements.little else ">u8"))


def sound_numbers(name: str, values: Sequence[Any], count: int, most: float = LARGEST_NUMBER) -> Numbers:
    """The numbers that the texts or decimals of an element stand for.

    Raises:
        DamageError: not `count` numbers, or one that is not finite or beyond `most`.

    >>> sound_numbers("PixelSpacing", ["1.5", "2e1"], 2)
    (1.5, 20.0)
    """
    try:
        numbers = tuple(float(str(value).replace("_", "no number")) for value in values)
    except ValueError:
        numbers = ()
    if len(numbers) != count or not all(abs(number) <= most for number in numbers):  # false for NaN
        raise DamageError(f"{name} does not hold {'one sound number' if count == 1 else f'{count} sound numbers'}")
    return numbers


def kind_of(header: Header) -> str:
    """What a file is if it is no image of a series, as a word for "passed over"; empty for images.

    Raises:
        DamageError: a CT without an image, or an object without a name.
    """
    sop_class, modality = header.text("SOPClassUID"), header.text("Modality")
    if header.text("MediaStorageSOPClassUID") == DIRECTORY or sop_class == DIRECTORY:
        return DIRECTORY_KIND
    if sop_class.startswith(DOSE_REPORT):
        return "dose report"
    if sop_class.startswith(SECONDARY_CAPTURE):
        return "capture"
    if header.elements.offset is None and not header.elements.values.get("Rows"):
        named = re.fullmatch("[A-Z]{2,12}", modality) and modality != "CT"
        if not named and (sop_class in CT_CLASSES or not _is_known_class(sop_class)):
            raise DamageError("neither an image nor another object: the file is cut off in its header")
        return OBJECTS.get(modality, modality if named else "unnamed object")
    if modality == "OT":
        return "capture"
    if any("LOCALIZER" in word.upper() for word in header.words("ImageType")):
        return "localiser"
    if (samples := header.integer("SamplesPerPixel", 1)) == 1:
        return ""
    if samples not in (3, 4) or header.text("PhotometricInterpretation").startswith("MONOCHROME"):
        raise DamageError("SamplesPerPixel is not what such an image has")
    return "colour capture"


def _is_known_class(uid: str) -> bool:
    with quiet_pydicom():
        return UID(uid).type == "SOP Class"


def pixel_format(header: Header) -> PixelFormat:
    """How the file's pixels are stored.

    Raises:
        DamageError: an element is missing, or a size that no image has.
    """
    rows, columns = header.integer("Rows"), header.integer("Columns")
    allocated = header.integer("BitsAllocated")
    stored = header.integer("BitsStored", allocated)
    frames = int(header.number("NumberOfFrames") or 1)
    if not (0 < rows <= LARGEST_SIDE and 0 < columns <= LARGEST_SIDE and 0 < frames <= 1 << 16):
        raise DamageError("Rows, Columns or NumberOfFrames is no size of an image")
    elements = header.elements
    return PixelFormat(
        syntax=header.text("TransferSyntaxUID") or "1.2.840.10008.1.2",  # PS3.5 10.1: the default
        little=elements.little,
        shape=(rows, columns),
        samples=header.integer("SamplesPerPixel", 1),
        photometric=header.text("PhotometricInterpretation"),
        bits=(allocated, stored, header.integer("HighBit", stored - 1)),
        signed=header.integer("PixelRepresentation", 0) == 1,
        frames=frames,
        offset=elements.offset,
        length=elements.length,
        offsets=header.longs("ExtendedOffsetTable"),
    )


def facts_of(header: Header, folder: str) -> Facts:
    """The identifiers and words of a file; `folder` tells files without any UID apart."""
    return Facts(
        sop_uid=header.text("SOPInstanceUID"),
        series_uid=header.text("SeriesInstanceUID"),
        study_uid=header.text("StudyInstanceUID"),
        patient=header.text("PatientID"),
        modality=header.text("Modality"),
        sop_class=header.text("SOPClassUID") or header.text("MediaStorageSOPClassUID"),
        kvp=header.text("KVP"),
        body_part=header.text("BodyPartExamined"),
        cardiac_phase=header.text("NominalPercentageOfCardiacPhase"),
        folder=folder,
    )


def image_of(header: Header, folder: str) -> Image:
    """The only image of a file that is no Enhanced one.

    Raises:
        DamageError: a value is not what its element must hold.
    """
    return Image(
        item=header.elements.item,
        frame=0,
        facts=facts_of(header, folder),
        pixels=pixel_format(header),
        frame_of_reference=header.text("FrameOfReferenceUID"),
        image_type=tuple(word.upper() for word in header.words("ImageType")),
        kernel="\\".join(header.words("ConvolutionKernel")),
        acquisition=header.text("AcquisitionNumber"),
        temporal=header.text("TemporalPositionIdentifier"),
        thickness_mm=header.number("SliceThickness"),
        position=header.numbers("ImagePositionPatient", 3),
        orientation=header.numbers("ImageOrientationPatient", 6),
        pixel_mm=header.numbers("PixelSpacing", 2),
        slope=header.number("RescaleSlope"),
        intercept=header.number("RescaleIntercept"),
        rescale_type=header.text("RescaleType"),
        padding=padding_of(header),
    )


def padding_of(header: Header) -> tuple[int, int] | None:
    """PixelPaddingValue and PixelPaddingRangeLimit (PS3.3 C.7.5.1.1.2) as unsigned 16 bit numbers, or None."""
    if not header.elements.values.get("PixelPaddingValue"):
        return None
    low = header.integer("PixelPaddingValue")
    return low, header.integer("PixelPaddingRangeLimit", low)
