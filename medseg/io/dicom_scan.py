"""What lies at a path: every file's header read once, by threads, and sorted into series."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from medseg.errors import DicomError, FileReadError
from medseg.io.dicom_damage import BROKEN, reading
from medseg.io.dicom_directory import is_directory, named_files
from medseg.io.dicom_elements import is_dicom, read_elements
from medseg.io.dicom_enhanced import images_of, is_enhanced
from medseg.io.dicom_headers import Header, Image, image_of, kind_of
from medseg.io.dicom_series import Scan, build_scan
from medseg.io.dicom_sources import HEAD, FileItem, Item, files_below, is_archive, is_zip
from medseg.io.dicom_zip import members

Progress = Callable[[str, int, int], None]  # what is being read, how many are done, of how many
CHUNK = 16  # files that a thread reads at a time
PREAMBLE = 128  # bytes before the magic number, most often zeros
THREADS = 4  # headers are parsed one at a time; the threads wait for slow disks together


def silent(what: str, done: int, of: int) -> None:
    """The progress that tells nothing."""


def scan(path: str | Path, *, where: str = "", progress: Progress = silent) -> Scan:
    """The series in a folder tree, a zip, a DICOMDIR or one file, by headers alone.

    Raises:
        FileReadError: nothing there, or a zip that is damaged, encrypted or a bomb.
        DicomError: a header that cannot be read, or a DICOMDIR whose files are not there.
    """
    path = Path(path)
    where = ", ".join(part for part in (where, path.name) if part)
    items = list(_items(path, where))
    images: list[Image] = []
    passed_over: Counter[tuple[str, str]] = Counter()
    blank: set[str] = set()
    chunks = [range(start, min(start + CHUNK, len(items))) for start in range(0, len(items), CHUNK)]
    with ThreadPoolExecutor(THREADS) as pool:
        done = 0
        for found in _in_turn(pool, lambda chunk: _read_chunk(items, chunk, where), chunks):
            images += found.images
            passed_over.update(found.kinds)
            blank |= found.blank
            done += min(CHUNK, len(items) - done)
            progress("headers", done, len(items))
    if blank & {image.facts.folder for image in images}:
        raise DicomError("an empty file, or one that begins with nothing but zeros, lies among the slices", where=where,
                         expected="whole DICOM files", do="Copy the series again, or remove that file.")  # fmt: skip
    return build_scan(images, passed_over)


def readable_uids(path: str | Path) -> set[str]:
    """The SeriesInstanceUIDs in a folder that `scan` refuses, of all files whose headers can be read."""
    found: set[str] = set()
    for item in _items(Path(path), Path(path).name):
        with suppress(DicomError), reading("", "a header"):
            if (elements := read_elements(item)) is not None:
                found.add(Header(elements).text("SeriesInstanceUID"))
    return found


def holds_dicom(path: str | Path) -> bool:
    """Whether a folder tree, zip, DICOMDIR or file holds at least one DICOM file; False where nothing is."""
    path = Path(path)
    try:
        return any(is_dicom(_head(item)) for item in _items(path, path.name))
    except FileReadError:
        return is_zip(path)  # a zip that is refused is refused by the reader of DICOM
    except BROKEN:
        return False


def _items(path: Path, where: str) -> Iterator[Item]:
    if path.is_dir():
        return (FileItem(file) for file in files_below(path))
    if not path.is_file():
        kind = "not a file or folder" if path.exists() else "no such folder"
        raise FileReadError(kind, where=where, expected="DICOM: a folder, zip, DICOMDIR or file", do="Check the path.")
    if is_zip(path):
        return iter(members(path))
    if is_directory(path):
        return iter(named_files(path))
    return iter([FileItem(path)])


@dataclass
class _Found:
    """Images of some files, kind and series UID of the others, and the folders of files whose copy was cut off."""

    images: list[Image] = field(default_factory=list)
    kinds: list[tuple[str, str]] = field(default_factory=list)
    blank: set[str] = field(default_factory=set)


def _in_turn(pool: ThreadPoolExecutor, work: Callable[[range], _Found], chunks: Sequence[range]) -> Iterator[_Found]:
    try:
        yield from pool.map(work, chunks)
    finally:
        pool.shutdown(cancel_futures=True)


def _read_chunk(items: Sequence[Item], chunk: Iterable[int], where: str) -> _Found:
    found = _Found()
    for index in chunk:
        place = where if len(items) == 1 else f"{where}, file {index + 1} of {len(items)}"
        with reading(place, "a header"):
            _read_item(items[index], place, found)
    return found


def _read_item(item: Item, place: str, found: _Found) -> None:
    elements, folder = read_elements(item), _folder(item)
    if elements is None:
        head = _head(item)
        found.kinds.append(("unopened archive" if is_archive(head) else "not DICOM", ""))
        if not head[:PREAMBLE].strip(b"\0"):
            found.blank.add(folder)
        return
    header = Header(elements)
    if kind := kind_of(header):
        found.kinds.append((kind, header.text("SeriesInstanceUID")))
    else:
        found.images += images_of(header, folder, place) if is_enhanced(header) else [image_of(header, folder)]


def _head(item: Item) -> bytes:
    with item.open() as stream:
        return stream.read(HEAD)


def _folder(item: Item) -> str:
    return str(item.path.parent) if isinstance(item, FileItem) else ""
