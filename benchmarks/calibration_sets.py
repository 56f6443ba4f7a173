"""Data sets of pairwise scores with a known true difference D, drawn by the thousand.

Reader r of case i errs by u, a pair's score is the case's best score minus both errors and a little noise of the pair;
so D is the mean error of the readers minus that of the model, and its true mean is known exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from medseg.shapes import FloatArray

SHAPES = ("normal", "left-skewed", "rare misses")
BEST, BEST_SD = 0.85, 0.04  # score of a case in which nobody errs, and its spread between cases
ERROR, PAIR_NOISE = 0.03, 0.01
MISSED = 0.05  # share of cases in which the model marks nothing

Draw = Callable[[np.random.Generator, tuple[int, ...]], FloatArray]
READER: dict[str, Draw] = {
    "normal": lambda rng, size: rng.normal(ERROR, 0.02, size),
    "left-skewed": lambda rng, size: rng.normal(ERROR, 0.01, size),
    "rare misses": lambda rng, size: rng.normal(ERROR, 0.02, size),
}
MODEL: dict[str, Draw] = {
    "normal": lambda rng, size: rng.normal(ERROR, 0.04, size),
    "left-skewed": lambda rng, size: rng.exponential(0.05, size) + ERROR - 0.05,  # skewness of D about -1.8
    "rare misses": lambda rng, size: rng.normal(ERROR, 0.02, size),
}


def draw_differences(
    shape: str, readers: int, patients: int, sets: int, rng: np.random.Generator
) -> tuple[FloatArray, float]:
    """D (patients, sets) of data sets with one case a patient, and the true mean of D."""
    size = (patients, sets)
    best = rng.normal(BEST, BEST_SD, size)
    errors = READER[shape](rng, (*size, readers))
    human = _pairs(best, errors, rng)
    model = best[..., None] - errors - MODEL[shape](rng, size)[..., None]
    model += rng.normal(0, PAIR_NOISE, model.shape)
    truth = 0.0
    if shape == "rare misses":
        model[rng.random(size) < MISSED] = 0.0  # nothing marked: Dice 0 with every reader
        truth = -MISSED * (BEST - 2 * ERROR)
    return model.mean(axis=-1) - human.mean(axis=-1), truth


def draw_reader_as_model(readers: int, patients: int, sets: int, rng: np.random.Generator) -> FloatArray:
    """D (patients, sets) where one more reader with the same (exponential) errors plays the model: the truth is 0."""
    size = (patients, sets)
    best = rng.normal(BEST, BEST_SD, size)
    errors = rng.exponential(ERROR, (*size, readers + 1))
    human = _pairs(best, errors[..., 1:], rng)
    model = best[..., None] - errors[..., 1:] - errors[..., :1]
    model += rng.normal(0, PAIR_NOISE, model.shape)
    return model.mean(axis=-1) - human.mean(axis=-1)


def _pairs(best: FloatArray, errors: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Scores (patients, sets, pairs) of all pairs of readers."""
    first, second = np.triu_indices(errors.shape[-1], 1)
    scores = best[..., None] - errors[..., first] - errors[..., second]
    return scores + rng.normal(0, PAIR_NOISE, scores.shape)
