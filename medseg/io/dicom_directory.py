"""The files that a DICOMDIR names (PS3.10 chapter 8, PS3.3 annex F)."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import DicomError
from medseg.io.dicom_damage import reading
from medseg.io.dicom_elements import open_with_pydicom
from medseg.io.dicom_headers import DIRECTORY
from medseg.io.dicom_quiet import quiet_pydicom
from medseg.io.dicom_sources import FileItem

DIRECTORY_RECORDS, FILE_ID = 0x00041220, 0x00041500


def is_directory(path: Path) -> bool:
    """Whether the file is a DICOMDIR, by its meta header.

    >>> is_directory(Path("no such file"))
    False
    """
    try:
        with open(path, "rb") as stream:
            return DIRECTORY.encode() in stream.read(512)[132:]
    except OSError:
        return False


def named_files(path: Path) -> list[FileItem]:
    """The files that the records of a DICOMDIR name, resolved below its folder only.

    Names are found whatever their case, because media are written in capitals and copied in small letters.

    Raises:
        DicomError: a damaged DICOMDIR, a name that leads out of its folder, or files that are not there.
    """
    where = path.name
    with reading(where, "the DICOMDIR"), quiet_pydicom(), FileItem(path).open() as stream:
        dataset = open_with_pydicom(stream, [DIRECTORY_RECORDS])
        ids = [_parts(record[FILE_ID].value) for record in dataset[DIRECTORY_RECORDS].value
               if FILE_ID in record and record[FILE_ID].value]  # fmt: skip
    if any(part in ("", ".", "..") or set(part) & set("/\\:\0") for parts in ids for part in parts):
        raise DicomError("the DICOMDIR names a file outside its folder", where=where, expected="names below it",
                         do="Read the folder itself instead; nothing was read.")  # fmt: skip
    listings: dict[Path, dict[str, str]] = {}
    found = [_resolve(path.parent, parts, listings) for parts in dict.fromkeys(ids)]
    if missing := sum(file is None for file in found):
        raise DicomError(f"the DICOMDIR names {missing} files that are not there", where=where,
                         got=f"{len(found) - missing} of {len(found)} files",
                         do="Copy the whole medium, or read its folder instead of the DICOMDIR.")  # fmt: skip
    return [FileItem(file) for file in found if file]


def _parts(value: object) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(part) for part in value)  # type: ignore[attr-defined]


def _resolve(folder: Path, parts: tuple[str, ...], listings: dict[Path, dict[str, str]]) -> Path | None:
    here = folder
    for part in parts:
        if here not in listings:
            listings[here] = {entry.name.lower(): entry.name for entry in here.iterdir()} if here.is_dir() else {}
        name = part if (here / part).exists() else listings[here].get(part.lower())
        if name is None:
            return None
        here = here / name
    inside = here.resolve().is_relative_to(folder.resolve())  # a link may lead out
    return here if here.is_file() and inside else None
