"""Where the files of a study lie: a folder tree, the members of a zip, the files that a DICOMDIR names, or one file.

Nothing is unpacked to disk. Hidden files and folders are passed over, links are followed but no folder is
visited twice.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from medseg.errors import FileReadError
from medseg.io.dicom_damage import DamageError

ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"7z\xbc\xaf\x27\x1c", b"Rar!")
HEAD = 144  # bytes that tell DICOM and archives from other files
CHUNK = 1 << 20
SMALL_BYTES = 64 << 20  # what unpacks to no more than this may be as empty, and deflate as well, as it likes
MAX_RATIO = 200  # CT deflates to a half or a quarter, a series of nearly nothing but air to a fiftieth


class Item(Protocol):
    """One file; `open` gives a stream from its first byte that can skip forward."""

    def open(self) -> AbstractContextManager[BinaryIO]: ...

    def most_bytes(self) -> int:
        """How many bytes it holds, or no more than which it may hold when it is unpacked."""
        ...

    def stamp(self) -> str:
        """What changes when the file does, without reading it."""
        ...


@dataclass(frozen=True, slots=True)
class FileItem:
    """A file on disk."""

    path: Path

    def open(self) -> BinaryIO:
        return open(self.path, "rb", buffering=0)  # type: ignore[return-value]

    def most_bytes(self) -> int:
        return self.path.stat().st_size

    def stamp(self) -> str:
        status = self.path.stat()
        return f"{status.st_size} {status.st_mtime_ns}"


@dataclass(frozen=True, slots=True)
class Inflated:
    """The data set of a deflated DICOM file (PS3.5 A.5): everything from byte `start` on, inflated as it is read."""

    item: Item
    start: int

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        with self.item.open() as stream:
            yield cast(BinaryIO, InflatingStream(stream, self.start))

    def most_bytes(self) -> int:
        return max(SMALL_BYTES, MAX_RATIO * self.item.most_bytes())

    def stamp(self) -> str:
        return self.item.stamp()


class InflatingStream(RawIOBase):
    """Inflates no more than is read, so that a few bytes that would become gigabytes cost nothing.

    Args:
        source: the file.
        start: its first deflated byte.
        length: how many there are; None to the end of the file.
        stored: whether they are not deflated after all.
        size: bytes that must come out; with `crc` their CRC-32, checked when the last of them is read.
    """

    def __init__(self, source: BinaryIO, start: int, length: int | None = None, *, stored: bool = False,
                 size: int | None = None, crc: int = 0) -> None:  # fmt: skip
        self._source, self._start, self._length = source, start, length
        self._stored, self._size, self._crc = stored, size, crc
        self._rewind()

    def _rewind(self) -> None:
        skip(self._source, self._start)
        self._at = self._sum = 0
        self._unread = 1 << 62 if self._length is None else self._length
        self._inflate: Any = _Copy() if self._stored else zlib.decompressobj(-zlib.MAX_WBITS)
        self._left = b""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        parts: list[bytes] = []
        wanted = size if size >= 0 else 1 << 62
        while wanted and (part := self._next(min(wanted, CHUNK))):
            parts.append(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _next(self, size: int) -> bytes:
        """At most `size` more bytes; empty at the end."""
        while not self._inflate.eof:
            if not self._left:
                self._left = self._source.read(min(self._unread, CHUNK)) if self._unread else b""
                self._unread -= len(self._left)
            last = not self._left
            part = self._inflate.decompress(self._left, size)
            self._left = self._inflate.unconsumed_tail
            if part:
                return self._counted(part)
            if last:
                break
        if self._size not in (None, self._at):
            raise DamageError("the archive ends before its member")
        return b""

    def _counted(self, part: bytes) -> bytes:
        self._at += len(part)
        if self._size is not None:
            self._sum = zlib.crc32(part, self._sum)
            if self._at > self._size or (self._at == self._size and self._sum != self._crc):
                raise DamageError("a member is not what the archive declares")
        return part

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        target = offset + (self._at if whence == os.SEEK_CUR else 0)
        if whence == os.SEEK_END or target < 0:
            raise DamageError("an inflated stream has no known end")
        if target < self._at:
            self._rewind()
        while self._at < target and self._next(min(target - self._at, CHUNK)):
            pass
        return self._at


class Sipped:
    """A stream for parsers that trust length fields: one that claims gigabytes takes no more memory than is there."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if 0 <= size <= CHUNK:
            return self._stream.read(size)
        parts: list[bytes] = []
        left = size if size >= 0 else 1 << 62
        while left and (part := self._stream.read(min(left, CHUNK))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


class _Copy:
    """What `zlib.decompressobj` is for deflated bytes, for bytes that are stored as they are."""

    eof = False
    unconsumed_tail = b""

    def decompress(self, content: bytes, size: int) -> bytes:
        self.unconsumed_tail = content[size:]
        return content[:size]


def skip(stream: BinaryIO, offset: int) -> None:
    """Moves a fresh stream forward to `offset`.

    Raises:
        DamageError: the file ends before.
    """
    if stream.seek(offset) != offset:
        raise DamageError("the file ends before its pixels")


def read_bytes(item: Item, offset: int, length: int) -> bytes:
    """`length` bytes of the file from `offset` on.

    Raises:
        DamageError: the file ends before.
    """
    with item.open() as stream:
        skip(stream, offset)
        return read_exactly(stream, length)


def read_exactly(stream: BinaryIO, length: int) -> bytes:
    """`length` bytes of the stream; as much memory as is really there, however long the header claims it to be.

    Raises:
        DamageError: the file ends before.
    """
    first = stream.read(min(length, 64 * CHUNK))
    if len(first) == length:
        return first
    parts, got = [first], len(first)
    while got < length:
        part = stream.read(min(length - got, 64 * CHUNK))
        if not part:
            raise DamageError("the file ends before its pixels do")
        parts.append(part)
        got += len(part)
    return b"".join(parts)


def files_below(folder: Path) -> Iterator[Path]:
    """All plain files of the tree that are not hidden, folder by folder in order of names.

    Raises:
        FileReadError: a folder of the tree cannot be opened.
    """
    seen: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        raise FileReadError(f"a folder in it cannot be read ({error.strerror})", where=folder.name,
                            do="Check its permissions.") from error  # fmt: skip

    for parent, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():
                yield path


def is_archive(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a zip, 7z or rar.

    >>> is_archive(b"PK\\x03\\x04..."), is_archive(b"DICM")
    (True, False)
    """
    return head.startswith(ARCHIVES)


def is_zip(path: Path) -> bool:
    """Whether the file begins as a zip does; the end of the file is not searched, because DICOM may hold anything."""
    try:
        with open(path, "rb") as stream:
            return stream.read(4) in ARCHIVES[:2]
    except OSError:
        return False
