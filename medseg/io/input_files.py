"""Which files an image is read from, and whether they are still the same: by size and time, or by their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from medseg.errors import FileReadError
from medseg.io.dicom import choose_series
from medseg.io.dicom_damage import reading
from medseg.io.dicom_series import Series
from medseg.io.dicom_sources import CHUNK, FileItem, Inflated, Item
from medseg.io.itk_images import data_file


def single_file(path: str | Path, *, where: str = "") -> tuple[Item, ...]:
    """The file itself."""
    return (FileItem(Path(path)),)


def itk_files(path: str | Path, *, where: str = "") -> tuple[Item, ...]:
    """The header, and the data file where it names one.

    Raises:
        FileReadError, GeometryError: as `itk_images.read_geometry`.
    """
    return tuple(FileItem(file) for file in dict.fromkeys((Path(path), data_file(path, where=where))))


def series_files(path: str | Path, *, where: str = "", series: str | None = None) -> tuple[Item, ...]:
    """The files of the only CT series at the path, or of the one that is named.

    Raises:
        FileReadError, DicomError: as `choose_series`.
    """
    return files_of(choose_series(path, series=series, where=where))


def files_of(series: Series) -> tuple[Item, ...]:
    """The files of a series, bottom up; of several frames each file once."""
    items = (image.item for image in series.images)
    return tuple(dict.fromkeys(item.item if isinstance(item, Inflated) else item for item in items))


def folder_of(series: Sequence[Series], path: str | Path) -> Path:
    """The deepest folder below `path` that holds all files of these series; `path` itself if they lie in an archive.

    Whoever reads one series of an archive of thousands then looks through its own folder only.

    Args:
        series: all stacks of one UID, so that they bear the same ids there; such without a UID stay where they are.
    """
    path = Path(path)
    items = [item for one in series for item in files_of(one)]
    if not path.is_dir() or not all(one.uid for one in series):
        return path
    return Path(os.path.commonpath([item.path.parent for item in items if isinstance(item, FileItem)]))


def stamp(items: Sequence[Item], *, where: str = "") -> str:
    """SHA-256 of sizes and times of change, or of checksums in an archive: the same stamp, the same files.

    Another stamp says little: a copy has another time. Then compare `digest`.

    Raises:
        FileReadError: a file is not there.
    """
    with _opening(where):
        return hashlib.sha256("\n".join(item.stamp() for item in items).encode()).hexdigest()


def digest(items: Sequence[Item], *, where: str = "") -> str:
    """SHA-256 of what the files hold, one after the other, whatever their names; reads them once.

    Raises:
        FileReadError, DicomError: a file cannot be read.
    """
    hashes = hashlib.sha256()
    for item in items:
        with reading(where, "a file"), _opening(where), item.open() as stream:
            one = hashlib.sha256()
            while block := stream.read(CHUNK):
                one.update(block)
        hashes.update(one.digest())
    return hashes.hexdigest()


@contextmanager
def _opening(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FileReadError(f"a file cannot be read ({error.strerror})", where=where, do="Check the path.") from None
