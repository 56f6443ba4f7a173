"""The record beside a study's results: where they come from, which of them are whole, and what is worth knowing.

A format stands in the record only when its file is written, so that of a killed run nothing half said is taken for
done. Of the study there are two hashes and how it was read: no path, date or identifier.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import OutputExistsError
from medseg.evaluation.measurements import Measurement
from medseg.io.dicom_sources import Item
from medseg.io.input_files import digest, stamp
from medseg.io.made_by import MadeBy
from medseg.workflows.outputs import write_json
from medseg.workflows.prediction_folder import held_record

SCHEMA = "medseg.prediction/1"
DO = "Choose another --out, or pass --overwrite to replace them."


@dataclass(frozen=True)
class InputFacts:
    """What a study was when it was predicted.

    Args:
        reading: options of its reader that are not those by default.
        content: SHA-256 of the bytes of its files.
        stamp: SHA-256 of their sizes and times: the same stamp, the same content; a copy has another stamp.
    """

    reading: Mapping[str, Any]
    content: str
    stamp: str

    @property
    def as_record(self) -> dict[str, Any]:
        return {"reading": dict(self.reading), "content_sha256": self.content, "stamp": self.stamp}


DIFFERENCES = {
    "algorithm": "another program",
    "version": "another version of the program",
    "recipe_sha256": "another run",
    "postprocessing_sha256": "other steps after the prediction",
}


@dataclass(frozen=True)
class Origin:
    """What results must have in common to stand beside each other: the model, the study's content, how it was read."""

    made_by: MadeBy
    study: InputFacts

    def check(self, record: Mapping[str, Any] | None, name: str) -> None:
        """Refuses the results of another origin.

        Raises:
            OutputExistsError: another model or none that is known, another reading, or a study that has changed.
        """
        there = check_model(record, self.made_by, name).get("input") or {}
        if there.get("reading") != dict(self.study.reading):
            raise OutputExistsError("results of this study, read in another way, are there", where=name, do=DO,
                                    expected=_told(self.study.reading), got=_told(there.get("reading")))  # fmt: skip
        if there.get("content_sha256") != self.study.content:
            raise OutputExistsError("the study has changed since the results that are there", where=name, do=DO)

    def is_of(self, record: Mapping[str, Any] | None) -> bool:
        """Whether `check` lets the record pass."""
        try:
            self.check(record, "")
        except OutputExistsError:
            return False
        return True


def check_model(record: Mapping[str, Any] | None, made_by: MadeBy, name: str) -> Mapping[str, Any]:
    """The record, if it is of this model.

    Raises:
        OutputExistsError: it is not, or there is none.
    """
    there = None if record is None else record.get("made_by")
    if record is None or there != dict(made_by.facts):
        raise OutputExistsError("results of another model, or of unknown origin, are there", where=name, do=DO,
                                got=_differs(there, made_by.facts))  # fmt: skip
    return record


def _differs(there: Any, here: Mapping[str, str]) -> str:
    """In what two origins differ, in words that tell where to look."""
    if not isinstance(there, Mapping):
        return "no record of their origin"
    keys = [key for key in (*here, *there) if here.get(key) != there.get(key)]
    found = [words for key, words in DIFFERENCES.items() if key in keys]
    if "model_sha256" in keys and "recipe_sha256" not in keys:
        found.append("the same recipe with other weights (another checkpoint or other folds), or another --as-rater")
    return "; ".join(dict.fromkeys(found)) or "another model"


def input_facts(files: Sequence[Item], reading: Mapping[str, Any], where: str = "") -> InputFacts:
    """The facts of a study; reads its files once.

    Raises:
        FileReadError, DicomError: a file cannot be read.
    """
    return InputFacts(reading, digest(files, where=where), stamp(files, where=where))


def read_record(folder: str | Path, name: str) -> dict[str, Any] | None:
    """The record of a study; None where there is none or it is damaged."""
    try:
        found = json.loads((Path(folder) / f"{name}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def refresh(folder: str | Path, name: str, study: InputFacts) -> None:
    """Gives the record the stamp that the same files have now, so that they need not be read again next time."""
    path = Path(folder) / f"{name}.json"
    with held_record(path):
        if record := read_record(folder, name):
            write_json(path, {**record, "input": study.as_record})


def unchanged(record: Mapping[str, Any], reading: Mapping[str, Any], stamped: str) -> bool:
    """Whether the record is of a study with this stamp, read in this way: asked before any file is read."""
    there = record.get("input") or {}
    return there.get("stamp") == stamped and there.get("reading") == dict(reading)


def written_formats(record: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The formats whose files were whole when the record was written."""
    return tuple(record.get("formats", ())) if record else ()


def read_measurements(folder: str | Path, name: str) -> list[Measurement]:
    """What was measured in a study, from its record; empty where there is none or an older version wrote it."""
    return measurements_of(read_record(folder, name))


def measurements_of(record: Mapping[str, Any] | None) -> list[Measurement]:
    """The measurements of a record."""
    try:
        return [Measurement(**each) for each in (record or {}).get("measurements", [])]
    except TypeError:
        return []


def _told(reading: Any) -> str:
    return ", ".join(f"{key} {value}" for key, value in dict(reading or {}).items()) or "as by default"
