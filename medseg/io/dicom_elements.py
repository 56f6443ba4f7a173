"""The few header elements that a reader of CT needs, as the bytes that the file holds, and where its pixels begin.

The plain case (explicit or implicit VR, either byte order, PS3.5 chapter 7) is parsed here, 15 times as fast as by
pydicom. Whatever is unusual goes to pydicom, which is asked for the same raw bytes: both ways give equal `Elements`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from medseg.io.dicom_damage import DamageError
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.dicom_sources import HEAD, Inflated, Item, Sipped

FIRST_READ = 16 << 10  # most headers of CT are 2 to 10 KB
LARGEST_HEADER = 256 << 20  # 10,000 frames of an Enhanced CT take some 10 MB
DEEPEST_NESTING = 32
UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
MODALITY = 0x00080060
FIRST_PIXEL_TAG, PIXEL_DATA = 0x7FE00008, 0x7FE00010  # Float and Double Float Pixel Data come first
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
WANTED: Mapping[str, int] = {
    "MediaStorageSOPClassUID": 0x00020002, "TransferSyntaxUID": 0x00020010,
    "ImageType": 0x00080008, "SOPClassUID": 0x00080016, "SOPInstanceUID": 0x00080018, "Modality": 0x00080060,
    "PatientID": 0x00100020, "BodyPartExamined": 0x00180015, "SliceThickness": 0x00180050, "KVP": 0x00180060,
    "ConvolutionKernel": 0x00181210, "StudyInstanceUID": 0x0020000D, "SeriesInstanceUID": 0x0020000E,
    "AcquisitionNumber": 0x00200012, "ImagePositionPatient": 0x00200032, "ImageOrientationPatient": 0x00200037,
    "FrameOfReferenceUID": 0x00200052, "TemporalPositionIdentifier": 0x00200100,
    "NominalPercentageOfCardiacPhase": 0x00209241,
    "SamplesPerPixel": 0x00280002, "PhotometricInterpretation": 0x00280004, "NumberOfFrames": 0x00280008,
    "Rows": 0x00280010, "Columns": 0x00280011, "PixelSpacing": 0x00280030, "BitsAllocated": 0x00280100,
    "BitsStored": 0x00280101, "HighBit": 0x00280102, "PixelRepresentation": 0x00280103,
    "PixelPaddingValue": 0x00280120, "PixelPaddingRangeLimit": 0x00280121, "RescaleIntercept": 0x00281052,
    "RescaleSlope": 0x00281053, "RescaleType": 0x00281054,
    "ExtendedOffsetTable": 0x7FE00001, "ExtendedOffsetTableLengths": 0x7FE00002,
}  # fmt: skip
NAMES = {tag: name for name, tag in WANTED.items()}
FUNCTIONAL_GROUPS = (0x52009229, 0x52009230)  # shared, per frame: an Enhanced image, for `dicom_enhanced`
NO_IMAGES = frozenset({"SEG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTIMAGE", "RTRECORD", "REG", "FID", "SR", "PR", "KO",
                       "DOC", "ECG", "HD", "AU", "PLAN", "REGISTRATION"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Elements:
    """Raw values of a file's header.

    Args:
        values: the bytes of each element of `WANTED` that the file holds, by name.
        little: byte order of the numbers among them and of the pixels.
        item: where the file, inflated if it was deflated, is read again.
        offset: the first byte of the pixel data in `item`; None when the file holds none or is no image.
        length: bytes of the pixel data; None when they are encapsulated.
        functional_groups: whether geometry and rescale lie in functional groups (Enhanced images).
    """

    values: Mapping[str, bytes]
    little: bool
    item: Item
    offset: int | None = None
    length: int | None = None
    functional_groups: bool = False


class _UnusualError(Exception):
    """The plain parser does not judge this file."""


class _ShortError(Exception):
    """The header goes on behind the bytes that were read."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """How an element begins: byte order, and whether its value representation is written."""

    explicit: bool
    little: bool
    element: Callable[[bytes, int], tuple[int, int, bytes, int]]  # group, element, VR, length
    long: Callable[[bytes, int], tuple[int]]
    item: Callable[[bytes, int], tuple[int, int, int]]

    @classmethod
    def of(cls, explicit: bool, little: bool) -> _Layout:
        order = "<" if little else ">"
        head, long, item = (struct.Struct(order + form).unpack_from for form in ("HH2sH", "L", "HHL"))
        return cls(explicit, little, head, long, item)  # type: ignore[arg-type]

    def begin(self, buffer: bytes, at: int) -> tuple[int, bytes, int, int]:
        """Tag, VR (empty when implicit), length and place of the value of the element that begins `at`."""
        if at + 12 > len(buffer):
            raise _ShortError
        if not self.explicit:
            group, element, length = self.item(buffer, at)
            return group << 16 | element, b"", length, at + 8
        group, element, vr, length = self.element(buffer, at)
        if vr in SHORT_VRS:
            return group << 16 | element, vr, length, at + 8
        if vr in LONG_VRS:
            return group << 16 | element, vr, self.long(buffer, at + 8)[0], at + 12
        raise _UnusualError


EXPLICIT, IMPLICIT, BIG = _Layout.of(True, True), _Layout.of(False, True), _Layout.of(True, False)


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins with these bytes (144 are enough) is DICOM.

    By the magic number, by a file meta group where that number is damaged, or by a first element of group 0002 or
    0008 in files without preamble.

    >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"# a text file")
    (True, False)
    """
    if head[128:132] == b"DICM" or head[132:138] == b"\x02\x00\x00\x00UL":
        return True
    little = head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\0"
    if len(head) < 12 or not (little or head[:3] == b"\x00\x08\x00"):
        return False
    written = head[4:6] in SHORT_VRS | LONG_VRS
    return written or (head[0] == 8 and int.from_bytes(head[4:8], "little") <= 4096)


