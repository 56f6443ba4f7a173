"""The Dice of every two readers of a case, structure by structure, from one look at each reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from medseg.evaluation.domain import Domain
from medseg.evaluation.patterns import count_case_patterns
from medseg.evaluation.scoring import boxes_of
from medseg.imaging.regions import Reading
from medseg.shapes import FloatArray


def dice_matrices(
    readings: Mapping[str, Reading], labels: Sequence[str] | None = None, *, threads: int | None = None
) -> dict[str, FloatArray]:
    """Dice (R, R) of every structure in the order of `readings`, where both read.

    Each reading is looked at once, however many pairs there are: voxels are counted by the pattern of who marked them.
    NaN where both are empty or one did not look for the structure; on the diagonal 1 where a reader marked it.

    Args:
        labels: structures, all foreground ones of the first reading by default.
        threads: readings looked at at the same time; by default as many as there are processors.
    """
    found = {}
    names = list(readings)
    boxes = boxes_of(readings, threads)
    for label, patterns in count_case_patterns(readings, labels, domain=Domain(None), boxes=boxes).items():
        both, either = patterns.overlaps
        sizes = both + either
        here = [names.index(name) for name, reading in readings.items() if reading.was_read(label)]
        matrix = np.full((len(names), len(names)), np.nan)
        matrix[np.ix_(here, here)] = np.divide(2 * both, sizes, out=np.full(sizes.shape, np.nan), where=sizes > 0)
        found[label] = matrix
    return found
