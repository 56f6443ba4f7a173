"""One writer per run folder: a lock of the operating system, which it takes back when the process dies.

The lock is on the folder's marker file, which `--overwrite` leaves where it is. It is not a file that exists or not: a
process that was killed leaves nothing behind that could keep the next one out.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from medseg.errors import UsageError, WriteError
from medseg.files import MARKER
from medseg.workflows.telling import Say

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FAR = 2**30  # Windows locks bytes, also against the owner's other handles: one far behind the marker's content
BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
TRIES, PAUSE_S = 3, 0.05  # `is_locked`, which `medseg runs` asks, holds a free lock for an instant itself
HELD: set[int] = set()  # handles of this process


@contextmanager
def locked_folder(
    folder: Path, *, wait: bool = False, say: Say = lambda text: None, work: str = "training"
) -> Iterator[None]:  # fmt: skip
    """Holds a folder for this process, and makes it if need be.

    Args:
        wait: until another process has let go of it, instead of an error.
        say: called with a sentence where the file system keeps no locks (some network mounts); nothing is held then.
        work: what is done there, for messages.

    Raises:
        UsageError: another process is writing into it.
        WriteError: the folder cannot be made.
    """
    new = not folder.exists()
    handle = _open(folder)
    try:
        HELD.add(handle)
        if not _lock(handle, wait, folder, work):
            say(f"The file system of {folder.name} keeps no locks: make sure that no other {work} writes there.")
        yield
    finally:
        if new:
            _remove_empty(folder)
        HELD.discard(handle)
        os.close(handle)  # which lets go of the lock


def _open(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder / MARKER, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise WriteError(f"could not make the folder: {error.strerror}", where=folder.name) from error


def _remove_empty(folder: Path) -> None:
    """Takes away a folder that was made for the lock alone: what it was held for has failed."""
    with suppress(OSError):
        if [path.name for path in folder.iterdir()] == [MARKER] and not (folder / MARKER).stat().st_size:
            (folder / MARKER).unlink()
            folder.rmdir()


def is_locked(folder: Path) -> bool:
    """Whether another process holds the folder: a training that is under way."""
    try:
        handle = os.open(folder / MARKER, os.O_RDWR)
    except OSError:
        return False
    try:
        _lock(handle, False, folder)
    except UsageError:
        return True
    finally:
        os.close(handle)
    return False


def _lock(handle: int, wait: bool, folder: Path, work: str = "training") -> bool:
    """Takes the lock; False where there are none to take."""
    for left in reversed(range(TRIES)):
        try:
            _take(handle, wait)
            return True
        except OSError as error:
            if error.errno in NO_LOCKS:
                return False
            if error.errno not in BUSY:
                raise WriteError(f"could not lock the folder: {error.strerror}", where=folder.name) from error
        if left:
            time.sleep(PAUSE_S)
    raise in_use(folder, work)


def in_use(folder: Path, work: str = "training") -> UsageError:
    """The error of a folder that somebody else writes to."""
    return UsageError(f"another {work} is writing into this folder", where=folder.name,
                      do="Wait for it to end, or choose another --out.")  # fmt: skip


def _let_go() -> None:
    """In a child: a loader process that outlives a killed training must not keep its lock."""
    for handle in HELD:
        os.close(handle)
    HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)

if sys.platform == "win32":

    def _take(handle: int, wait: bool) -> None:
        os.lseek(handle, FAR, os.SEEK_SET)
        while True:
            try:
                return msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError:  # LK_LOCK gives up after ten seconds
                if not wait:
                    raise
else:

    def _take(handle: int, wait: bool) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
