"""Where the bytes of each frame lie in a file: native, or in fragments (PS3.5 annex A.4)."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from itertools import pairwise
from typing import BinaryIO

from medseg.io.dicom_codecs import NATIVE, frame_bytes
from medseg.io.dicom_damage import DamageError
from medseg.io.dicom_headers import PixelFormat
from medseg.io.dicom_sources import SMALL_BYTES, FileItem, Item, read_exactly, skip

FRAGMENT, DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
RLE = "1.2.840.10008.1.2.5"
END_OF_IMAGE = b"\xff\xd9"
MAX_FRAGMENTS = 1 << 22
MAX_COMPRESSION = 10_000  # of images; even empty ones hardly reach 5,000

Span = tuple[int, int]  # first byte and number of bytes


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The spans of every frame of one file.

    Args:
        item: the file; one that can only be read from its beginning (in a zip, deflated) has been read into memory.
        spans: for each frame the pieces that make it up.
    """

    item: Item
    spans: tuple[tuple[Span, ...], ...]

    def read(self, frame: int) -> bytes:
        """The bytes of a frame.

        Raises:
            DamageError: the file ends before.
        """
        with self.item.open() as stream:
            parts = []
            for offset, length in self.spans[frame]:
                skip(stream, offset)
                parts.append(read_exactly(stream, length))
            return parts[0] if len(parts) == 1 else b"".join(parts)


@dataclass(frozen=True, slots=True)
class _MemoryItem:
    content: bytes

    def open(self) -> BinaryIO:
        return BytesIO(self.content)

    def most_bytes(self) -> int:
        return len(self.content)

    def stamp(self) -> str:
        return sha256(self.content).hexdigest()


def check_room(item: Item, pixels: PixelFormat) -> None:
    """Refuses a header that declares more pixels than the file can hold, before memory is taken for them.

    Raises:
        DamageError: it does.
    """
    native, most = pixels.syntax in NATIVE, item.most_bytes()
    limit = most if native else max(SMALL_BYTES, MAX_COMPRESSION * most)
    if frame_bytes(pixels) * pixels.frames > limit:
        raise DamageError("the header declares more than the file can hold")


def find_frames(item: Item, pixels: PixelFormat) -> FrameIndex:
    """Where the frames of a file lie.

    Raises:
        DamageError: no pixels, not as many bytes or frames as the header says, or the file ends before.
    """
    offset = pixels.offset
    if offset is None:
        raise DamageError("there are no pixel data")
    if not isinstance(item, FileItem):
        with item.open() as stream:
            skip(stream, offset)
            content = stream.read(frame_bytes(pixels) * pixels.frames if pixels.syntax in NATIVE else -1)
            stream.seek(item.most_bytes())  # the checksum of a member is compared when all of it has been read
            item, offset = _MemoryItem(content), 0
    if pixels.syntax in NATIVE:
        return FrameIndex(item, _native_spans(offset, pixels))
    with item.open() as stream:
        skip(stream, offset)
        frames = tuple(_frames(stream, list(_fragments(stream, offset)), pixels))
    if len(frames) != pixels.frames:
        raise DamageError("it has not as many frames as the header says")
    return FrameIndex(item, frames)


def _native_spans(offset: int, pixels: PixelFormat) -> tuple[tuple[Span, ...], ...]:
    size = frame_bytes(pixels)
    if pixels.length not in (total := size * pixels.frames, total + total % 2):
        raise DamageError("it has not as many bytes as the header says")
    return tuple(((offset + index * size, size),) for index in range(pixels.frames))


def _fragments(stream: BinaryIO, at: int) -> Iterator[Span]:
    """Span of the basic offset table, then of each fragment, up to the delimiter or the end of the file."""
    for _ in range(MAX_FRAGMENTS):
        head = stream.read(8)
        if len(head) < 8 or head[:4] == DELIMITER:
            return
        if head[:4] != FRAGMENT:
            raise DamageError("there is no fragment where one should be")
        length = struct.unpack_from("<L", head, 4)[0]
        yield at + 8, length
        at += 8 + length
        stream.seek(at)
    raise DamageError("there are too many fragments")


def _frames(stream: BinaryIO, pieces: list[Span], pixels: PixelFormat) -> Iterator[tuple[Span, ...]]:
    """The fragments of each frame: by an offset table, or by where images end."""
    if not pieces:
        raise DamageError("there are no fragments")
    table, *fragments = pieces
    if pixels.frames == 1:
        yield tuple(fragments)
        return
    starts = pixels.offsets or _offset_table(stream, table)
    if len(fragments) == pixels.frames or (pixels.syntax == RLE and not starts):
        yield from ((fragment,) for fragment in fragments)
    elif starts:
        yield from _by_table(fragments, starts)
    else:
        yield from _by_ends(stream, fragments)


def _offset_table(stream: BinaryIO, table: Span) -> tuple[int, ...]:
    stream.seek(table[0])
    raw = read_exactly(stream, table[1])
    return struct.unpack(f"<{len(raw) // 4}L", raw[: len(raw) // 4 * 4])


def _by_table(fragments: list[Span], starts: tuple[int, ...]) -> Iterator[tuple[Span, ...]]:
    first = fragments[0][0] - 8
    places = {offset - 8 - first: index for index, (offset, _) in enumerate(fragments)}
    bounds = [places[start] for start in starts] + [len(fragments)]
    if bounds != sorted(set(bounds)) or bounds[0]:
        raise DamageError("the offsets are out of order")
    for low, high in pairwise(bounds):
        yield tuple(fragments[low:high])


def _by_ends(stream: BinaryIO, fragments: list[Span]) -> Iterator[tuple[Span, ...]]:
    frame: list[Span] = []
    for offset, length in fragments:
        frame.append((offset, length))
        tail = min(length, 64)
        stream.seek(offset + length - tail)
        if read_exactly(stream, tail).rstrip(b"\0").endswith(END_OF_IMAGE):
            yield tuple(frame)
            frame = []
    if frame:
        raise DamageError("the last frame has no end")
