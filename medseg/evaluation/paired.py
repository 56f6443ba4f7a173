"""Per case: how close readers are to each other, how close the model is to them, and the difference D of the two.

D is signed so that positive favours the model for every metric: model-human minus human-human for scores, human-human
minus model-human for distances.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medseg.evaluation.metrics import METRICS
from medseg.evaluation.scoring import PairScore

NAN = float("nan")
# Equal outlines of this size are no chance: on the coarsest usual grid (4 x 4 x 5 mm) they hold 60 voxels, most of them
# at the border, where two people would have to choose alike every time. A lesion of a few voxels may well be equal.
CERTAIN_ML = 5.0
CERTAIN_SHARE = 0.5  # of the comparisons that both marked; a copied reader is equal in all, whatever the size


@dataclass(frozen=True)
class CaseScores:
    """All pairs of one case.

    Args:
        case, patient: ids.
        scores: one entry per label and pair, whatever pairs were scored.
        diagonal_mm: length of the image's diagonal, for infinite distances in plain means.
    """

    case: str
    patient: str
    scores: Sequence[PairScore]
    diagonal_mm: float
    _by_label: dict[str, list[PairScore]] = field(default_factory=dict, repr=False)

    def of(self, label: str) -> list[PairScore]:
        """The pairs of one structure."""
        if not self._by_label:
            for score in self.scores:
                self._by_label.setdefault(score.label, []).append(score)
        return self._by_label.get(label, [])

    def presence(self, label: str, names: Iterable[str]) -> dict[str, bool]:
        """Whether each of `names` marked the structure; who did not read it is absent from the answer."""
        found: dict[str, bool] = {}
        wanted = set(names)
        for score in self.of(label):
            for name, volume in ((score.a, score.volume_a_ml), (score.b, score.volume_b_ml)):
                if name in wanted and not np.isnan(volume):
                    found[name] = found.get(name, False) or volume > 0
        return found


@dataclass(frozen=True)
class CaseAgreement:
    """One line of `cases.csv`: means over the pairs of a case, NaN where there is none; `difference` is D."""

    case: str
    patient: str
    label: str
    metric: str
    human_human: float
    model_human: float
    difference: float
    everyone_marked: bool


def case_agreement(
    case: CaseScores, label: str, metric: str, raters: Sequence[str], model: str | None
) -> CaseAgreement | None:
    """The agreement in one case, or None when nobody marked the structure or nobody can be compared.

    A distance needs a structure in every mask: where a reader or the model left it out, its means are NaN.
    """
    marked = case.presence(label, [*raters, *([model] if model else [])])
    if not any(marked.values()):
        return None
    pairs = [(kind, s) for s in case.of(label) if (kind := kind_of(s, raters, model)) and not s.is_missing]
    # where only some slices were read by both, a pair may be empty although both marked the structure elsewhere
    everyone = all(marked.values()) and not any(score.flag for _, score in pairs)
    human, ours = [], []
    if everyone or not METRICS[metric].is_distance:
        human = [score.values[metric] for kind, score in pairs if kind == "human-human"]
        ours = [score.values[metric] for kind, score in pairs if kind == "model-human"]
    human_human = float(np.mean(human)) if human else NAN
    model_human = float(np.mean(ours)) if ours else NAN
    sign = -1.0 if METRICS[metric].is_distance else 1.0
    difference = sign * (model_human - human_human)
    return CaseAgreement(case.case, case.patient, label, metric, human_human, model_human, difference, everyone)


def kind_of(score: PairScore, raters: Sequence[str], model: str | None) -> str:
    """`human-human`, `model-human`, or nothing for a pair with a consensus or a truth."""
    humans = (score.a in raters) + (score.b in raters)
    if humans == 2:
        return "human-human"
    return "model-human" if humans == 1 and model is not None and model in (score.a, score.b) else ""


def entering(rows: Sequence[CaseAgreement], *, with_model: bool, with_readers: bool) -> list[CaseAgreement]:
    """The cases over which means are printed: those that enter D, so that the printed means subtract to it."""
    return [
        row
        for row in rows
        if not (with_model and np.isnan(row.model_human)) and not (with_readers and np.isnan(row.human_human))
    ]


def identical_readings(
    cases: Sequence[CaseScores], raters: Sequence[str], model: str | None
) -> Mapping[tuple[str, str], tuple[int, int]]:
    """Pairs of names with equal non-empty outlines: (how often, out of how many both marked).

    Only where chance is no explanation: an equal outline of at least 5 ml, or at least half of all equal.
    """
    equal: dict[tuple[str, str], list[float]] = {}
    for score in (score for case in cases for score in case.scores if kind_of(score, raters, model)):
        if score.flag == "":
            count = equal.setdefault((score.a, score.b), [0, 0, 0.0])
            count[1] += 1
            if score.values["dice"] == 1.0:
                count[0] += 1
                count[2] = max(count[2], score.volume_a_ml)
    return {
        pair: (int(same), int(both))
        for pair, (same, both, largest_ml) in equal.items()
        if same and (largest_ml >= CERTAIN_ML or same >= CERTAIN_SHARE * both)
    }