def read_elements(item: Item) -> Elements | None:
    """The header of a file, or None when it is no DICOM; reads no further than to the pixels.

    Raises:
        dicom_damage.BROKEN: neither this parser nor pydicom understands the file.
    """
    with item.open() as stream:
        start = stream.read(FIRST_READ)
        if not is_dicom(start):
            return None
        try:
            return _grown(start, stream, lambda buffer, whole: parse(buffer, item, whole=whole))
        except _UnusualError:
            return parse_with_pydicom(item)


def _grown(buffer: bytes, stream: BinaryIO, parse_: Callable[[bytes, bool], Elements]) -> Elements:
    """What `parse_` makes of the first bytes, of four times as many when those are too few, and so on."""
    whole = len(buffer) < FIRST_READ
    while True:
        try:
            return parse_(buffer, whole)
        except _ShortError as error:
            if whole or len(buffer) > LARGEST_HEADER:
                raise _UnusualError from error
        more = stream.read(3 * len(buffer))
        whole = len(more) < 3 * len(buffer)
        buffer += more


def parse(buffer: bytes, item: Item, *, whole: bool) -> Elements:
    """The header at the beginning of `buffer`, in the plain case; `whole` tells that the file ends with the buffer.

    Raises:
        _ShortError: the header may go on behind the buffer.
        _UnusualError: something that only pydicom may judge.
    """
    at = 132 if buffer[128:132] == b"DICM" else 0
    values: dict[str, bytes] = {}
    while buffer[at : at + 2] == b"\x02\x00":
        tag, _, length, at = EXPLICIT.begin(buffer, at)
        if at + length > len(buffer):
            raise _ShortError
        if name := NAMES.get(tag):
            values[name] = buffer[at : at + length]
        at += length
    if text(values.get("MediaStorageSOPClassUID", b"")) == MediaStorageDirectoryStorage:
        return Elements(values, True, item)
    syntax = text(values.get("TransferSyntaxUID", b""))
    if syntax == DeflatedExplicitVRLittleEndian:
        return _inflated(Inflated(item, at), values)
    layout = BIG if syntax == ExplicitVRBigEndian else EXPLICIT
    if syntax in ("", ImplicitVRLittleEndian):
        layout = IMPLICIT
        if buffer[at + 4 : at + 6] in SHORT_VRS | LONG_VRS:
            raise _UnusualError
    found, offset, length = _walk(buffer, at, layout, whole)
    return Elements(values | found, layout.little, item, offset, length)


def _inflated(item: Item, meta: dict[str, bytes]) -> Elements:
    """The data set of a deflated file, which goes through the same parser as any other."""

    def parse_inner(buffer: bytes, whole: bool) -> Elements:
        found, offset, length = _walk(buffer, 0, EXPLICIT, whole)
        return Elements(meta | found, True, item, offset, length)

    with item.open() as stream:
        try:
            return _grown(stream.read(FIRST_READ), stream, parse_inner)
        except _UnusualError:
            found = parse_with_pydicom(item)
            return replace(found, values=meta | dict(found.values))


