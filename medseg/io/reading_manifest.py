"""A table of readings: who read which case, where the outlines lie, and who did not read; CSV or YAML.

| column | says |
|---|---|
| `case` | name of the case; letters, digits and . + @ = - |
| `patient` | who was scanned; the case itself where it is empty |
| `image` | the CT: a NIfTI, NRRD or MHA file or a DICOM series, from the manifest's own folder |
| `rater` | name of the reader or of the model |
| `path` | the reading: a label file, a folder with a file for each structure, a DICOM SEG or an RTSTRUCT |
| `role` | `human` (or empty), `model`, or `truth`: one row a case, from a phantom or histology, not from a reader |
| `status` | `annotated` (or empty beside a path); `absent`: looked and found nothing; `missing`: not read |
| `slices_read` | first and last slice that was read, from 0, such as `10-60`; empty for all |
| `labelled` | names of the structures that were looked for, such as `liver; tumour`; empty for all |
| `reading` | name of a repeat by the same reader |
| `trained_on` | model's row: `patient` or the patient's name where training saw the patient, raters whose outlines were
  learned; human's row: the models that learned from this rater; `yes` for this patient, or for all models |
| `site`, `scanner`, `size`, `phase`, `strata_*` | groups of cases; further ones by name |

A YAML file holds the rows under `readings:`, beside `labels:` (name: value) and `anonymous: true`. Of a rater without
a row nothing is known: that is missing, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from medseg.config import nearest
from medseg.errors import ConfigError
from medseg.io.manifest_schema import CASE_ID
from medseg.io.reading_table import Table, read_table

Role = Literal["human", "model", "truth"]
Status = Literal["annotated", "missing", "absent"]
COLUMNS = ("case", "patient", "image", "rater", "path", "role", "status", "slices_read", "labelled", "reading",
           "trained_on")  # fmt: skip
NEEDED = ("case", "rater")
STRATA = ("site", "scanner", "size", "phase")
STRATA_PREFIX = "strata_"
READER = re.compile(r"\w[\w.+@=\- ()]{0,63}")
CASE = re.compile(CASE_ID)
SLICES = re.compile(r"\[?\s*(\d{1,6})\s*(?:-|:|,|;|\.\.| )\s*(\d{1,6})\s*\]?")
YES, NO = ("yes", "true", "1"), ("", "no", "false", "0")
LISTED = 5
LONGEST_PATH, LONGEST_PART = 4095, 255


@dataclass(frozen=True)
class ReadingRow:
    """One row; see the table above. Paths are absolute; `path` is None where there is no file.

    Args:
        seen: what `trained_on` says, word by word.
        line: of the file, for messages.
    """

    case: str
    patient: str
    rater: str
    role: Role
    status: Status
    path: Path | None = None
    image: Path | None = None
    slices_read: tuple[int, int] | None = None
    labelled: tuple[str, ...] | None = None
    reading: str = ""
    seen: tuple[str, ...] = ()
    strata: Mapping[str, str] = field(default_factory=dict)
    line: str = ""


@dataclass(frozen=True)
class ReadingManifest:
    """All rows, which agree with each other.

    Args:
        labels: name to value, or None where the file says nothing of them.
        trained_on: model to the raters from whose outlines it learned.
    """

    rows: tuple[ReadingRow, ...]
    labels: Mapping[str, int] | None = None
    anonymous: bool = False
    trained_on: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def patients(self) -> dict[str, str]:
        """Case to patient, in the order of the cases."""
        told = {row.case: row.patient for row in reversed(self.rows) if row.patient != row.case}
        return {row.case: told.get(row.case, row.case) for row in self.rows}

    def readers(self, role: Role) -> tuple[str, ...]:
        """Names of all of a role, in the order in which they are met."""
        return tuple(dict.fromkeys(row.rater for row in self.rows if row.role == role))


class Training(NamedTuple):
    """What a manifest says of the models' training: raters by model, and (model, case) pairs whose patient was seen."""

    raters: dict[str, tuple[str, ...]]
    patients: list[tuple[str, str]]


