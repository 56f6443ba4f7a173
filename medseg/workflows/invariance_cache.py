"""Finished scores on disk: a file of lines for each case and model, named by a hash of what they depend on."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.evaluation.dose_response_scores import DoseScore
from medseg.files import MARKER, SIGNATURE, check_output_folder, open_output_folder
from medseg.imaging.labels import LabelMap
from medseg.workflows.invariance_case import ChallengedCase
from medseg.workflows.invariance_models import Judged
from medseg.workflows.invariance_settings import Step

FORMAT = 1
KIND = "invariance"
SCORED = "scored"
Scores: TypeAlias = dict[Step | None, list[DoseScore]]


@dataclass(frozen=True)
class DoseCache:
    """`<hash>.jsonl`, a line for each finished dose; what a crash cut off is not counted."""

    folder: Path

    def key(self, case: ChallengedCase, model: Judged, seed: int) -> str | None:
        """Hash of the image, the references, the model and the seed; None for a model that cannot be vouched for."""
        if model.digest is None:
            return None
        asked = {"format": FORMAT, "medseg": metadata.version("medseg"), "seed": seed, "model": model.digest,
                 "case": case.id, "affine": case.grid.affine.tolist(), "labels": dict(case.labels.values),
                 "pairs": [list(pair) for pair in case.labels.mirror_pairs]}  # fmt: skip
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
        _add(digest, "image", case.volume.hu)
        for name, reading in case.references.items():
            described = [name, dict(reading.label_set.values), reading.label_set.ignore, reading.labelled,
                         reading.slices_read]  # fmt: skip
            digest.update(json.dumps(described).encode())
            arrays = {"": reading.labels} if isinstance(reading, LabelMap) else reading.masks
            for label, array in arrays.items():
                _add(digest, label, array)
        return digest.hexdigest()

    def read(self, key: str | None) -> Scores:
        """The finished doses; none where nothing was kept."""
        found: Scores = {}
        path = self._path(key)
        if path is None or not path.is_file():
            return found
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry = json.loads(line)
                if entry["meaning"] == _meaning(entry["transform"]):
                    step = Step(entry["transform"], entry["dose"]) if entry["transform"] else None
                    found[step] = [DoseScore(*score) for score in entry["scores"]]
            except (ValueError, KeyError, TypeError):
                continue  # a line that was cut off, or of a transform that is no more: computed again
        return found

    def append(self, key: str | None, step: Step | None, scores: Sequence[DoseScore]) -> None:
        """Adds a finished dose."""
        path = self._path(key)
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if not (path.parent.parent / MARKER).exists():
            (path.parent.parent / MARKER).write_text(f"{SIGNATURE}{KIND}\n", encoding="utf-8")
        transform, dose = ("", 0.0) if step is None else (step.transform, step.dose)
        entry = {"transform": transform, "dose": dose, "meaning": _meaning(transform),
                 "scores": [score.to_json() for score in scores]}  # fmt: skip
        with open(path, "a", encoding="utf-8") as stream:
            # a line of its own even after one that a crash cut off; blank lines are passed over
            stream.write("\n" + json.dumps(entry) + "\n")

    def keep(self, keys: Collection[str | None]) -> None:
        """Removes what this comparison did not use."""
        for path in self.folder.glob("*.jsonl"):
            if path.stem not in keys:
                path.unlink()

    def _path(self, key: str | None) -> Path | None:
        return None if key is None else self.folder / f"{key}.jsonl"


def check_out(out: str | Path, *, overwrite: bool) -> DoseCache:
    """The finished scores of an output folder that may be written.

    A folder that holds nothing but finished scores is a test that was cut off, and is taken up again.

    Raises:
        OutputExistsError, UsageError: as `check_output_folder`.
    """
    folder = Path(out)
    cut_off = (folder / MARKER).is_file() and {entry.name for entry in folder.iterdir()} <= {MARKER, SCORED}
    check_output_folder(folder, kind=KIND, overwrite=overwrite or cut_off)
    return DoseCache(folder / SCORED)


def open_out(out: str | Path) -> Path:
    """The output folder, empty but for the finished scores."""
    folder = Path(out)
    aside = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    if (folder / SCORED).is_dir():
        os.replace(folder / SCORED, aside)
    open_output_folder(folder, kind=KIND, overwrite=True)
    if aside.is_dir():
        os.replace(aside, folder / SCORED)
    return folder


def _add(digest: Any, name: str, array: npt.NDArray[Any]) -> None:
    """Feeds the voxels of an array to a hash."""
    digest.update(f"{name}:{array.dtype}:{array.shape}".encode())
    digest.update(np.ascontiguousarray(array.T))  # as files lie in memory, so that nothing is copied


def _meaning(transform: str) -> str:
    """What the table says about a transform: another meaning makes other scores."""
    return CHALLENGES[transform].meaning if transform else ""
