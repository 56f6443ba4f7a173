"""What Dice a prediction can be expected to have when nobody has drawn a reference, from its own probabilities.

The probabilities of a network promise a Dice of their own, which is mostly too high. On cases that were held out from
training both are known, the promise and the Dice that came true; a line through these pairs corrects the promise, and
how far the cases lie from it says how far a new one may.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from medseg.errors import FileReadError, InputError
from medseg.files import write_text
from medseg.shapes import FloatArray

SCHEMA, FILE = "medseg.expected_dice/1", "expected_dice.json"
LEVEL = 0.9  # of the intervals
LEAST_CASES = 9  # the fewest of which one in ten can be left out at an end: of fewer, 90 % intervals have no bound


def expected_dice(inside: float, total: float, voxels: int) -> float:
    """The Dice that the probabilities of one structure promise its labels: 2 inside / (voxels + total).

    It is the Dice of the labels with the probabilities themselves, near the mean over masks drawn from them if voxels
    were independent and the probabilities right (Soft Dice Confidence: Borges et al., arXiv 2402.10665). Neither is,
    so it ranks cases, and `DiceCalibration` makes a Dice of it. It is that of the network's own labels (the class of
    the highest probability), before any postprocessing. NaN where nothing is labelled and nothing is probable.

    Args:
        inside: sum of the probabilities over the voxels that are labelled.
        total: sum over all voxels.
        voxels: how many are labelled.

    >>> expected_dice(inside=90.0, total=100.0, voxels=100)
    0.9
    """
    return 2 * inside / (voxels + total) if voxels + total > 0 else math.nan


class Expectation(NamedTuple):
    """A Dice, and between which bounds it lies for about 90 of 100 cases."""

    expected: float
    low: float
    high: float


@dataclass(frozen=True)
class DiceCalibration:
    """From the promised Dice of one structure to the one to expect, learned from cases that were held out.

    The expectation is the least-squares line of rising or constant slope, within 0 and 1. The interval is jackknife+
    (Barber et al., Annals of Statistics 49, 2021): the line without each case in turn, moved by how far off it was for
    that case. So it is wider where the promise is unlike all that was seen. Cases count as independent.

    Args:
        raw: what the probabilities of each case promised.
        actual: the Dice that came true, 0 for a structure that was not there.
    """

    raw: tuple[float, ...]
    actual: tuple[float, ...]
    n: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", len(self.raw))
        pairs = [*self.raw, *self.actual]
        if len(self.raw) != len(self.actual) or not all(0 <= value <= 1 for value in pairs):
            raise InputError("pairs of promised and actual Dice are needed, each within 0 and 1",
                             got=f"{len(self.raw)} and {len(self.actual)} values")  # fmt: skip

    @classmethod
    def fit(cls, raw: Iterable[float], actual: Iterable[float]) -> DiceCalibration:
        """The calibration of these pairs; those of which one is NaN (undefined) are left out."""
        pairs = [(float(a), float(b)) for a, b in zip(raw, actual, strict=True) if not (math.isnan(a) or math.isnan(b))]
        return cls(tuple(a for a, _ in pairs), tuple(b for _, b in pairs))

    def __call__(self, raw: float) -> Expectation | None:
        """The Dice to expect; None where it was learned from fewer than 9 cases, or where nothing is promised."""
        if self.n < LEAST_CASES or math.isnan(raw):
            return None
        intercepts, slopes = self._lines
        others = intercepts + slopes * raw
        cut = math.floor(round((1 - LEVEL) * (self.n + 1), 9))  # of the cases, beyond each bound
        low = np.sort(others - self._residuals)[cut - 1]
        high = np.sort(others + self._residuals)[self.n - cut]
        intercept, slope = _line(np.array(self.raw), np.array(self.actual))
        expected = min(max(intercept + slope * raw, 0.0), 1.0)
        return Expectation(expected, max(min(float(low), expected), 0.0), min(max(float(high), expected), 1.0))

    @cached_property
    def _lines(self) -> tuple[FloatArray, FloatArray]:
        """Intercept and slope without each of the cases (n)."""
        raw, actual = np.array(self.raw), np.array(self.actual)
        found = np.array([_line(np.delete(raw, k), np.delete(actual, k)) for k in range(self.n)])
        return found[:, 0], found[:, 1]

    @cached_property
    def _residuals(self) -> FloatArray:
        """How far off each case is from the line of the others (n), always positive."""
        intercepts, slopes = self._lines
        return np.abs(np.array(self.actual) - np.clip(intercepts + slopes * np.array(self.raw), 0, 1))

    @property
    def mean_error(self) -> float:
        """Mean distance of a case from what the others would have expected of it; NaN below 9 cases."""
        return float(self._residuals.mean()) if self.n >= LEAST_CASES else math.nan

    @property
    def as_record(self) -> dict[str, Any]:
        """Plain values by name."""
        return {"n": self.n, "raw": list(self.raw), "actual": list(self.actual)}


def _line(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Intercept and slope of the least-squares line whose slope is not negative."""
    spread = float(((x - x.mean()) ** 2).sum())
    slope = max(float(((x - x.mean()) * (y - y.mean())).sum()) / spread, 0.0) if spread > 0 else 0.0
    return float(y.mean()) - slope * float(x.mean()), slope


def write_calibrations(path: str | Path, structures: Mapping[str, DiceCalibration], **facts: Any) -> None:
    """Writes the calibration of every structure, and plain facts of what they were fitted on."""
    content = {"schema": SCHEMA, "level": LEVEL, **facts,
               "structures": {name: each.as_record for name, each in structures.items()}}  # fmt: skip
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_calibrations(path: str | Path) -> tuple[dict[str, DiceCalibration], dict[str, Any]]:
    """What `write_calibrations` wrote: the calibration of every structure, and the facts.

    Raises:
        FileReadError: the file is missing or damaged.
    """
    path = Path(path)
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
        if found.pop("schema") != SCHEMA or found.pop("level") != LEVEL:
            raise ValueError
        return {name: _read(each) for name, each in found.pop("structures").items()}, found
    except (OSError, ValueError, KeyError, TypeError, AttributeError, InputError) as error:
        raise FileReadError("the calibration of the expected Dice cannot be read", where=path.name,
                            got="no such file" if isinstance(error, FileNotFoundError) else "",
                            do="Run `medseg validate` again.") from None  # fmt: skip


def _read(found: Mapping[str, Sequence[float]]) -> DiceCalibration:
    return DiceCalibration(tuple(map(float, found["raw"])), tuple(map(float, found["actual"])))
