"""Intraclass correlation of log volumes: how much of what separates readings is the patient, not the reader.

Six forms after Shrout and Fleiss 1979 (Psychol Bull 86:420) with the F-based 95 % intervals of McGraw and Wong 1996
(Psychol Methods 1:30). (1,1): readers differ from case to case; (2,1): the same readers, a sample of readers, their
systematic differences count; (3,1): these readers only, systematic differences do not count; (., k): of the mean of
all k. An ICC depends on how different the patients are, so the coefficient of variation stands beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from medseg.evaluation.smooth import SMOOTH_RULE, smooth_interval
from medseg.evaluation.statistics import CONFIDENCE, DRAWS
from medseg.shapes import FloatArray

UPPER = (1 + CONFIDENCE) / 2
FORMS = ("icc11", "icc21", "icc31", "icc1k", "icc2k", "icc3k")
ONE_WAY = ("icc11", "icc1k")
RULE = "natural logarithm of the volume in ml, over the cases that every reader marked"
F_RULE = "F distribution (McGraw and Wong 1996)"


@dataclass(frozen=True)
class MeanSquares:
    """Two-way analysis of variance of a full table: cases, readers, residual; `within` is all that is not cases."""

    cases: float
    readers: float
    error: float
    within: float


@dataclass(frozen=True)
class Icc:
    """One form: at most 1, may be negative; NaN without any variance. `ci95` None: no disagreement, or too few."""

    value: float
    ci95: tuple[float, float] | None


@dataclass(frozen=True)
class IccTable:
    """All forms that make sense.

    Args:
        forms: key of FORMS to its value; of anonymous readers only the one-way forms, (1,1) and (1,k).
        mean_squares: what they are made of.
        n_cases, n_patients, k: full rows, and readers.
        left_out: cases that not every reader marked.
        interval_rule: by F, or by drawing patients where a patient has several cases.
    """

    forms: dict[str, Icc]
    mean_squares: MeanSquares
    n_cases: int
    n_patients: int
    k: int
    left_out: int
    interval_rule: str
    rule: str = RULE


def icc(
    table: FloatArray,
    *,
    patients: Sequence[str] | None = None,
    anonymous: bool = False,
    draws: int = DRAWS,
    seed: int = 0,
) -> IccTable | None:
    """The intraclass correlations of a table (N, R) of cases by readers; rows with a NaN are left out and counted.

    Args:
        patients: the patient of each case. Where one has several, cases are not independent, the F intervals would
            be too narrow, and patients are drawn instead.
        anonymous: reader K is not the same person in every case: only the one-way forms mean anything.

    None below two full rows or two readers.

    >>> ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    >>> found = icc(np.array(ratings)).forms  # Shrout and Fleiss 1979
    >>> [round(found[form].value, 5) for form in ("icc11", "icc21", "icc31")]
    [0.16574, 0.28976, 0.71484]
    """
    values = np.asarray(table, dtype=np.float64)
    full = np.asarray(~np.isnan(values).any(axis=1))
    rows = values[full]
    n, k = rows.shape
    if n < 2 or k < 2:
        return None
    names = np.arange(len(values)).astype(str).tolist() if patients is None else list(patients)
    owners = [name for name, keep in zip(names, full.tolist(), strict=True) if keep]
    squares = mean_squares(rows)
    estimates = {form: float(value) for form, value in _forms(_array(squares), n, k).items()}
    found = {form: value if np.isfinite(value) else np.nan for form, value in estimates.items()}
    clustered = len(set(owners)) < n
    if clustered:
        intervals = _drawn_intervals(rows, owners, draws, seed)
    else:
        intervals = _f_intervals(squares, n, k)
    forms = {
        form: Icc(found[form], None if np.isnan(found[form]) else intervals[form])
        for form in (ONE_WAY if anonymous else FORMS)
    }
    return IccTable(forms, squares, n, len(set(owners)), k, int((~full).sum()), SMOOTH_RULE if clustered else F_RULE)


def mean_squares(rows: FloatArray) -> MeanSquares:
    """The analysis of variance of a full table (N, R), N and R at least 2; rounding below zero is zero."""
    n, k = rows.shape
    centred = rows - rows.mean()  # values far from 0 would lose their small differences
    by_case, by_reader = centred.mean(axis=1), centred.mean(axis=0)
    residual = centred - by_case[:, None] - by_reader[None, :]
    rounding = 1e-20 * float(np.sum(centred**2))  # equal cases or readers leave the rounding of their means
    cases, readers, error = (
        0.0 if total <= rounding else total
        for total in (float(k * np.sum(by_case**2)), float(n * np.sum(by_reader**2)), float(np.sum(residual**2)))
    )
    return MeanSquares(
        cases / (n - 1),
        readers / (k - 1),
        error / ((n - 1) * (k - 1)),
        (readers + error) / (n * (k - 1)),
    )


def _forms(squares: FloatArray, n: int | FloatArray, k: int) -> dict[str, FloatArray]:
    """The six point estimates (...) from mean squares (..., 4) in the order of `MeanSquares`."""
    rows, cols, error, within = np.moveaxis(squares, -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "icc11": np.divide(rows - within, rows + (k - 1) * within),
            "icc21": np.divide(rows - error, rows + (k - 1) * error + k * (cols - error) / n),
            "icc31": np.divide(rows - error, rows + (k - 1) * error),
            "icc1k": np.divide(rows - within, rows),
            "icc2k": np.divide(rows - error, rows + (cols - error) / n),
            "icc3k": np.divide(rows - error, rows),
        }


def _f_intervals(squares: MeanSquares, n: int, k: int) -> dict[str, tuple[float, float] | None]:
    """McGraw and Wong's intervals, table 7; None where nothing disagrees or nothing differs."""
    found: dict[str, tuple[float, float] | None] = dict.fromkeys(FORMS)
    for single, mean, noise, freedom in (
        ("icc11", "icc1k", squares.within, n * (k - 1)),
        ("icc31", "icc3k", squares.error, (n - 1) * (k - 1)),
    ):
        if _tiny(noise, squares) or _tiny(squares.cases, squares):
            continue
        ratio = squares.cases / noise
        low = ratio / stats.f.ppf(UPPER, n - 1, freedom)
        high = ratio * stats.f.ppf(UPPER, freedom, n - 1)
        found[single] = float((low - 1) / (low + k - 1)), float((high - 1) / (high + k - 1))
        found[mean] = float(1 - 1 / low), float(1 - 1 / high)
    if not _tiny(squares.error, squares) and not _tiny(squares.cases, squares):
        low, high = _agreement_interval(squares, n, k)
        found["icc21"] = low, high
        found["icc2k"] = k * low / (1 + (k - 1) * low), k * high / (1 + (k - 1) * high)
    return found


