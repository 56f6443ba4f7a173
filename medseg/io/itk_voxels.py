"""The voxels behind an ITK header: exactly as many as it declares, never more, never fewer.

Memory is taken only after the file was seen to be able to hold the voxels: raw data by their length, packed data by
the most that the method can gain.
"""

from __future__ import annotations

import bz2
import zlib
from io import BytesIO
from typing import Any

import numpy as np
from isal import igzip, igzip_lib, isal_zlib

from medseg.errors import FileReadError
from medseg.io.itk_header import Stored

LARGEST_GAIN = {"gzip": 1032, "zlib": 1032, "bzip2": 10_000_000}  # unpacked bytes per stored byte
GZIP = b"\x1f\x8b"
SHORTEST_NUMBER = 2  # bytes of a number in text, the space behind it included
UNPACKING: Any = igzip_lib.IsalError  # its stub calls the class an instance
BROKEN = (OSError, EOFError, ValueError, OverflowError, MemoryError, zlib.error, UNPACKING)


def read_voxels(stored: Stored, where: str) -> Any:
    """The array, axes as stored, the fastest first.

    Raises:
        FileReadError: truncated, longer than declared, or damaged.
    """
    try:
        content = _content(stored)
        count = int(np.prod(np.array(stored.sizes, dtype=object)))
        needed = count * stored.kind.itemsize
        if stored.encoding == "text":
            flat = _text(content, count, stored.kind)
        else:
            flat = np.frombuffer(_unpacked(content, needed, stored, where), dtype=stored.kind)
    except BROKEN as error:
        raise FileReadError(f"the voxels cannot be read ({type(error).__name__})", where=where,
                            do="The file is damaged or truncated: copy or export it again.") from error  # fmt: skip
    return flat.reshape(stored.sizes, order="F")


def _content(stored: Stored) -> bytes:
    """The stored bytes: from where they begin, without the lines to skip."""
    path, start = stored.data
    with open(path, "rb") as stream:
        stream.seek(start)
        content = stream.read(-1 if stored.length is None else max(stored.length, 0))
    at = 0
    for _ in range(stored.lines):
        if (at := content.find(b"\n", at) + 1) == 0:
            raise EOFError("fewer lines than are to be skipped")
    return content[at:] if at else content


def _unpacked(content: bytes, needed: int, stored: Stored, where: str) -> Any:
    if stored.encoding == "raw":
        body = memoryview(content)[-needed:] if stored.skip == -1 else memoryview(content)[stored.skip :]
    else:
        total = needed + stored.skip
        if total > LARGEST_GAIN[stored.encoding] * (len(content) + 1):
            raise _wrong_length(f"at most {LARGEST_GAIN[stored.encoding] * len(content)}", needed, where)
        unpack = _bunzip if stored.encoding == "bzip2" else _inflate
        body = memoryview(unpack(content, total))[stored.skip :]
    if len(body) != needed:
        raise _wrong_length(str(len(body)), needed, where)
    return body


def _wrong_length(got: str, needed: int, where: str) -> FileReadError:
    return FileReadError("the file does not hold the voxels that its header declares", where=where,
                         expected=f"{needed} bytes of voxels", got=f"{got} bytes",
                         do="It is truncated, or its header is damaged: copy or export it again.")  # fmt: skip


def _inflate(content: bytes, total: int) -> bytes:
    """Gzip members or one zlib stream, whose checksums are compared; at most one byte more than `total`."""
    if content[:2] == GZIP:
        return igzip.GzipFile(fileobj=BytesIO(content)).read(total + 1)
    stream = isal_zlib.decompressobj()
    out = stream.decompress(content, total + 1)
    if not stream.eof and len(out) <= total:
        raise EOFError("the packed data end early")
    return out


def _bunzip(content: bytes, total: int) -> bytes:
    stream = bz2.BZ2Decompressor()
    out = stream.decompress(content, total + 1)
    while not stream.eof and len(out) <= total and not stream.needs_input:
        out += stream.decompress(b"", total + 1 - len(out))
    if not stream.eof and len(out) <= total:
        raise EOFError("the packed data end early")
    return out


def _text(content: bytes, count: int, kind: Any) -> Any:
    if count * SHORTEST_NUMBER > len(content) + 1:
        raise EOFError("fewer numbers than declared")
    words = content.replace(b",", b" ").split()
    if len(words) != count:
        raise ValueError("not as many numbers as declared")
    if kind.kind == "f":
        return np.array([float(word) for word in words], dtype=kind)
    numbers = [int(word) for word in words]
    limits = np.iinfo(kind)
    if min(numbers) < limits.min or max(numbers) > limits.max:
        raise OverflowError("a number does not fit the type")
    return np.array(numbers, dtype=kind)
