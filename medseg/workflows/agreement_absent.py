"""Labels that nobody marked in a case of bare label maps: looked for and not found, known once all cases were read.

A map of bare values names only what it holds. That its readers also looked for a lesion, and saw none, shows only in
the other cases; without these cases every false positive would be held against too few chances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from medseg.evaluation.missingness import ABSENT
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.scoring import Pair, PairScore, score_masks
from medseg.shapes import BoolArray
from medseg.workflows.agreement_case import CaseResult


def with_absent(result: CaseResult, labels: Sequence[str], raters: Sequence[str], models: Sequence[str]) -> CaseResult:
    """The case with an empty reading of every label of `labels` that nobody marked in it, by all who read it.

    Who said what was looked for (`labelled`, or a mask per structure) did not look for anything else, and is missing.
    """
    lacking = [label for label in labels if label not in result.labels]
    if result.scores is None or not lacking:
        return result
    marked = [name for name in (*raters, *models) if name in result.readers]
    humans = [name for name in marked if name in raters]
    pairs = [*combinations(humans, 2), *((human, name) for name in marked if name in models for human in humans)]
    looked = [name for name in marked if name in result.facts.open_ended]
    added = [score for label in lacking for score in _empty_pairs(label, looked, pairs)]
    old = result.scores
    statuses = {label: dict.fromkeys(looked, ABSENT) for label in lacking}
    return replace(
        result,
        scores=CaseScores(old.case, old.patient, [*old.scores, *added], old.diagonal_mm),
        read=result.read and replace(result.read, statuses={**result.read.statuses, **statuses}),
    )


def _empty_pairs(label: str, names: Sequence[str], pairs: Sequence[Pair]) -> list[PairScore]:
    nothing: BoolArray = np.zeros((1, 1, 1), dtype=bool)
    return score_masks(dict.fromkeys(names, nothing), (1.0, 1.0, 1.0), label=label, pairs=pairs)
