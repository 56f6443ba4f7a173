"""Variance between patients, between cases of a patient, between readers, and what is left, where readers are missing.

The model `y = mean + patient + case + reader + residual`, all but the mean random and normal, is fitted by restricted
maximum likelihood (Patterson and Thompson 1971, Biometrika 58:545). Readers and cases are crossed; a reader who did
not read a case is simply not there. In a full table with one case a patient and no negative variance the answer is
that of the analysis of variance, so ICC(2,1) and ICC(3,1) come out the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.optimize import minimize, root_scalar

from medseg.shapes import FloatArray, IntArray

CUT = float(stats.chi2.ppf(0.95, 1))
LARGEST = 15.0  # of log(1 + variance ratio): readers beyond 3e6 times the residual are all the same
ALMOST = 1e-9
METHOD = (
    "mixed model with random patients, cases and readers by restricted maximum likelihood; 95 % intervals by profile "
    "likelihood, which are approximate where readers are few"
)

Criterion = Callable[[FloatArray], float]


@dataclass(frozen=True)
class Components:
    """Variances in squared units of y, and what they say about a single reading.

    Args:
        mean: of y.
        between: variance of patients and of their cases together.
        reader: variance of readers' systematic differences; 0 for anonymous readers, whose differences are residual.
        residual: everything else, the readers' own repeatability included.
        agreement, agreement_ci95: ICC with reader and residual variance as error: (2,1), or (1,1) if anonymous.
        consistency, consistency_ci95: ICC with residual variance alone as error: (3,1); None if anonymous.
        n_readings, n_cases, n_patients, n_readers: of the readings that entered.
        reason: why there is no interval, or empty.
    """

    mean: float
    between: float
    reader: float
    residual: float
    agreement: float
    agreement_ci95: tuple[float, float] | None
    consistency: float | None
    consistency_ci95: tuple[float, float] | None
    n_readings: int
    n_cases: int
    n_patients: int
    n_readers: int
    reason: str = ""
    method: str = METHOD


def variance_components(
    table: FloatArray, *, patients: Sequence[str] | None = None, anonymous: bool = False
) -> Components | None:
    """The components of a table (N, R) of cases by readers, NaN where a reading is missing.

    Args:
        patients: the patient of each case; by default every case is one.
        anonymous: reader K is not the same person in every case.

    None below two cases, two readers, or without a case that two readers read.
    """
    values = np.asarray(table, dtype=np.float64)
    known = ~np.isnan(values)
    owners = np.arange(len(values)).astype(str) if patients is None else np.asarray(patients, dtype=str)
    cases = int(known.any(axis=1).sum())
    readers = int(known.any(axis=0).sum())
    if cases < 2 or readers < 2 or not (known.sum(axis=1) > 1).any():
        return None
    sizes = int(known.sum()), cases, len(set(owners[known.any(axis=1)])), readers
    spread = [np.ptp(row[seen]) for row, seen in zip(values, known, strict=True) if seen.any()]
    everything = np.ptp(values[known])
    if max(spread) <= 1e-12 * max(1.0, everything):
        return _without_disagreement(values[known], everything, sizes, anonymous)
    return _fit(_Layout.of(values, known, owners), sizes, anonymous)


def _without_disagreement(
    values: FloatArray, everything: float, sizes: tuple[int, int, int, int], anonymous: bool
) -> Components:
    value = 1.0 if everything > 0 else float("nan")
    reason = "the readers never differ" if everything > 0 else "all values are equal"
    between = float(np.var(np.unique(values), ddof=1)) if everything > 0 else 0.0
    consistency = None if anonymous else value
    return Components(float(values.mean()), between, 0.0, 0.0, value, None, consistency, None, *sizes, reason=reason)


def _fit(layout: _Layout, sizes: tuple[int, int, int, int], anonymous: bool) -> Components:
    free = np.array([layout.clustered, True, not anonymous])

    def criterion(logs: FloatArray) -> float:
        ratios = np.zeros(3)
        ratios[free] = np.expm1(logs)
        return layout.evaluate(ratios)[0]

    logs, best = _lowest(criterion, int(free.sum()))
    ratios = np.zeros(3)
    ratios[free] = np.expm1(logs)
    _, mean, residual = layout.evaluate(ratios)
    between, reader = float(ratios[0] + ratios[1]), float(ratios[2])
    found = []
    for counted in (True, False):  # whether the readers' variance is error
        value = between / (1 + between + (reader if counted else 0.0))
        profile = _Profile(layout, free, counted)
        found.append((value, _interval(profile, value, best)))
    (agreement, first), (consistency, second) = found
    return Components(
        mean,
        between * residual,
        reader * residual,
        residual,
        agreement,
        first,
        None if anonymous else consistency,
        None if anonymous else second,
        *sizes,
        reason="" if first else "the profile likelihood has no end on both sides",
    )


def _interval(profile: _Profile, value: float, best: float) -> tuple[float, float] | None:
    """Where twice the log likelihood has fallen by the 95 % point of chi squared with one degree of freedom."""

    def excess(correlation: float) -> float:
        return profile.lowest(correlation) - best - CUT

    if excess(value) > 0:  # the best of the rest was not found: no interval is better than a wrong one
        return None
    low = 0.0
    if value > ALMOST and excess(0.0) > 0:
        low = float(root_scalar(excess, bracket=(0.0, value), xtol=1e-6).root)
    top = 1 - 1e-6
    if value >= top or excess(top) <= 0:
        return None
    return low, float(root_scalar(excess, bracket=(value, top), xtol=1e-6).root)


def _lowest(criterion: Criterion, variables: int) -> tuple[FloatArray, float]:
    """Where the criterion is smallest, over `variables` logarithms from 0 to LARGEST."""
    found = [
        minimize(criterion, np.full(variables, start), method="L-BFGS-B", bounds=[(0.0, LARGEST)] * variables)
        for start in (0.3, 2.0, 6.0)
    ]
    best = min(found, key=lambda result: result.fun)
    polished = minimize(
        criterion, best.x, method="Nelder-Mead", bounds=[(0.0, LARGEST)] * variables,
        options={"xatol": 1e-9, "fatol": 1e-11, "maxiter": 600 * variables},
    )  # fmt: skip
    best = min((best, polished), key=lambda result: result.fun)
    return np.asarray(best.x, dtype=np.float64), float(best.fun)


@dataclass(frozen=True)
class _Profile:
    """The criterion at a given correlation, smallest over everything else."""

    layout: _Layout
    free: np.ndarray
    reader_is_error: bool

    def lowest(self, correlation: float) -> float:
        variables = int(self.free[0]) + int(self.free[2])

        def criterion(logs: FloatArray) -> float:
            return self.layout.evaluate(self._ratios(correlation, logs))[0]

        if not variables:
            return criterion(np.zeros(0))
        ends = ([(0.0, 1.0)] if self.free[0] else []) + ([(0.0, LARGEST)] if self.free[2] else [])
        starts = (np.array([0.5 * end[1] if end[1] == 1.0 else level for end in ends]) for level in (0.1, 1.5, 5.0))
        return min(float(minimize(criterion, start, method="L-BFGS-B", bounds=ends).fun) for start in starts)

    def _ratios(self, correlation: float, logs: FloatArray) -> FloatArray:
        """Variance ratios from the correlation, the patients' share of what lies between, and the readers' ratio."""
        reader = float(np.expm1(logs[-1])) if self.free[2] else 0.0
        share = float(logs[0]) if self.free[0] else 0.0
        between = correlation * (1 + (reader if self.reader_is_error else 0.0)) / (1 - correlation)
        return np.array([share * between, (1 - share) * between, reader])


@dataclass(frozen=True)
class _Layout:
    """Sums of a crossed table, from which the restricted likelihood is a few small matrices whatever N is.

    Args:
        n: readings.
        centre: what was taken off y, for its digits.
        within: (2 + R, 2 + R) products of the columns `1, y, reader 1 .. R`, each less its mean in its case.
        sizes: (C,) readings of each case.
        means: (C, 2 + R) means of the columns in each case.
        owner: (C,) number of each case's patient.
        patients: how many patients.
    """

    n: int
    centre: float
    within: FloatArray
    sizes: FloatArray
    means: FloatArray
    owner: IntArray
    patients: int

    @classmethod
    def of(cls, values: FloatArray, known: np.ndarray, owners: np.ndarray) -> _Layout:
        centre = float(values[known].mean())
        row, reader = np.nonzero(known)
        seen, case = np.unique(row, return_inverse=True)
        dummies = np.eye(values.shape[1])[:, known.any(axis=0)][reader]
        columns = np.column_stack([np.ones(len(row)), values[known] - centre, dummies])
        sizes = np.bincount(case).astype(np.float64)
        means = _sums(columns, case, len(seen)) / sizes[:, None]
        apart = columns - means[case]
        names, owner = np.unique(owners[seen], return_inverse=True)
        return cls(len(row), centre, apart.T @ apart, sizes, means, owner, len(names))

    @property
    def clustered(self) -> bool:
        return self.patients < len(self.owner)

    def evaluate(self, ratios: FloatArray) -> tuple[float, float, float]:
        """Minus twice the restricted log likelihood but for a constant, the mean of y and the residual variance.

        The inverse of the covariance is never made: what varies within a case, between the cases of a patient and
        between patients each has a weight of its own; then come the readers' columns (Woodbury).

        Args:
            ratios: variance of patients, cases and readers over that of the residual, at least 0.
        """
        patient, case, reader = ratios
        spread = 1 + case * self.sizes
        weights = self.sizes / spread  # of a case's mean
        total = _sums(weights[:, None], self.owner, self.patients)[:, 0]
        centres = _sums(weights[:, None] * self.means, self.owner, self.patients) / total[:, None]
        apart = self.means - centres[self.owner]
        product = self.within + (apart * weights[:, None]).T @ apart
        product += (centres * (total / (1 + patient * total))[:, None]).T @ centres
        determinant = float(np.log(spread).sum() + np.log1p(patient * total).sum())
        small = product[:2, :2]
        if reader > 0:
            across, own = product[:2, 2:], product[2:, 2:]
            inflated = np.eye(len(own)) + reader * own
            small = small - reader * across @ np.linalg.solve(inflated, across.T)
            determinant += float(np.linalg.slogdet(inflated)[1])
        weight, moment, square = small[0, 0], small[0, 1], small[1, 1]
        residual = max((square - moment**2 / weight) / (self.n - 1), np.finfo(float).tiny)
        value = (self.n - 1) * np.log(residual) + determinant + np.log(weight)
        return float(value), self.centre + float(moment / weight), float(residual)


def _sums(rows: FloatArray, group: IntArray, groups: int) -> FloatArray:
    """Sums (G, K) of the rows (N, K) of each group."""
    found = np.zeros((groups, rows.shape[1]))
    np.add.at(found, group, rows)
    return found
