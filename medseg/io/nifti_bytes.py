"""The bytes of a NIfTI file: gzip unpacked piece by piece with its checksum, plain files mapped into memory.

Nobody ever holds more than the array that is asked for and a few pieces. While one thread unpacks, another turns the
piece before, still in the processor's cache, into the wanted numbers at their final place.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
from isal import igzip_lib

from medseg.errors import FileReadError

GZIP_MAGIC = b"\x1f\x8b"
PIECE = PACKED_PIECE = 1 << 19  # fits into the second-level cache together with its float32 twin
AHEAD = 4  # pieces unpacked before they are asked for, so that neither thread waits for the other
DEFLATE_MOST = 1032  # no deflate stream unpacks to more than this times its size (RFC 1951: 258 bytes from 2 bits)
BOMB_BYTES, BOMB_RATIO = 1 << 31, 200  # what unpacks to more than 2 GB and 200 times its size is no scan
THREADS = max(1, min(4, os.cpu_count() or 1))
Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class Stored:
    """How numbers stand in a file: where they begin, their type with its byte order, how many, and the scaling."""

    offset: int
    kind: np.dtype[Any]
    count: int
    scaling: tuple[float, float] | None = None  # slope and intercept

    @property
    def end(self) -> int:
        """Bytes from the beginning of the file to the end of the numbers."""
        return self.offset + self.count * self.kind.itemsize


class Content(Protocol):
    """The unpacked content of an open file."""

    def head(self, count: int) -> bytes:
        """The first bytes, fewer where the file ends."""
        ...

    def check_size(self, needed: int, where: str) -> None:
        """Raises FileReadError when that many bytes cannot be in the file, before anything is made for them."""
        ...

    def fill(self, out: Numbers, stored: Stored, where: str) -> None:
        """Writes the numbers, scaled, into the flat array `out`; the file must end with them."""
        ...


@contextmanager
def open_content(path: Path) -> Iterator[Content]:
    """The content of a file, gzip told by its magic number, not by its name.

    Raises:
        OSError, ValueError, EOFError, igzip_lib.IsalError: on opening and later, as the file is damaged.
    """
    with open(path, "rb") as raw:
        if raw.read(2) == GZIP_MAGIC:
            raw.seek(0)
            yield _Packed(raw)
        elif os.fstat(raw.fileno()).st_size == 0:
            yield _Mapped(b"")
        else:
            with mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                yield _Mapped(mapped)


class _Packed:
    """A gzip stream of one or more members, each compared with its checksum and its length."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._size = raw, os.fstat(raw.fileno()).st_size
        self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        self._held = b""  # unpacked and not yet taken

    def head(self, count: int) -> bytes:
        while len(self._held) < count and (piece := self._unpack(count - len(self._held))):
            self._held += piece
        return self._held[:count]

    def check_size(self, needed: int, where: str) -> None:
        if needed > DEFLATE_MOST * self._size:
            raise _truncated(where, needed, f"a gzip file of {self._size}, which cannot hold them")
        if needed > BOMB_BYTES and needed > BOMB_RATIO * self._size:
            raise FileReadError(
                "the file unpacks to far more than an image does",
                where=where,
                expected=f"at most {BOMB_RATIO} times its size",
                got=f"{needed / 1e9:.1f} GB from {self._size / 1e6:.1f} MB",
                do="Unpack it yourself if you trust it, and give the .nii file.",
            )

    def fill(self, out: Numbers, stored: Stored, where: str) -> None:
        self._skip(stored.offset, where)
        size, done = stored.kind.itemsize, 0
        with ThreadPoolExecutor(1) as pool:
            ahead = deque(pool.submit(self._next, PIECE) for _ in range(AHEAD))
            rest = b""
            while done < stored.count:
                piece = ahead.popleft().result()
                if not piece:
                    raise _truncated(where, stored.end, stored.offset + done * size + len(rest))
                ahead.append(pool.submit(self._next, PIECE))
                piece = rest + piece if rest else piece
                whole = min(len(piece) // size, stored.count - done)
                _convert(np.frombuffer(piece, stored.kind, whole), out[done : done + whole], stored.scaling)
                done, rest = done + whole, piece[whole * size :]
            if rest or any(piece.result() for piece in ahead):  # the last piece also compares the checksum
                raise _surplus(where, stored.end)

    def _skip(self, count: int, where: str) -> None:
        """Passes over the header and its extensions."""
        left = count
        while left:
            if not (piece := self._next(min(left, PIECE))):
                raise _truncated(where, count, count - left)
            left -= len(piece)

    def _next(self, most: int) -> bytes:
        """The next unpacked bytes, at most so many; nothing at the end."""
        if self._held:
            piece, self._held = self._held[:most], self._held[most:]
            return piece
        return self._unpack(most)

    def _unpack(self, most: int) -> bytes:
        while True:
            if self._member.eof and not self._next_member():
                return b""
            packed = self._raw.read(PACKED_PIECE) if self._member.needs_input else b""
            if self._member.needs_input and not packed:
                raise EOFError
            if piece := self._member.decompress(packed, most):
                return piece

    def _next_member(self) -> bool:
        """Goes on to a further gzip member; zeros may stand between and after members (RFC 1952, gzip's padding)."""
        left = self._member.unused_data
        while not (left := left.lstrip(b"\0")):
            if not (left := self._raw.read(PACKED_PIECE)):
                return False
        left += self._raw.read(2 - len(left)) if len(left) < 2 else b""
        if not left.startswith(GZIP_MAGIC):
            raise ValueError("bytes after the gzip stream")
        self._raw.seek(-len(left), os.SEEK_CUR)
        self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        return True


class _Mapped:
    """A plain file in mapped memory."""

    def __init__(self, content: mmap.mmap | bytes) -> None:
        self._content = content

    def head(self, count: int) -> bytes:
        return self._content[:count]

    def check_size(self, needed: int, where: str) -> None:
        if len(self._content) < needed:
            raise _truncated(where, needed, len(self._content))
        if len(self._content) > needed:
            raise _surplus(where, needed, len(self._content))

    def fill(self, out: Numbers, stored: Stored, where: str) -> None:
        step = max(1, PIECE // stored.kind.itemsize)

        def convert(first: int) -> None:
            count = min(step, stored.count - first)
            begin = stored.offset + first * stored.kind.itemsize
            numbers = np.frombuffer(self._content, stored.kind, count, begin)
            _convert(numbers, out[first : first + count], stored.scaling)
            del numbers  # a mapped file cannot be closed while an array looks at it
            self._let_go(begin, count * stored.kind.itemsize)

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(convert, range(0, stored.count, step)))

    def _let_go(self, begin: int, size: int) -> None:
        """Pages that were read count as memory of this process until it says that it needs them no more."""
        if isinstance(self._content, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            first = begin - begin % mmap.PAGESIZE
            self._content.madvise(mmap.MADV_DONTNEED, first, size)


def _convert(numbers: Numbers, out: Numbers, scaling: tuple[float, float] | None) -> None:
    """Puts numbers into an array of another type; scaled ones are computed in float64, as nibabel does."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite, and infinite HU are refused
        if scaling is None:
            np.copyto(out, numbers, casting="unsafe")
        else:
            scaled = numbers.astype(np.float64)
            scaled *= scaling[0]
            scaled += scaling[1]
            np.copyto(out, scaled, casting="unsafe")


def _truncated(where: str, needed: int, got: int | str) -> FileReadError:
    return FileReadError("the file is truncated", where=where, expected=f"{needed} bytes of header and voxels",
                         got=str(got), do="Copy or export it again.")  # fmt: skip


def _surplus(where: str, needed: int, got: int | str = "more") -> FileReadError:
    return FileReadError("the file goes on after the voxels that its header announces", where=where,
                         expected=f"{needed} bytes of header and voxels", got=str(got),
                         do="Its header is damaged or something was appended: copy or export it again.")  # fmt: skip
