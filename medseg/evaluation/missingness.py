"""Who read what: the design table of a reader study. A reader who did not read is missing, never empty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medseg.evaluation.paired import CaseScores
from medseg.imaging.labels import Box
from medseg.imaging.regions import Reading

PRESENT, ABSENT, MISSING = "present", "absent", "missing"
STATUSES = (PRESENT, ABSENT, MISSING)
RULE = (
    "present: read and marked; absent: read and not marked; missing: not read, which is neither. partly: read in some "
    "slices only, whatever was found there"
)


@dataclass(frozen=True)
class ReadCase:
    """What became of one case.

    Args:
        statuses: by structure and then by name one of STATUSES; a name that is not there is missing.
        partly: names that read only some of the slices.
    """

    case: str
    patient: str
    statuses: Mapping[str, Mapping[str, str]]
    partly: frozenset[str] = frozenset()

    def status(self, label: str, name: str) -> str:
        return self.statuses.get(label, {}).get(name, MISSING)


@dataclass(frozen=True)
class Column:
    """One reader or model over all cases: how many it found, did not find, did not read, and read in part."""

    present: int
    absent: int
    missing: int
    partly: int

    @property
    def read(self) -> int:
        return self.present + self.absent


@dataclass(frozen=True)
class LabelDesign:
    """The missingness matrix of one structure.

    Args:
        cases, patients: ids, one per row.
        names: readers and models, one per column.
        matrix: one of STATUSES for each row and column.
        columns: counts by name.
        readers_per_case: how many cases were read by 0, 1, 2 ... of the readers.
        complete: cases that every reader read.
        pairs: by two readers, the cases that both read.
    """

    label: str
    cases: tuple[str, ...]
    patients: tuple[str, ...]
    names: tuple[str, ...]
    matrix: tuple[tuple[str, ...], ...]
    columns: Mapping[str, Column]
    readers_per_case: Mapping[int, int]
    complete: int
    pairs: Mapping[tuple[str, str], int]
    rule: str = RULE

    @property
    def n_patients(self) -> int:
        return len(set(self.patients))


def read_case(
    case: str,
    patient: str,
    readings: Mapping[str, Reading],
    labels: Sequence[str],
    *,
    boxes: Mapping[str, Mapping[str, Box]] | None = None,
) -> ReadCase:
    """The statuses of one case from its readings; a name without a reading, or without the structure, is missing.

    Args:
        boxes: what `reading.boxes()` gave for each, where that is known already.
    """
    boxes = boxes or {name: reading.boxes() for name, reading in readings.items()}
    statuses = {
        label: {
            name: PRESENT if label in boxes[name] else ABSENT
            for name, reading in readings.items()
            if reading.was_read(label)
        }
        for label in labels
    }
    partly = frozenset(name for name, reading in readings.items() if reading.slices_read is not None)
    return ReadCase(case, patient, statuses, partly)


def read_case_of_scores(case: CaseScores, labels: Sequence[str], names: Sequence[str]) -> ReadCase:
    """The same from a case's pairs, where its readings are no longer at hand.

    Pairs cannot tell who read a case alone: it looks missing to everybody. Which slices were read is not known either.
    """
    marked = {label: case.presence(label, names) for label in labels}
    statuses = {
        label: {name: PRESENT if there else ABSENT for name, there in found.items()} for label, found in marked.items()
    }
    return ReadCase(case.case, case.patient, statuses)


def label_design(
    cases: Sequence[ReadCase], label: str, raters: Sequence[str], models: Sequence[str] = ()
) -> LabelDesign:
    """The design table of one structure: one row per case, one column per reader and then per model.

    >>> cases = [ReadCase("c1", "p1", {"liver": {"A": "present", "B": "absent"}}), ReadCase("c2", "p2", {})]
    >>> found = label_design(cases, "liver", ["A", "B"])
    >>> found.matrix, found.readers_per_case
    ((('present', 'absent'), ('missing', 'missing')), {0: 1, 1: 0, 2: 1})
    """
    names = (*raters, *models)
    matrix = tuple(tuple(case.status(label, name) for name in names) for case in cases)
    by_name = {name: [row[place] for row in matrix] for place, name in enumerate(names)}
    columns = {
        name: Column(
            *(statuses.count(status) for status in STATUSES),
            partly=sum(name in case.partly and status != MISSING for case, status in zip(cases, statuses, strict=True)),
        )
        for name, statuses in by_name.items()
    }
    read = [sum(status != MISSING for status in row[: len(raters)]) for row in matrix]
    pairs = {
        (a, b): sum(one != MISSING and two != MISSING for one, two in zip(by_name[a], by_name[b], strict=True))
        for place, a in enumerate(raters)
        for b in raters[place + 1 :]
    }
    return LabelDesign(
        label,
        tuple(case.case for case in cases),
        tuple(case.patient for case in cases),
        names,
        matrix,
        columns,
        {number: read.count(number) for number in range(len(raters) + 1)},
        read.count(len(raters)),
        pairs,
    )