def read_reading_manifest(path: str | Path, *, strata: Sequence[str] = ()) -> ReadingManifest:
    """The rows of a manifest, checked against each other. No reading is opened.

    Args:
        strata: further columns that group cases.

    Raises:
        FileReadError: there is no such file, or it is no text.
        ConfigError: no manifest; a column that is not known, with the nearest one; a cell that makes no sense, with
            its line; one case with two patients or images, one reading twice, one name for a rater and a model; a
            model that saw a patient in training.
    """
    path = Path(path)
    table = read_table(path)
    _check_columns(table, strata)
    known = {*STRATA, *strata}
    root = path.resolve().parent
    rows = tuple(_row(cells, f"{path.name}:{place}", root, known) for place, cells in table.rows)
    if not rows:
        raise ConfigError("no reading", where=path.name, expected="a row for each case and reader")
    _check_cases(rows)
    _check_readers(rows)
    training = _training(rows)
    if training.patients:
        told = [f"{model} ({case})" for model, case in training.patients]
        raise ConfigError(f"{len(told)} predictions of patients that the model saw in training", where=path.name,
                          expected="patients that are new to the model", got=_listed(told),
                          do="Take these cases out of the manifest.")  # fmt: skip
    return ReadingManifest(rows, table.labels, table.anonymous, training.raters)


def _check_columns(table: Table, strata: Sequence[str]) -> None:
    known = (*COLUMNS, *STRATA, *strata)
    for name in table.columns:
        if name not in known and not name.startswith(STRATA_PREFIX):
            raise ConfigError(f"unknown column '{name[:64]}'{nearest(name, known)}", where=table.source,
                              expected="some of " + ", ".join(known),
                              do=f"Call columns that group cases {STRATA_PREFIX}NAME.")  # fmt: skip
    if lacking := [name for name in NEEDED if name not in table.columns]:
        raise ConfigError(f"no column '{lacking[0]}'", where=table.source, expected="at least " + ", ".join(NEEDED))


def _row(cells: Mapping[str, Any], where: str, root: Path, strata: Iterable[str]) -> ReadingRow:
    text = {name: _text(cells.get(name), name, where) for name in COLUMNS if name not in ("slices_read", "labelled")}
    case, rater = text["case"], text["rater"]
    if not CASE.fullmatch(case):
        raise ConfigError("not a name for a case", where=where, expected="letters, digits and . + @ = - and spaces",
                          got=repr(case[:64]))  # fmt: skip
    if not READER.fullmatch(rater):
        raise ConfigError("not a name for a reader", where=where, got=repr(rater[:64]),
                          expected="up to 64 letters, digits and . + @ = - ( ) and spaces")  # fmt: skip
    role = _choice(text["role"] or "human", get_args(Role), "role", where)
    path = _path(text["path"], root, where)
    return ReadingRow(
        case,
        text["patient"] or case,
        rater,
        role,
        _status(text["status"], path, where),
        path,
        _path(text["image"], root, where),
        _slices(cells.get("slices_read"), where),
        _names(cells.get("labelled"), where),
        text["reading"],
        tuple(word for word in _words(text["trained_on"]) if word.lower() not in NO),
        {name.removeprefix(STRATA_PREFIX): value for name in cells
         if (name in strata or name.startswith(STRATA_PREFIX)) and (value := _text(cells[name], name, where))},
        where,
    )  # fmt: skip


def _text(value: Any, column: str, where: str) -> str:
    if isinstance(value, list | Mapping):
        raise ConfigError(f"`{column}` is no word", where=where, got="a list or a mapping")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value).strip()


def _choice(value: str, allowed: Sequence[str], column: str, where: str) -> Any:
    if value.lower() not in allowed:
        raise ConfigError(f"`{column}` cannot be '{value[:64]}'{nearest(value.lower(), allowed)}", where=where,
                          expected=" or ".join(allowed))  # fmt: skip
    return value.lower()


def _status(value: str, path: Path | None, where: str) -> Status:
    if not value and path is None:
        raise ConfigError("neither a path nor a status", where=where,
                          expected="a path, or `absent` (found nothing) or `missing` (not read)")  # fmt: skip
    status: Status = _choice(value or "annotated", ("annotated", "missing", "absent"), "status", where)
    if status == "annotated" and path is None:
        raise ConfigError("annotated, but there is no path", where=where, expected="the file of the reading",
                          do="An empty reading has the status `absent`.")  # fmt: skip
    if status == "missing" and path is not None:
        raise ConfigError("missing, but there is a path", where=where, expected="no path, or the status `annotated`")
    return status


