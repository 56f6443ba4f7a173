"""The members of a zip as files, read from the archive and bounded before and while they are inflated."""

from __future__ import annotations

import re
import stat
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast

from medseg.errors import FileReadError

MAX_MEMBERS = 1_000_000
MAX_MEMBER_BYTES = 8 << 30  # an Enhanced CT of 10,000 slices of 512 x 512 takes 5 GB
SMALL_BYTES = 64 << 20  # a member up to this size may be as empty, and deflate as well, as it likes
SMALL_TOTAL_BYTES = 1 << 30
MAX_RATIO = 200  # CT deflates to a half or a quarter, a series of nearly nothing but air to a fiftieth
DRIVE = re.compile(r"[A-Za-z]:")


class Archive:
    """A zip that opens itself when it is first read, also in another process that it was sent to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()  # ZipFile counts its open members without one

    def __reduce__(self) -> tuple[type[Archive], tuple[Path]]:
        return Archive, (self.path,)

    @cached_property
    def zip(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(self.path)

    def __del__(self) -> None:
        if "zip" in self.__dict__:
            self.zip.close()


@dataclass(frozen=True, slots=True)
class MemberItem:
    """A member of a zip; at most as many bytes as it declares are inflated, and its checksum is checked."""

    archive: Archive
    index: int  # in the archive's directory: names may occur twice

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        with self.archive.lock:
            member = self.archive.zip.open(self.archive.zip.infolist()[self.index])
        try:
            yield cast(BinaryIO, member)
        finally:
            with self.archive.lock:
                member.close()


def members(path: Path) -> list[MemberItem]:
    """The plain, visible files in a zip, in the order of the archive.

    Raises:
        FileReadError: not a readable zip; encrypted, climbing or absolute names, or sizes of a decompression bomb.
    """
    archive = Archive(path)
    try:
        infos = archive.zip.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise FileReadError("the zip is damaged", where=path.name, expected="an archive with a directory",
                            got=type(error).__name__, do="Download or export it again.") from error  # fmt: skip
    _check_sizes(infos, path)
    for info in infos:
        _check_member(info, path.name)
    return [MemberItem(archive, index) for index, info in enumerate(infos) if not info.is_dir() and _visible(info)]


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
