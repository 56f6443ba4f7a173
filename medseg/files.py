"""Files that are either whole or not there: atomic writes and guarded output folders."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.errors import OutputExistsError, UsageError, WriteError

SIGNATURE = "made by medseg: "
LEFTOVER = re.compile(r"\..+-[0-9a-f]{8}(\..+)?")  # the names that `atomic_path` gives
SAFETENSORS_LEFTOVER = re.compile(r"\.tmp[A-Za-z0-9]{6}")  # safetensors writes to a name of its own first
MARKER = ".medseg"  # a folder that holds this file was made by medseg and may be replaced by it


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is flushed to disk and takes the name `path` in one step.

    The temporary name keeps the suffixes, because libraries choose a format by them. When the block or the disk
    fails, the temporary file is removed and a file already at `path` stays as it was.

    Raises:
        WriteError: the operating system refused (disk full, no permission).
    """
    path = Path(path)
    stem, dot, suffix = path.name.partition(".")
    temporary = path.with_name(f".{stem}-{uuid.uuid4().hex[:8]}{dot}{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WriteError(
            f"could not write: {error.strerror or error}",
            where=path.name,
            do="Free some space or choose another --out; what stood there before is unchanged.",
        ) from error
    finally:
        with suppress(OSError):  # where no file can be made there is none to remove
            temporary.unlink()


def remove_leftovers(folder: str | Path, *, age_s: float = 0.0) -> int:
    """Removes the temporary files of writes that were killed, in the folder and below; returns how many there were.

    Only for a folder that nobody else is writing to, or of an age at which none of them can still be wanted.

    Args:
        age_s: seconds since they were last written to, at least.
    """
    patterns = (LEFTOVER, SAFETENSORS_LEFTOVER)
    found = [p for p in Path(folder).rglob(".*") if any(each.fullmatch(p.name) for each in patterns) and p.is_file()]
    if age_s:
        found = [path for path in found if time.time() - path.stat().st_mtime >= age_s]
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


def write_text(path: str | Path, text: str, *, private: bool = False) -> None:
    """Writes UTF-8 text atomically; `private` so that only its owner may read the file."""
    with atomic_path(path) as temporary:
        temporary.touch(mode=0o600 if private else 0o666)
        temporary.write_text(text, encoding="utf-8")


def open_output_folder(folder: str | Path, *, kind: str = "result", overwrite: bool = False) -> Path:
    """Creates an empty folder for a result and returns it.

    An existing folder is accepted when it is empty but for medseg's marker. One that holds files is refused, unless
    `overwrite` is given and medseg itself made it for the same kind of result: then its content is removed. A folder
    of the user's own is never emptied, and a data set is never replaced by a run.

    Args:
        kind: what the folder is for, as a phrase such as "run"; written into the marker.

    Raises:
        OutputExistsError: the folder holds something.
        UsageError: `folder` is a file.
        WriteError: the folder cannot be made.
    """
    folder = check_output_folder(folder, kind=kind, overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _empty(folder)
        (folder / MARKER).write_text(f"{SIGNATURE}{kind}\n", encoding="utf-8")
    except OSError as error:
        raise WriteError(f"could not make or empty the folder: {error.strerror}", where=folder.name) from error
    return folder


def open_growing_folder(folder: str | Path, *, kind: str) -> Path:
    """A folder to which results are added one by one: new, empty, or one that medseg made for the same kind before.

    Raises:
        OutputExistsError: it holds something else.
        UsageError, WriteError: as `open_output_folder`.
    """
    folder = Path(folder)
    marker = folder / MARKER
    if marker.is_file() and marker.read_text(encoding="utf-8").strip() == f"{SIGNATURE}{kind}":
        return folder
    return open_output_folder(folder, kind=kind)


@contextmanager
def replaced_folder(folder: str | Path, *, kind: str, overwrite: bool = False) -> Iterator[Path]:
    """Yields a folder to fill; an old result that it replaces goes only when the block has ended well.

    A new or empty `folder` is filled in place, so that work done before a failure is not lost.

    Raises:
        OutputExistsError, UsageError, WriteError: as `open_output_folder`.
    """
    folder = check_output_folder(folder, kind=kind, overwrite=overwrite)
    if not folder.is_dir() or all(entry.name == MARKER for entry in folder.iterdir()):
        yield open_output_folder(folder, kind=kind)
        return
    staging = open_output_folder(folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}"), kind=kind)
    try:
        yield staging
        open_output_folder(folder, kind=kind, overwrite=True)
        for entry in staging.iterdir():
            os.replace(entry, folder / entry.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def check_output_folder(folder: str | Path, *, kind: str = "result", overwrite: bool = False) -> Path:
    """Refuses what `open_output_folder` would refuse and changes nothing: for asking before long work.

    Raises:
        OutputExistsError, UsageError: as `open_output_folder`.
    """
    folder = Path(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError("the output is a file", where=folder.name, expected="a folder", do="Choose another --out.")
    if folder.is_dir() and any(entry.name != MARKER for entry in folder.iterdir()):
        if not overwrite:
            raise OutputExistsError(
                "the output folder is not empty",
                where=folder.name,
                do="Choose another --out, or pass --overwrite to replace it.",
            )
        if not (folder / MARKER).exists():
            raise OutputExistsError(
                "the folder was not made by medseg, so --overwrite will not empty it",
                where=folder.name,
                do="Choose another --out, or empty it yourself.",
            )
        made_for = (folder / MARKER).read_text(encoding="utf-8").strip().removeprefix(SIGNATURE)
        if made_for != kind:
            raise OutputExistsError("the folder holds another kind of result, so --overwrite will not empty it",
                                    where=folder.name, expected=f"a {kind} folder", got=f"a {made_for} folder",
                                    do="Choose another --out, or empty it yourself.")  # fmt: skip
    return folder


def _empty(folder: Path) -> None:
    """Removes everything but the marker, so that a removal cut short can be taken up again."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MARKER:
            entry.unlink()
