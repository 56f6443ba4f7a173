"""P values of several questions at once: Holm where each must hold, Benjamini-Hochberg where one explores."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import numpy as np
from scipy import stats

from medseg.shapes import FloatArray

Key = TypeVar("Key", bound=Hashable)


def holm(p: Mapping[Key, float]) -> dict[Key, float]:
    """P values adjusted by Holm (1979): for several models and for confirmatory secondary questions.

    A NaN is a question that was asked and could not be answered: it counts among the questions and stays NaN.

    >>> holm({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.06, 'c': 0.06}
    """
    return _adjusted(p, _holm)


def benjamini_hochberg(p: Mapping[Key, float]) -> dict[Key, float]:
    """P values adjusted by Benjamini and Hochberg (1995): for exploratory questions; NaN as in `holm`.

    >>> benjamini_hochberg({"a": 0.01, "b": 0.04, "c": 0.03})
    {'a': 0.03, 'b': 0.04, 'c': 0.04}
    """
    return _adjusted(p, lambda values: np.asarray(stats.false_discovery_control(values, method="bh")))


def _holm(values: FloatArray) -> FloatArray:
    order = np.argsort(values)
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def _adjusted(p: Mapping[Key, float], method: Callable[[FloatArray], FloatArray]) -> dict[Key, float]:
    if not p:
        return {}
    values = np.array(list(p.values()), dtype=np.float64)
    open_ = np.isnan(values)
    adjusted = np.where(open_, np.nan, method(np.where(open_, 1.0, values)))
    return dict(zip(p, adjusted.tolist(), strict=True))
