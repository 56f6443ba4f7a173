"""A folder of results that is whole or as it was before: for work that is worth nothing when half done."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.files import MARKER, replaced_folder


@contextmanager
def whole_folder(folder: Path, *, kind: str, overwrite: bool = False) -> Iterator[Path]:
    """Yields a folder to fill; when the block fails, `folder` is as it was: an old result, empty, or not there.

    Raises:
        OutputExistsError, UsageError, WriteError: as `files.replaced_folder`.
    """
    existed = next((path for path in [folder, *folder.parents] if path.exists()), None)
    with replaced_folder(folder, kind=kind, overwrite=overwrite) as root:
        try:
            yield root
        except BaseException:
            if root == folder:
                _restore(folder, existed)
            raise


def _restore(folder: Path, existed: Path | None) -> None:
    """Removes what the block made, with the folders above that it had to make."""
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != MARKER or existed != folder:
            entry.unlink()
    for made in [folder, *folder.parents]:
        if made == existed:
            break
        made.rmdir()