def _agreement_interval(squares: MeanSquares, n: int, k: int) -> tuple[float, float]:
    """Interval of ICC(2,1): Satterthwaite's degrees of freedom for readers and residual together."""
    rows, cols, error = squares.cases, squares.readers, squares.error
    value = float(_forms(_array(squares), n, k)["icc21"])
    a = k * value / (n * (1 - value))
    b = 1 + k * value * (n - 1) / (n * (1 - value))
    parts = (a * cols) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * cols + b * error) ** 2 / parts
    both = k * cols + (k * n - k - n) * error
    down, up = stats.f.ppf(UPPER, n - 1, freedom), stats.f.ppf(UPPER, freedom, n - 1)
    low = n * (rows - down * error) / (down * both + n * rows)
    high = n * (up * rows - error) / (both + n * up * rows)
    return float(low), float(high)


def _array(squares: MeanSquares) -> FloatArray:
    return np.array([squares.cases, squares.readers, squares.error, squares.within])


def _tiny(value: float, squares: MeanSquares) -> bool:
    return value <= 1e-20 * max(squares.cases, squares.readers, squares.error)


def _drawn_intervals(
    rows: FloatArray, owners: Sequence[str], draws: int, seed: int
) -> dict[str, tuple[float, float] | None]:
    """Intervals over drawn patients, on the scale `log((1 + (k - 1) r) / (1 - r))` that has no bounds."""
    centred = rows - rows.mean()
    k = rows.shape[1]
    means = centred.mean(axis=1)
    per_case = np.column_stack([np.ones(len(rows)), means**2, np.sum(centred**2, axis=1), centred])
    names = list(dict.fromkeys(owners))
    sums = np.zeros((len(names), per_case.shape[1]))
    np.add.at(sums, [names.index(owner) for owner in owners], per_case)
    found: dict[str, tuple[float, float] | None] = dict.fromkeys(FORMS)
    for form in FORMS:
        shape = 1 if form.endswith("k") else k

        def stretched(mean: FloatArray, form: str = form, shape: int = shape) -> FloatArray:
            value = _form_of_sums(mean * len(names), form, k)
            return np.log1p((shape - 1) * value) - np.log1p(-value)

        interval = smooth_interval(sums, stretched, draws=draws, seed=seed)
        if interval is not None:
            low, high = (float(np.expm1(z) / (np.exp(z) + shape - 1)) for z in interval)
            found[form] = low, high
    return found


def _form_of_sums(sums: FloatArray, form: str, k: int) -> FloatArray:
    """One form (...) from sums over cases (..., 3 + k): number, squared case means, squares, readers' values."""
    n = sums[..., 0]
    by_reader = sums[..., 3:] / n[..., None]
    grand = n * by_reader.mean(axis=-1) ** 2
    cases = k * (sums[..., 1] - grand)
    within = sums[..., 2] - k * sums[..., 1]
    readers = n * np.sum(by_reader**2, axis=-1) - k * grand
    error = (within - readers) / ((n - 1) * (k - 1))
    squares = np.stack([cases / (n - 1), readers / (k - 1), error, within / (n * (k - 1))], axis=-1)
    return _forms(squares, n, k)[form]