def _path(text: str, root: Path, where: str) -> Path | None:
    if "\0" in text or len(text) > LONGEST_PATH or any(len(part) > LONGEST_PART for part in Path(text).parts):
        raise ConfigError("a path that no system takes", where=where, got=f"{len(text)} characters")
    return root / text if text else None


def _slices(value: Any, where: str) -> tuple[int, int] | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value).strip()
    found = SLICES.fullmatch(text)
    if not found or int(found[1]) > int(found[2]):
        raise ConfigError("`slices_read` is no range of slices", where=where, expected="first and last, such as 10-60",
                          got=repr(text[:40]))  # fmt: skip
    return int(found[1]), int(found[2])


def _names(value: Any, where: str) -> tuple[str, ...] | None:
    if isinstance(value, list | tuple):
        return tuple(_text(name, "labelled", where) for name in value) or None
    return _words(_text(value, "labelled", where)) or None


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for part in text.split(";") if (word := part.strip()))


def _check_cases(rows: Sequence[ReadingRow]) -> None:
    """Every row of a case tells the same of it; a cell that is empty tells nothing."""
    first: dict[str, ReadingRow] = {}
    facts: dict[tuple[str, str], str | Path] = {}
    for row in rows:
        told = {"image": row.image, **row.strata}
        if row.patient != row.case:  # an empty cell also reads as the case
            told["patient"] = row.patient
        for name, value in told.items():
            if value is not None and facts.setdefault((row.case, name), value) != value:
                raise ConfigError(f"case {row.case} has two different cells `{name}`", where=row.line,
                                  expected=f"one, as in {first[row.case].line.rpartition(':')[2]}")  # fmt: skip
        first.setdefault(row.case, row)


def _check_readers(rows: Sequence[ReadingRow]) -> None:
    """A reading stands once, a name is a rater's or a model's, and a case has one truth."""
    roles: dict[str, ReadingRow] = {}
    truths: dict[str, ReadingRow] = {}
    seen: dict[tuple[str, str, str], ReadingRow] = {}
    for row in rows:
        if (known := roles.setdefault(row.rater, row)).role != row.role:
            raise ConfigError(f"'{row.rater}' is a {known.role} in one row and a {row.role} in another", where=row.line,
                              got=f"a {known.role} at {known.line}")  # fmt: skip
        key = row.case, row.rater, row.reading
        if (other := seen.setdefault(key, row)) is not row:
            raise ConfigError(f"case {row.case} has two readings of '{row.rater}'", where=row.line,
                              got=f"another at {other.line}",
                              do="Give repeats by the same reader names in the column `reading`.")  # fmt: skip
        if row.role == "truth" and (other := truths.setdefault(row.case, row)) is not row:
            raise ConfigError(f"case {row.case} has two truths", where=row.line, got=f"another at {other.line}")


def _training(rows: Sequence[ReadingRow]) -> Training:
    people = {row.rater for row in rows if row.role == "human"}
    models = {row.rater for row in rows if row.role == "model"}
    learned: dict[str, dict[str, None]] = {}
    seen: dict[tuple[str, str], None] = {}
    patients = {row.case: row.patient for row in reversed(rows) if row.patient != row.case}
    for row in rows:
        if row.role == "truth" and row.seen:
            raise ConfigError("a truth learned from nobody", where=row.line, expected="an empty `trained_on`")
        for word in row.seen:
            if row.role == "human":
                _known(word, [*models, *YES], row)
                for model in sorted(models) if word.lower() in YES else [word]:
                    learned.setdefault(model, {})[row.rater] = None
            elif word.lower() in (*YES, "patient") or word == patients.get(row.case, row.patient):
                seen[row.rater, row.case] = None
            else:
                _known(word, [*people, "patient", *YES], row)
                learned.setdefault(row.rater, {})[word] = None
    return Training({model: tuple(raters) for model, raters in learned.items()}, list(seen))


def _known(word: str, names: Sequence[str], row: ReadingRow) -> None:
    if word not in names and word.lower() not in YES:
        what = f"`trained_on` names '{word[:64]}', which is no {'model' if row.role == 'human' else 'rater'} here"
        raise ConfigError(what + nearest(word, names), where=row.line, expected="one of " + ", ".join(sorted(names)))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more
