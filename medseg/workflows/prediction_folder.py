"""The folder of predictions, filled by one command or by several at the same time, on all machines that share it.

Whoever works in it holds its marker file by a shared lock of the operating system, which ends with the process. What
killed writes have left is removed only by a command that gets the lock for itself alone, because then nobody writes.
A study's record is read and written anew under a lock of its own. All else is written whole or not at all, so two
commands with the same study at worst write the same file twice.

Where the file system keeps no locks (some network mounts, and Windows here) leftovers are removed when they are a day
old, and that is said.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.errors import WriteError
from medseg.files import MARKER, SIGNATURE, check_output_folder, open_growing_folder, remove_leftovers
from medseg.workflows.run_lock import BUSY, HELD, NO_LOCKS, PAUSE_S
from medseg.workflows.telling import Say

if sys.platform != "win32":
    import fcntl

OLD_S = 86400.0  # no single file takes a day to write


@contextmanager
def shared_folder(folder: Path, *, kind: str, say: Say = lambda text: None) -> Iterator[None]:
    """Opens a folder to which several commands may add results; leaves it without leftovers when it is the last.

    Args:
        kind: of output, as `medseg.files` marks it.
        say: told in a sentence where the file system keeps no locks.

    Raises:
        OutputExistsError, UsageError, WriteError: as `open_growing_folder`.
    """
    if not (folder / MARKER).is_file():
        check_output_folder(folder, kind=kind)  # or a folder of the user's own would get a marker
    with _opened(folder / MARKER) as handle:
        locks = _enter(handle, folder, kind)
        if not locks:
            say(f"The file system of {folder.name} keeps no locks: leftovers of killed commands stay there for a day.")
        try:
            yield
        finally:
            if locks and _take(handle, shared=False, wait=False):
                remove_leftovers(folder)


@contextmanager
def held_record(path: Path) -> Iterator[None]:
    """Keeps all others, threads and machines alike, from a record while the block reads and replaces it.

    Raises:
        WriteError: the folder cannot be written to.
    """
    lock = path.with_name(f".{path.stem}-00000000.lock")  # removed as a leftover where its holder was killed
    while True:
        with _opened(lock) as handle:
            _take(handle, shared=False, wait=True)
            if not _is_at(handle, lock):
                continue  # let go of while it was waited for
            try:
                yield
            finally:
                with suppress(OSError):
                    lock.unlink()  # while it is held, so that nobody takes a file that is gone for it
            return


def _enter(handle: int, folder: Path, kind: str) -> bool:
    """Opens the folder and holds it with others; cleans it first if nobody else is there. False without locks."""
    while True:
        alone = _take(handle, shared=False, wait=False)
        if alone is not False:
            open_growing_folder(folder, kind=kind)
            remove_leftovers(folder, age_s=0.0 if alone else OLD_S)
            return alone is not None and _take(handle, shared=True, wait=True) is not None
        _take(handle, shared=True, wait=True)  # until whoever opens or cleans it is done
        if (folder / MARKER).read_text(encoding="utf-8").startswith(SIGNATURE):
            open_growing_folder(folder, kind=kind)  # which refuses another kind
            return True
        time.sleep(PAUSE_S)  # the other one has failed


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A handle of a file, which is made if need be; forks do not keep it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WriteError(f"could not write: {error.strerror}", where=path.name, do="Choose another --out.") from error
    HELD.add(handle)
    try:
        yield handle
    finally:
        HELD.discard(handle)
        os.close(handle)  # which lets go of the lock


def _is_at(handle: int, path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle), path.stat())
    return False


def _take(handle: int, *, shared: bool, wait: bool) -> bool | None:
    """Whether the lock was taken; None where there are none to take. A lock that was held is let go in any case.

    Raises:
        WriteError: the operating system refused.
    """
    if sys.platform == "win32":
        return None  # its locks are for one alone
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in NO_LOCKS:
            return None
        if error.errno in BUSY:
            return False
        raise WriteError(f"could not lock the folder: {error.strerror}", where="--out") from error
    return True
