"""What `medseg check` found: every case in numbers, and every problem with the way to mend it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

from medseg.shapes import IntTriple, Triple

SCHEMA = "medseg.check/1"
TRUTH = "truth"
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Problem:
    """One fault: `case` is empty when it concerns several cases or the whole data set, `do` says how to mend it."""

    severity: Severity
    case: str
    message: str
    do: str = ""


@dataclass(frozen=True)
class CaseRow:
    """What one case holds; facts of the image are None when it could not be read or was not looked at.

    Args:
        raters: who has read it.
        volumes_ml: for each reading (a rater, or `truth`) the volume of each structure that was looked for in it.
        components: the same with the number of connected components.
        shape, spacing_mm, orientation, field_of_view_mm: of the grid, along the stored axes X, Y, Z.
        hu_range: least and greatest value.
        kernel: reconstruction kernel, "" where the file does not name it.
        tilt_deg: gantry tilt.
        invented: slices (along Z) that the scanner did not make.
        filled: for each reading, the slices of each structure that nobody drew.
    """

    case: str
    patient: str
    group: str | None
    split: str | None
    raters: tuple[str, ...]
    volumes_ml: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    components: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    shape: IntTriple | None = None
    spacing_mm: Triple | None = None
    orientation: str | None = None
    field_of_view_mm: Triple | None = None
    hu_range: tuple[float, float] | None = None
    kernel: str = ""
    tilt_deg: float = 0.0
    invented: tuple[int, ...] = ()
    filled: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckReport:
    """Every case and every problem of a data set; `ok` when no problem is an error; `looked_at` says what was read."""

    labels: Mapping[str, int]
    raters: tuple[str, ...]
    cases: tuple[CaseRow, ...]
    problems: tuple[Problem, ...]
    looked_at: str = "nothing"

    @property
    def ok(self) -> bool:
        return all(problem.severity != "error" for problem in self.problems)

    @property
    def verdict(self) -> str:
        """One line: how many cases, raters, errors and warnings, and what was looked at.

        >>> CheckReport({}, (), (), (Problem("error", "", "no case"),)).verdict
        '0 cases, 0 raters: 1 error, 0 warnings. Looked at: nothing'
        """
        errors = sum(problem.severity == "error" for problem in self.problems)
        counts = (
            {"case": len(self.cases), "rater": len(self.raters)},
            {
                "error": errors,
                "warning": len(self.problems) - errors,
            },
        )
        parts = [", ".join(f"{n} {word}{'' if n == 1 else 's'}" for word, n in group.items()) for group in counts]
        return f"{': '.join(parts)}. Looked at: {self.looked_at}"

    def to_json(self) -> str:
        """The report as JSON text."""
        return json.dumps({"schema": SCHEMA, "ok": self.ok, **asdict(self)}, indent=2)