def _walk(buffer: bytes, at: int, layout: _Layout, whole: bool) -> tuple[dict[str, bytes], int | None, int | None]:
    """The wanted values of a data set that begins `at`, and the place and length of its pixels if it has any."""
    last = 0
    values: dict[str, bytes] = {}
    while not (whole and at == len(buffer)):
        tag, vr, length, at = layout.begin(buffer, at)
        if tag <= last or tag in FUNCTIONAL_GROUPS:
            raise _UnusualError
        if tag > MODALITY >= last and text(values.get("Modality", b"")) in NO_IMAGES:
            break
        last = tag
        if tag >= FIRST_PIXEL_TAG:
            return values, at if tag == PIXEL_DATA else None, None if length == UNDEFINED else length
        if length == UNDEFINED:
            at = _after_sequence(buffer, at, IMPLICIT if vr == b"UN" else layout, 0)
            continue
        if at + length > len(buffer):
            raise _ShortError
        if name := NAMES.get(tag):
            values[name] = buffer[at : at + length]
        at += length
    return values, None, None


def _after_sequence(buffer: bytes, at: int, layout: _Layout, depth: int) -> int:
    """The place behind a sequence of undefined length."""
    if depth > DEEPEST_NESTING:
        raise _UnusualError
    while True:
        if at + 8 > len(buffer):
            raise _ShortError
        group, element, length = layout.item(buffer, at)
        tag, at = group << 16 | element, at + 8
        if tag == SEQUENCE_END:
            return at
        if tag != ITEM:
            raise _UnusualError
        at = _after_item(buffer, at, layout, depth) if length == UNDEFINED else at + length


def _after_item(buffer: bytes, at: int, layout: _Layout, depth: int) -> int:
    while True:
        if at + 8 > len(buffer):
            raise _ShortError
        group, element, _ = layout.item(buffer, at)
        if group << 16 | element == ITEM_END:
            return at + 8
        _, vr, length, at = layout.begin(buffer, at)
        if length == UNDEFINED:
            at = _after_sequence(buffer, at, IMPLICIT if vr == b"UN" else layout, depth + 1)
        else:
            at += length


def parse_with_pydicom(item: Item) -> Elements:
    """The same by pydicom: for files that the plain parser does not judge, and to hold it against."""
    with quiet_pydicom(), item.open() as stream:
        dataset = open_with_pydicom(stream, [*WANTED.values(), *FUNCTIONAL_GROUPS])
        implicit, little = dataset.original_encoding
        layout = _Layout.of(not implicit, bool(little))
        begin = stream.read(12)
        offset, length = None, UNDEFINED
        if len(begin) == 12:
            try:
                tag, _, length, skip = layout.begin(begin, 0)
            except _UnusualError as error:
                raise DamageError("there is no element where the pixels should begin") from error
            at = stream.tell() - len(begin) + skip
            offset = at if tag == PIXEL_DATA else None
        values = {name: raw for name in WANTED if (raw := _raw(dataset, name)) is not None}
    functional = any(tag in dataset for tag in FUNCTIONAL_GROUPS)
    return Elements(values, bool(little), item, offset, None if length == UNDEFINED else length, functional)


def open_with_pydicom(stream: BinaryIO, tags: list[int]) -> Any:
    """pydicom's data set of the header, to be used within `quiet_pydicom`.

    The stream is left where the pixel data begin. A deflated file is not inflated here, because pydicom would do so
    without a bound.

    Raises:
        InvalidDicomError: no DICOM.
        DamageError: deflated.
    """
    head = stream.read(HEAD)
    if not is_dicom(head):
        raise InvalidDicomError("no DICOM")
    sipped: Any = Sipped(stream)
    if file_meta(sipped).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
        raise DamageError("the header of a deflated file is unusual")
    stream.seek(0)
    return pydicom.dcmread(sipped, stop_before_pixels=True, specific_tags=tags, force=True)


def file_meta(stream: Any) -> Any:
    """The meta elements of a DICOM file (PS3.10 7.1), none where it has none; the stream is left behind them."""
    stream.seek(0)
    stream.seek(132 if stream.read(132)[128:] == b"DICM" else 0)
    return read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)


def _raw(dataset: Any, name: str) -> bytes | None:
    source = dataset.file_meta if WANTED[name] < 0x00030000 else dataset
    if WANTED[name] not in source:
        return None
    element = source.get_item(WANTED[name])
    if isinstance(element, RawDataElement):
        return element.value or b""
    parts = element.value if element.VM > 1 else [element.value]
    return "\\".join(str(part) for part in parts).encode()  # pydicom has turned the file meta elements into text


def text(raw: bytes) -> str:
    """A value without its padding; bytes beyond ASCII become marks, because names are compared and never shown."""
    return raw.decode("ascii", "replace").strip(" \0")
