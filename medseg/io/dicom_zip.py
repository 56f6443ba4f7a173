"""The members of a zip as files, read from the archive and bounded before and while they are inflated."""

from __future__ import annotations

import re
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from medseg.errors import FileReadError
from medseg.io.dicom_damage import DamageError
from medseg.io.dicom_sources import MAX_RATIO, SMALL_BYTES, InflatingStream

MAX_MEMBERS = 1_000_000
MAX_MEMBER_BYTES = 8 << 30  # an Enhanced CT of 10,000 slices of 512 x 512 takes 5 GB
SMALL_TOTAL_BYTES = 1 << 30
LOCAL = struct.Struct("<4s5H3L2H")  # local file header: the last two are the lengths of name and extra field
DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class MemberItem:
    """A member of a zip; no more bytes are inflated than it declares, and its checksum is checked.

    Args:
        start: its local header in the archive.
        packed: bytes in the archive, `size` when inflated.
        stored: whether it is not deflated.
        crc: CRC-32 of its content.
    """

    path: Path
    start: int
    packed: int
    size: int
    stored: bool
    crc: int

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        with open(self.path, "rb", buffering=0) as source:
            source.seek(self.start)
            header = source.read(LOCAL.size)
            if len(header) < LOCAL.size or header[:4] != b"PK\x03\x04":
                raise DamageError("there is no member where the archive's directory says")
            *_, name, extra = LOCAL.unpack(header)
            start = self.start + LOCAL.size + name + extra
            yield cast(BinaryIO, InflatingStream(cast(BinaryIO, source), start, self.packed, stored=self.stored,
                                                 size=self.size, crc=self.crc))  # fmt: skip

    def most_bytes(self) -> int:
        return self.size

    def stamp(self) -> str:
        return f"{self.size} {self.crc}"


def members(path: Path) -> list[MemberItem]:
    """The plain, visible files in a zip, in the order of the archive.

    Raises:
        FileReadError: not a readable zip; encrypted, climbing or absolute names, or sizes of a decompression bomb.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise FileReadError("the zip is damaged", where=path.name, expected="an archive with a directory",
                            got=type(error).__name__, do="Download or export it again.") from error  # fmt: skip
    _check_sizes(infos, path)
    for info in infos:
        _check_member(info, path.name)
    return [_item(path, info) for info in infos if not info.is_dir() and _visible(info)]


def _item(path: Path, info: zipfile.ZipInfo) -> MemberItem:
    stored = info.compress_type == zipfile.ZIP_STORED
    return MemberItem(path, info.header_offset, info.compress_size, info.file_size, stored, info.CRC)


def _check_sizes(infos: list[zipfile.ZipInfo], path: Path) -> None:
    size, total = path.stat().st_size, sum(info.file_size for info in infos)
    places = sorted((info.header_offset, info.compress_size) for info in infos)
    crowded = any(at + length > after for (at, length), (after, _) in pairwise(places))
    reason = ""
    if len(infos) > MAX_MEMBERS:
        reason = f"{len(infos)} members"
    elif crowded:
        reason = "members that share their bytes"
    elif total > max(SMALL_TOTAL_BYTES, MAX_RATIO * size):
        reason = f"{total / size:.0f} times the size of the archive"
    if reason:
        raise FileReadError("the zip is no study but a decompression bomb", where=path.name, got=reason,
                            expected=f"at most {MAX_RATIO} times its size",
                            do="Unpack it yourself if you trust it.")  # fmt: skip


def _check_member(info: zipfile.ZipInfo, where: str) -> None:
    name = PurePosixPath(info.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or DRIVE.match(info.filename):
        raise FileReadError("a member of the zip has a name that leads out of the archive", where=where,
                            expected="relative names", do="Pack it again; nothing was read.")  # fmt: skip
    if info.flag_bits & 0x1:
        raise FileReadError("the zip is encrypted", where=where, do="Unpack it with its password first.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FileReadError("a member of the zip is packed in an uncommon way", where=where,
                            expected="deflated or stored", got=f"method {info.compress_type}",
                            do="Unpack it, or pack it again.")  # fmt: skip
    if info.file_size > MAX_MEMBER_BYTES or (
        info.file_size > SMALL_BYTES and info.file_size > MAX_RATIO * max(info.compress_size, 1)
    ):
        raise FileReadError("a member of the zip is a decompression bomb", where=where,
                            expected=f"at most {MAX_RATIO} times its size in the archive",
                            got=f"{info.file_size / (1 << 20):.0f} MiB of {info.compress_size / (1 << 20):.3g} MiB",
                            do="Unpack it yourself if you trust it.")  # fmt: skip


def _visible(info: zipfile.ZipInfo) -> bool:
    parts = PurePosixPath(info.filename.replace("\\", "/")).parts
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return not hidden and not stat.S_ISLNK(info.external_attr >> 16)
