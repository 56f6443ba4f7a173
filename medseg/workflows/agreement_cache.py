"""Finished cases of a comparison on disk: each under a hash of what it was computed from."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from medseg.evaluation.instances import LesionPair
from medseg.evaluation.kappa import ChanceCorrected
from medseg.evaluation.missingness import ReadCase as CaseRead
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.scoring import PairScore
from medseg.evaluation.spread import Spread
from medseg.evaluation.staple import Staple
from medseg.evaluation.surface import Gap
from medseg.evaluation.voxel_agreement import VoxelAgreement
from medseg.imaging.labels import LabelMap
from medseg.imaging.regions import Reading
from medseg.workflows import fleet_finished
from medseg.workflows.agreement_case import CaseResult
from medseg.workflows.fleet_finished import Finished, plain_array
from medseg.workflows.outputs import sha256
from medseg.workflows.readings import ReadCase

FORMAT = 1
KIND = "agreement"  # of output folder
SCORED = {"label", "a", "b", "values", "volume_a_ml", "volume_b_ml"}


def case_key(case: ReadCase, raters: Sequence[str], models: Sequence[str], asked: Mapping[str, Any]) -> str:
    """Hash of the case's masks and of everything that its scores depend on.

    Args:
        asked: what is measured, in plain values.
    """
    digest = hashlib.sha256()
    about = {
        "format": FORMAT,
        "medseg": metadata.version("medseg"),
        "case": [case.id, case.patient, list(raters), list(models)],
        **asked,
    }
    digest.update(json.dumps(about, sort_keys=True).encode())
    truth = {"": case.truth} if case.truth is not None else {}
    readings = {**case.readings, **case.repeats, **truth}
    for name, reading in readings.items():
        _add(digest, name, reading)
    for model, soft in case.soft.items():
        for path in (*([] if soft.probabilities is None else [soft.probabilities]), *soft.samples):
            digest.update(f"{model}:{path.name}:{sha256(path)}".encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class ScoreCache:
    """The finished cases of one comparison, by `case_key`."""

    finished: Finished

    def read(self, key: str) -> CaseResult | None:
        """A finished case; None when it is not there or cannot be read."""
        if (found := self.finished.read(key)) is None:
            return None
        try:
            return CaseResult(
                tuple(found["labels"]),
                tuple(found["readers"]),
                _case_of(found["scores"]),
                {label: _voxels_of(entry) for label, entry in found["voxels"].items()},
                CaseRead(**(found["read"] | {"partly": frozenset(found["read"]["partly"])})),
                tuple(_lesions_of(entry) for entry in found["lesions"]),
                found["soft"],
                samples=found["samples"],
            )
        except (ValueError, KeyError, TypeError):
            return None  # a file of another version or a damaged one: the case is scored again

    def write(self, result: CaseResult) -> None:
        """Writes a finished case atomically."""
        assert result.scores is not None and result.read is not None
        content = {
            "labels": list(result.labels),
            "readers": list(result.readers),
            "scores": _case_entry(result.scores),
            "voxels": {label: _entry(found) for label, found in result.voxels.items()},
            "read": asdict(result.read) | {"partly": sorted(result.read.partly)},
            "lesions": [asdict(pair) for pair in result.lesions],
            "soft": result.soft,
            "samples": result.samples,
        }
        self.finished.write(result.key, content)

    def keep(self, keys: Collection[str]) -> None:
        """Removes what no case of this comparison used."""
        self.finished.keep(keys)


def check_out(out: str | Path, *, overwrite: bool) -> ScoreCache:
    """The cache of finished cases of an output folder that may be written; see `fleet_finished.check_out`."""
    return ScoreCache(fleet_finished.check_out(out, kind=KIND, overwrite=overwrite))


def open_out(out: str | Path) -> Path:
    """The output folder, empty but for the finished cases; see `fleet_finished.open_out`."""
    return fleet_finished.open_out(out, kind=KIND)


def _add(digest: Any, name: str, reading: Reading) -> None:
    """Feeds one reading to the hash: its name, grid, names, what was read, and all voxels."""
    grid = reading.geometry
    described = [name, list(grid.shape), grid.affine.tolist(), dict(reading.label_set.values), reading.labelled,
                 reading.label_set.ignore, reading.slices_read]  # fmt: skip
    digest.update(json.dumps(described).encode())
    arrays = {"": reading.labels} if isinstance(reading, LabelMap) else reading.masks
    for label, array in arrays.items():
        digest.update(f"{label}:{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array.T))


def _case_entry(scores: CaseScores) -> dict[str, Any]:
    pairs = [
        {key: getattr(score, key) for key in SCORED} | {"values": dict(score.values), "gap": _gap_entry(score.gap)}
        for score in scores.scores
    ]
    return {"case": scores.case, "patient": scores.patient, "diagonal_mm": scores.diagonal_mm, "pairs": pairs}


def _case_of(entry: Mapping[str, Any]) -> CaseScores:
    pairs = [PairScore(**(pair | {"gap": _gap_of(pair["gap"])})) for pair in entry["pairs"]]
    return CaseScores(entry["case"], entry["patient"], pairs, entry["diagonal_mm"])


def _gap_entry(gap: Gap | None) -> list[dict[str, Any]] | None:
    if gap is None:
        return None
    return [
        {field.name: plain_array(getattr(side, field.name)) for field in fields(Spread)}
        for side in (gap.there, gap.back)
    ]


def _gap_of(entry: Sequence[Mapping[str, Any]] | None) -> Gap | None:
    if entry is None:
        return None
    there, back = (Spread(**_arrays(side)) for side in entry)
    return Gap(there, back)


def _arrays(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: np.array(value) if isinstance(value, list) else value for key, value in entry.items()}


def _lesions_of(entry: Mapping[str, Any]) -> LesionPair:
    lists: dict[str, Any] = {key: tuple(entry[key]) for key in ("a_ml", "b_ml")}
    lists["matches"] = tuple(tuple(match) for match in entry["matches"])
    return LesionPair(**(dict(entry) | lists))


def _entry(found: VoxelAgreement) -> dict[str, Any]:
    staple = {field.name: plain_array(getattr(found.staple, field.name)) for field in fields(Staple)}
    kappa = {field.name: getattr(found.kappa, field.name) for field in fields(ChanceCorrected)}
    return {"raters": list(found.raters), "staple": staple, "kappa": kappa}


def _voxels_of(entry: Mapping[str, Any]) -> VoxelAgreement:
    staple = _arrays(entry["staple"])
    staple["votes"] = staple["votes"].astype(np.int8).reshape(-1, len(entry["raters"]))  # none of an empty domain
    return VoxelAgreement(tuple(entry["raters"]), Staple(**staple), ChanceCorrected(**entry["kappa"]))
