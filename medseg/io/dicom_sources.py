"""Where the files of a study lie: a folder tree, the members of a zip, the files that a DICOMDIR names, or one file.

Nothing is unpacked to disk. Hidden files and folders are passed over, links are followed but no folder is
visited twice.
"""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from medseg.errors import FileReadError

ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"BZh", b"\xfd7zXZ")
READ_ERRORS = (OSError, EOFError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError)
HEAD = 144  # bytes that tell DICOM and archives from other files
SKIP = 1 << 20


class Item(Protocol):
    """One file; `open` gives a stream from its first byte that can skip forward."""

    def open(self) -> AbstractContextManager[BinaryIO]: ...


@dataclass(frozen=True, slots=True)
class FileItem:
    """A file on disk."""

    path: Path

    def open(self) -> BinaryIO:
        return open(self.path, "rb", buffering=0)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Inflated:
    """The data set of a deflated DICOM file (PS3.5 A.5): everything from byte `start` on, inflated as it is read."""

    item: Item
    start: int

    def open(self) -> BinaryIO:
        with self.item.open() as stream:
            skip(stream, self.start)
            return cast(BinaryIO, _InflatingStream(stream.read()))


class _InflatingStream(RawIOBase):
    """Inflates no more than is read, so that a few bytes that would become gigabytes cost nothing."""

    def __init__(self, deflated: bytes) -> None:
        self._deflated, self._at = deflated, 0
        self._rewind()

    def _rewind(self) -> None:
        self._inflate, self._left, self._at = zlib.decompressobj(-zlib.MAX_WBITS), self._deflated, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        parts: list[bytes] = []
        wanted = size if size >= 0 else 1 << 62
        while wanted and not self._inflate.eof:
            part = self._inflate.decompress(self._left, min(wanted, SKIP))
            self._left = self._inflate.unconsumed_tail
            if not part and not self._left:
                break
            parts.append(part)
            wanted -= len(part)
        out = b"".join(parts)
        self._at += len(out)
        return out

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        target = offset + (self._at if whence == os.SEEK_CUR else 0)
        if whence == os.SEEK_END or target < 0:
            raise ValueError("an inflated stream has no known end")
        if target < self._at:
            self._rewind()
        while self._at < target and self.read(min(target - self._at, SKIP)):
            pass
        return self._at


def skip(stream: BinaryIO, offset: int) -> None:
    """Moves a fresh stream forward to `offset`.

    Raises:
        EOFError: the file ends before.
    """
    if stream.seek(offset) != offset:
        raise EOFError("the file ends before its pixels")


def read_bytes(item: Item, offset: int, length: int) -> bytes:
    """`length` bytes of the file from `offset` on.

    Raises:
        EOFError: the file ends before.
    """
    with item.open() as stream:
        skip(stream, offset)
        return read_exactly(stream, length)


def read_exactly(stream: BinaryIO, length: int) -> bytes:
    """`length` bytes of the stream; as much memory as is really there, however long the header claims it to be.

    Raises:
        EOFError: the file ends before.
    """
    first = stream.read(min(length, 64 * SKIP))
    if len(first) == length:
        return first
    parts, got = [first], len(first)
    while got < length:
        part = stream.read(min(length - got, 64 * SKIP))
        if not part:
            raise EOFError("the file ends before its pixels do")
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
    """Whether a file that begins with these bytes is a zip, gzip, 7z, rar, bzip2 or xz.

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
