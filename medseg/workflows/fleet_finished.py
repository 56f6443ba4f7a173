"""Finished studies of an output folder, so that work that was cut off goes on where it was: one JSON file each."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.files import LEFTOVER, MARKER, SIGNATURE, check_output_folder, open_output_folder, write_text

SCORES = "scored"  # the folder of finished studies in the output folder
UNFINISHED = ".unfinished"  # stands beside results while they are written
KEPT = (MARKER, SCORES)


@dataclass(frozen=True)
class Finished:
    """The finished studies of one output folder, by key; may be written by many processes at once.

    Args:
        out: the output folder; it is made with the first study.
        kind: of output, as `medseg.files` marks it.
    """

    out: Path
    kind: str

    @property
    def folder(self) -> Path:
        return self.out / SCORES

    def read(self, key: str) -> Any | None:
        """What was written; None when it is not there or damaged."""
        try:
            return json.loads((self.folder / f"{key}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def write(self, key: str, content: Any) -> None:
        """Writes one study whole or not at all.

        Raises:
            WriteError: the disk refused.
        """
        marker = self.out / MARKER
        if not marker.is_file():  # first of all, or the folder would be taken for somebody else's
            write_text(marker, f"{SIGNATURE}{self.kind}\n")
        write_text(self.folder / f"{key}.json", json.dumps(content, default=plain_array))

    def keep(self, keys: Collection[str]) -> None:
        """Removes what is under no such key, leftovers of killed writes as well."""
        for path in self.folder.glob("*.json"):
            if path.stem not in keys:
                path.unlink()


def check_out(out: str | Path, *, kind: str, overwrite: bool) -> Finished:
    """The finished studies of an output folder that may be written.

    A folder without results, or with those of a run that was killed while it wrote them, is taken up again.

    Raises:
        OutputExistsError, UsageError: as `check_output_folder`.
    """
    folder = Path(out)
    held = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    for name in [name for name in held if LEFTOVER.fullmatch(name) and name.endswith(MARKER)]:
        (folder / name).unlink()  # killed while the marker was written
        held.remove(name)
    cut_off = MARKER in held and (held <= set(KEPT) or UNFINISHED in held)
    check_output_folder(folder, kind=kind, overwrite=overwrite or cut_off)
    return Finished(folder, kind)


def open_out(out: str | Path, *, kind: str) -> Path:
    """The output folder, empty but for the finished studies, until `close_out` marked as unfinished."""
    folder = Path(out)
    if not (folder / SCORES).is_dir():
        folder = open_output_folder(folder, kind=kind, overwrite=True)
    check_output_folder(folder, kind=kind, overwrite=True)
    write_text(folder / UNFINISHED, "")
    for entry in folder.iterdir():
        if entry.name not in (*KEPT, UNFINISHED):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return folder


def close_out(folder: Path) -> None:
    """Says that all results are written."""
    (folder / UNFINISHED).unlink(missing_ok=True)


def plain_array(value: Any) -> Any:
    """Arrays as lists and numpy's numbers as Python's; NaN and infinity stay, only medseg reads these files."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
