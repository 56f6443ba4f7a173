"""What the figures are drawn from: `agreement.json` with `pairs.csv` and `cases.csv` beside it, as written."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.errors import FileReadError

SCHEMA = "medseg.agreement/1"
PAIRS, CASES = "pairs.csv", "cases.csv"
WORDS = {"case", "patient", "label", "a", "b", "kind", "flag", "metric", "model", "everyone_marked"}
NEEDED = {PAIRS: {"case", "label", "a", "b", "kind"}, CASES: {"case", "label", "metric", "human_human", "model_human"}}
Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class FigureData:
    """An agreement with its tables; both are empty where a figure needs none of them."""

    agreement: Mapping[str, Any]
    pairs: Sequence[Row] = ()
    cases: Sequence[Row] = ()


def read_figure_data(path: str | Path) -> FigureData:
    """Reads `agreement.json` and the two tables in the same folder; an empty cell is None.

    Raises:
        FileReadError: a file is missing or not what `medseg agree` writes.
    """
    path = Path(path)
    return FigureData(
        _read_agreement(path), _read_table(path.with_name(PAIRS), PAIRS), _read_table(path.with_name(CASES), CASES)
    )


def _read_agreement(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_text(path), parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise FileReadError("not readable as JSON", where=path.name, expected="what `medseg agree` wrote") from error
    schema = found.get("schema") if isinstance(found, dict) else None
    if schema != SCHEMA:
        raise FileReadError("not an agreement", where=path.name, expected=f"schema {SCHEMA}", got=repr(schema)[:80])
    for key in ("design", "labels"):
        if not isinstance(found.get(key), dict):
            raise FileReadError(f"'{key}' is missing", where=path.name, expected="what `medseg agree` wrote")
    return found


def _refused(constant: str) -> float:
    raise ValueError(constant)


def _read_table(path: Path, name: str) -> list[dict[str, Any]]:
    lines = csv.DictReader(_text(path).splitlines(), strict=True)
    try:
        if missing := NEEDED[name] - set(lines.fieldnames or ()):
            raise FileReadError("columns are missing", where=name, expected=", ".join(sorted(missing)))
        return [_row(line, f"{name}, line {lines.line_num}") for line in lines]
    except csv.Error as error:
        raise FileReadError("not readable as CSV", where=name, expected="what `medseg agree` wrote") from error


def _row(line: Mapping[str | None, Any], where: str) -> dict[str, Any]:
    if None in line or None in line.values():
        raise FileReadError("more or fewer cells than columns", where=where)
    return {str(key): text if key in WORDS else _number(text, where) for key, text in line.items()}


def _number(text: str, where: str) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError as error:
        raise FileReadError("not a number", where=where, got=repr(text[:40])) from error
    return value if value is None or math.isfinite(value) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FileReadError(
            "could not be read", where=path.name, do="agreement.json, pairs.csv and cases.csv belong in one folder."
        ) from error
    except UnicodeDecodeError as error:
        raise FileReadError("no UTF-8 text", where=path.name) from error
