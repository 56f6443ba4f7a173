"""What the coarser run of a cascade found, kept in the run folder, so that it is asked once and not at every resume.

`RUN/low_answers/<key>.npz` holds class indices on the plan's grid: no grey values, no name. The key is a hash of the
coarser run's weights, recipe and plan and of the voxels that it was shown; what has another key is not found.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from medseg.files import atomic_path
from medseg.imaging.geometry import Geometry
from medseg.shapes import IntArray
from medseg.workflows.outputs import sha256

FOLDER = "low_answers"
DECIDING = ("recipe.yaml", "run.json", "checkpoints/best.safetensors")


def answer_key(runs: Sequence[str], hu: IntArray, geometry: Geometry) -> str:
    """What an answer depends on, as 32 hexadecimal digits.

    Args:
        runs: fingerprints of the coarser runs that are averaged.
        hu: (X, Y, Z) that they are shown, on this grid.
    """
    found = hashlib.sha256()
    found.update(f"{runs} {hu.dtype.str} {hu.shape} {geometry.affine.tolist()}".encode())
    found.update(np.ascontiguousarray(hu).data)
    return found.hexdigest()[:32]


def fingerprint(run: Path) -> str:
    """Weights, recipe and plan of a run that nothing writes to any more, as hexadecimal digits."""
    return "".join(sha256(run / name) for name in DECIDING)


def kept_answer(run: Path, key: str, ask: Callable[[], IntArray], say: Callable[[str], None]) -> IntArray:
    """The answer of this key, as it was kept in the run's folder; asked for and kept where there is none.

    Args:
        say: called with a sentence where a kept one is damaged, which is then asked for again.
    """
    path = run / FOLDER / f"{key}.npz"
    if path.exists():
        try:
            with np.load(path, allow_pickle=False) as stored:
                return stored["classes"]
        except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
            say(f"A kept answer of the low-resolution run is damaged ({FOLDER}); it is asked again.")
    answer = ask()
    path.parent.mkdir(exist_ok=True)
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, classes=answer)
    return answer
