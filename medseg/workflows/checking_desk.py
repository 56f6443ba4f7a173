"""The place where one case is examined: its problems are collected, an error of a reader is one of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from medseg.errors import MedsegError
from medseg.io.manifest import CaseEntry, Dataset
from medseg.report.doctor import TRUTH, Problem, Severity

T = TypeVar("T")
OPTION = re.compile(r"`?--(series|tilt|gaps) (\w+)`?")  # of a command; in a data set it is a key of `image:`


@dataclass
class CaseDesk:
    """The case that is being examined, and its problems so far."""

    dataset: Dataset
    entry: CaseEntry
    problems: list[Problem] = field(default_factory=list)

    def attempt(self, read: Callable[[], T]) -> T | None:
        """What `read` gives, or None when it fails: its error is a problem then."""
        try:
            return read()
        except MedsegError as error:
            message = str(error).removesuffix(f". {error.do}")
            self.add("error", message, OPTION.sub(r"`\1: \2` under `image:`", error.do) or "Mend it and check again.")
            return None

    def add(self, severity: Severity, message: str, do: str) -> None:
        self.problems.append(Problem(severity, self.entry.id, message, do))

    def where(self, reading: str) -> str:
        return f"case {self.entry.id}, " + (reading if reading == TRUTH else f"rater {reading}")
