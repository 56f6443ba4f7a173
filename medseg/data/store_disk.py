"""Standardised cases on disk, read patch by patch: compressed blocks, or a plain memory map.

```
STORE/store.json        plan, labels, cases, layout
    cases/<id>/case.json    shape, raters, checksums; written last, so a case without it is not finished
               hu.b2nd      (1, X, Y, Z) int16 HU, blocks of 32^3 in chunks of 64^3, ZSTD    or hu.npy
               labels.b2nd  (R, X, Y, Z) int8 or int16 class indices, -1 unknown             or labels.npy
               places.npz   per class index the voxels (N, 3) for balanced sampling
               voted.npz    the same of the readers' majority, where there are several
```
Source of the sizes: random patches of 128^3 were read fastest from chunks of 64^3 with blocks of 32^3 (7.6 ms at a
compression of 2.7; a memory map takes 2.2 ms and no compression).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import blosc2
import numpy as np
import torch
from torch import Tensor

from medseg.data.store import StoredCase
from medseg.errors import FileReadError, InputError
from medseg.files import atomic_path, write_text
from medseg.preprocessing.plan import Moments
from medseg.preprocessing.seen import Looks
from medseg.shapes import IntArray

Layout = Literal["blosc2", "memmap"]
CHUNK, BLOCK = 64, 32
COMPRESSION: dict[str, Any] = {
    "codec": blosc2.Codec.ZSTD,
    "clevel": 1,
    "filters": [blosc2.Filter.SHUFFLE],
    "nthreads": 1,  # cases and loader processes are the parallel part
}
SUFFIX: dict[Layout, str] = {"blosc2": ".b2nd", "memmap": ".npy"}
CASE_FILE, PLACES_FILE, VOTED_FILE = "case.json", "places.npz", "voted.npz"


class Voxels:
    """An array (C, X, Y, Z) on disk; indexing reads only what is asked for and gives a tensor.

    Raises (on first use):
        FileReadError: the file is missing, damaged or no array.
    """

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self.path, self.shape = path, torch.Size(shape)
        self._array: Any = None

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Tensor:
        array = self._opened()
        try:
            return torch.from_numpy(np.array(array[index]))
        except (RuntimeError, ValueError, OSError) as error:
            raise FileReadError(f"a stored array is damaged ({type(error).__name__})", where=self.path.name,
                                do="Run `medseg preprocess` again.") from None  # fmt: skip

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_array": None}  # an open file does not travel to another process

    def _opened(self) -> Any:
        if self._array is None:
            array = _open(self.path)
            if tuple(array.shape) != tuple(self.shape):
                raise FileReadError("a stored array has another shape than its case", where=self.path.name,
                                    expected=str(tuple(self.shape)), got=str(tuple(array.shape)),
                                    do="Preprocess this case again.")  # fmt: skip
            self._array = array
        return self._array


@dataclass(frozen=True)
class StoredFacts:
    """What `case.json` says of a finished case.

    Args:
        sha256: checksum of each file of the case.
        source: checksum of plan and source files, so that a changed case is done again.
        known: (R, C) whether a rater looked for a class; None when everybody looked for all.
        code: by which the case's data set is known again; None of an older version.
        labelled_hu: as in `StoredCase`.
        looks: the case from outside; None where an older version wrote it.
    """

    id: str
    raters: tuple[str, ...]
    shapes: Mapping[str, tuple[int, int, int, int]]
    sha256: Mapping[str, str]
    source: str
    known: tuple[tuple[bool, ...], ...] | None = None
    looks: Looks | None = None
    code: str | None = None
    labelled_hu: Moments | None = None

    @property
    def layout(self) -> Layout:
        """How its voxels are stored."""
        return "memmap" if f"hu{SUFFIX['memmap']}" in self.sha256 else "blosc2"


def write_stored(
    folder: Path, case: StoredCase, layout: Layout, source: str, code: str | None = None
) -> StoredFacts:  # fmt: skip
    """Writes a case into `folder`, each file atomically, and `case.json` last; then files of the other layout go.

    Raises:
        WriteError: the disk refused.
    """
    files = {"hu": case.hu[:].numpy(), "labels": _small(case.labels[:].numpy())}
    names = {key: f"{key}{SUFFIX[layout]}" for key in files}
    for key, array in files.items():
        with atomic_path(folder / names[key]) as path:
            _write(path, array, layout)
    places = {PLACES_FILE: case.places}
    if case.voted is not None and len(case.labels) > 1:
        places[VOTED_FILE] = case.voted
    for name, found in places.items():
        with atomic_path(folder / name) as path:
            np.savez_compressed(path, **{str(index): voxels.numpy() for index, voxels in found.items()})  # type: ignore[arg-type]
    sums = {name: _sha256(folder / name) for name in (*names.values(), *places)}
    shapes: dict[str, Any] = {key: array.shape for key, array in files.items()}
    known = None if case.known is None else tuple(map(tuple, case.known.tolist()))
    facts = StoredFacts(case.id, case.raters, shapes, sums, source, known, case.looks, code, case.labelled_hu)
    write_text(folder / CASE_FILE, json.dumps(asdict(facts), indent=1) + "\n")
    for key in files:
        for suffix in set(SUFFIX.values()) - {SUFFIX[layout]}:
            (folder / f"{key}{suffix}").unlink(missing_ok=True)
    return facts


def read_facts(folder: Path) -> StoredFacts | None:
    """What is known of a finished case; None when there is none, or its `case.json` cannot be read."""
    try:
        found = json.loads((folder / CASE_FILE).read_text(encoding="utf-8"))
        shapes = {key: tuple(map(int, shape)) for key, shape in found["shapes"].items()}
        raters, sums = tuple(map(str, found["raters"])), dict(found["sha256"])
        known = found.get("known") and tuple(tuple(map(bool, row)) for row in found["known"])
        looks = None
        if there := found.get("looks"):
            x, y, z = map(float, there["spacing_mm"])
            looks = Looks((x, y, z), float(there["area_cm2"]))
        moments = found.get("labelled_hu") and Moments(*found["labelled_hu"])
        return StoredFacts(str(found["id"]), raters, shapes, sums, str(found["source"]), known, looks,  # type: ignore[arg-type]
                           found.get("code"), moments)  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def is_intact(folder: Path, facts: StoredFacts) -> bool:
    """Whether every file of the case is there with its checksum."""
    return all((folder / name).is_file() and _sha256(folder / name) == known for name, known in facts.sha256.items())


def read_stored(folder: Path) -> StoredCase:
    """A case whose voxels are read when they are asked for.

    Raises:
        FileReadError: the case is not finished, or a file is missing or damaged.
    """
    facts = read_facts(folder)
    if facts is None or set(facts.shapes) != {"hu", "labels"}:
        raise FileReadError("this case is not finished", where=folder.name, do="Run `medseg preprocess` again.")
    files = {Path(name).stem: folder / Path(name).name for name in facts.sha256}
    if gone := [path.name for path in files.values() if not path.is_file()]:
        raise FileReadError("files of a stored case are missing", where=folder.name, got=", ".join(gone),
                            do="Run `medseg preprocess` again.")  # fmt: skip
    hu, labels = (Voxels(files[key], facts.shapes[key]) for key in ("hu", "labels"))
    known = None if facts.known is None else torch.tensor(facts.known)
    places = _read_places(files["places"])
    voted = _read_places(files["voted"]) if "voted" in files else places if len(labels) == 1 else None
    return StoredCase(facts.id, hu, labels, places, facts.raters, known, looks=facts.looks, voted=voted,
                      labelled_hu=facts.labelled_hu)  # fmt: skip


def fits_in_memory(bytes_needed: int, bytes_free: int) -> Layout:
    """`memmap` where the whole store takes at most half of the free memory: then reading it is copying.

    >>> fits_in_memory(10, 100), fits_in_memory(90, 100)
    ('memmap', 'blosc2')
    """
    return "memmap" if bytes_needed <= bytes_free // 2 else "blosc2"


def _small(labels: IntArray) -> IntArray:
    return labels.astype(np.int8) if labels.size and labels.max() <= np.iinfo(np.int8).max else labels


def _write(path: Path, array: IntArray, layout: Layout) -> None:
    if layout == "memmap":
        np.save(path, array, allow_pickle=False)
        return
    chunks = (1, *(min(CHUNK, n) for n in array.shape[1:]))
    blocks = (1, *(min(BLOCK, n) for n in array.shape[1:]))
    whole: Any = np.ascontiguousarray(array)  # blosc2's own type for arrays leaves numpy's out
    blosc2.asarray(whole, urlpath=str(path), mode="w", chunks=chunks, blocks=blocks, cparams=COMPRESSION)


def _open(path: Path) -> Any:
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r", allow_pickle=False)
        return blosc2.open(str(path), mode="r", dparams={"nthreads": 1})
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        raise FileReadError(f"a stored array cannot be read ({type(error).__name__})", where=path.name,
                            do="Run `medseg preprocess` again.") from None  # fmt: skip


def _read_places(path: Path) -> dict[int, Tensor]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {int(index): torch.from_numpy(stored[index]) for index in stored.files}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise InputError(f"the places of a stored case cannot be read ({type(error).__name__})", where=path.name,
                         do="Run `medseg preprocess` again.") from None  # fmt: skip


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
