"""Every case of a comparison scored once: pairs, voxels, damaged outlines; over cores, a finished case never again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from medseg.evaluation.agreement import TRUTH
from medseg.evaluation.damaged import damaged_reading
from medseg.evaluation.degrade import Damage
from medseg.evaluation.instances import LesionPair, case_lesions
from medseg.evaluation.lesion_agreement import CaseLesions
from medseg.evaluation.missingness import ReadCase as CaseRead
from medseg.evaluation.missingness import read_case
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.repeats import repeated_pairs
from medseg.evaluation.scoring import Boxes, Pair, Tolerance, others_of, score_case
from medseg.evaluation.surface_rules import MEDSEG, SurfaceRule
from medseg.evaluation.voxel_agreement import VoxelAgreement, score_voxels
from medseg.imaging.regions import Reading
from medseg.workflows.agreement_absent import with_absent
from medseg.workflows.agreement_cache import ScoreCache, case_key
from medseg.workflows.agreement_case import CaseResult
from medseg.workflows.agreement_soft import probability_scores, sample_scores
from medseg.workflows.fleet import SERIAL, Fleet, ready
from medseg.workflows.fleet_outcomes import results_of
from medseg.workflows.readings import ReadCase, Readings

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Scoring:
    """What is measured in every case.

    Args:
        tolerance_mm: of NSD, one for all labels or one by label.
        damages: done to the outlines of `player` and scored as outlines of their own.
        player: whose outlines are damaged, a model or a reader.
        lesions: labels whose connected components are matched one to one as lesions; None for all.
        fleet: who scores; results do not depend on it.
        seed: of damage that is drawn.
        cache: where finished cases lie, or None.
        rule: whose definition of a surface.
    """

    tolerance_mm: Tolerance = 2.0
    damages: Sequence[Damage] = ()
    player: str = ""
    lesions: Sequence[str] | None = ()
    fleet: Fleet = SERIAL
    seed: int = 0
    cache: ScoreCache | None = None
    rule: SurfaceRule = MEDSEG

    @property
    def damaged(self) -> dict[str, str]:
        """Damage in words to the name under which the damaged outlines are scored."""
        return {str(damage): f"{self.player}, {damage}" for damage in self.damages}

    @property
    def asked(self) -> dict[str, Any]:
        """Everything that the scores of a case depend on besides its masks."""
        tolerance = self.tolerance_mm
        return {
            "tolerance": dict(tolerance) if isinstance(tolerance, Mapping) else tolerance,
            "damaged": self.damaged,
            "lesions": None if self.lesions is None else list(self.lesions),
            "seed": self.seed,
            "surface": self.rule.as_dict(),
        }


@dataclass(frozen=True)
class Scored:
    """All cases scored: the labels met, the cases, and who did not read how many."""

    labels: tuple[str, ...]
    results: tuple[CaseResult, ...]
    missing: Mapping[str, int]
    judged: tuple[CaseScores, ...] | None = None

    @property
    def cases(self) -> tuple[CaseScores, ...]:
        """The pairs of every case, at tolerances from the readers where those were asked for."""
        return (
            self.judged
            if self.judged is not None
            else tuple(result.scores for result in self.results if result.scores is not None)
        )

    @property
    def read(self) -> tuple[CaseRead, ...]:
        """Who read what, of every case that anybody read."""
        return tuple(result.read for result in self.results if result.read is not None)

    def lesions(self, label: str) -> list[CaseLesions]:
        """The cases in which lesions of this label were matched."""
        return [
            CaseLesions(result.scores.case, result.scores.patient, result.lesions)
            for result in self.results
            if result.scores and any(pair.label == label for pair in result.lesions)
        ]

    def soft(self, label: str, model: str) -> tuple[list[Mapping[str, Any]], list[str]]:
        """What a model's probabilities of one label are worth, case by case, and the patients."""
        found = [(r.soft[label][model], r.scores.patient) for r in self.results
                 if r.scores and model in r.soft.get(label, {})]  # fmt: skip
        return [one for one, _ in found], [patient for _, patient in found]

    def samples(self, label: str, model: str) -> tuple[list[Mapping[str, Any]], list[str]]:
        """How a model's samples of one label vary beside the readers, case by case, and the patients."""
        found = [(r.samples[label][model], r.scores.patient) for r in self.results
                 if r.scores and model in r.samples.get(label, {})]  # fmt: skip
        return [one for one, _ in found], [patient for _, patient in found]

    def voxels(self, label: str) -> tuple[list[VoxelAgreement], list[str]]:
        """Voxel agreement of one label, case by case, and the patients."""
        found = [(r.voxels[label], r.scores.patient) for r in self.results if r.scores and label in r.voxels]
        return [one for one, _ in found], [patient for _, patient in found]


def models_of(source: Readings) -> tuple[str, ...]:
    """Names of the models, in their order; empty when there are only readers."""
    return source.models


def repeats_of(source: Readings, present: Collection[str] | None = None) -> dict[str, list[str]]:
    """By rater the names of all of that rater's readings, of those who read a case again."""
    raters = [rater for rater in source.repeats.values() if rater in source.raters]
    found = {
        rater: [rater, *(name for name, owner in source.repeats.items() if owner == rater)]
        for rater in dict.fromkeys(raters)
    }
    if present is None:
        return found
    return {rater: [name for name in names if name in present] for rater, names in found.items()}


def score_readings(source: Readings, scoring: Scoring, on_case: Progress | None = None) -> Scored:
    """Every pair of every case; as many cases are held in memory as the fleet has workers.

    A case that cannot be read or scored does not keep the others from being scored, and so from the cache.

    Raises:
        MedsegError: of the first case that failed, in the order of the cases.
    """
    outcomes = scoring.fleet.map(
        ready(CaseScorer(source, scoring)),
        list(source.cases),
        on_done=None if on_case is None else lambda _, done, total: on_case(done, total),
        name=lambda case_id: f"case {case_id}",
    )
    results = results_of(outcomes)
    labels = dict.fromkeys(source.labels or ())
    for result in results:
        labels |= dict.fromkeys(result.labels)
    missing = {
        name: sum(name not in result.readers for result in results) for name in (*source.raters, *models_of(source))
    }
    order = list(labels) if source.labels else sorted(labels, key=int)
    whole = [with_absent(result, order, source.raters, models_of(source)) for result in results]
    return Scored(tuple(order), tuple(whole), missing)


@dataclass(frozen=True)
class CaseScorer:
    """Reads one case and scores it; can be handed to another process."""

    source: Readings
    scoring: Scoring

    def __call__(self, case_id: str) -> CaseResult:
        return _scored(self.source.read(case_id), self.source, self.scoring)


def _scored(case: ReadCase, source: Readings, scoring: Scoring) -> CaseResult:
    if not case.readings:
        return CaseResult((), (), None)
    key = case_key(case, source.raters, models_of(source), scoring.asked) if scoring.cache else ""
    if scoring.cache and (found := scoring.cache.read(key)) is not None:
        return replace(found, facts=case.facts, key=key)
    labels = source.labels or _values_in(case)
    raters = {name: case.readings[name] for name in source.raters if name in case.readings}
    boxes = {name: reading.boxes() for name, reading in case.readings.items()}
    result = CaseResult(
        tuple(labels),
        tuple(case.readings),
        _pairs_scored(case, source, labels, scoring, boxes),
        score_voxels(raters, labels, boxes=boxes) if len(raters) > 1 else {},
        read_case(case.id, case.patient, case.readings, labels, boxes=boxes),
        _lesions(case, source, labels, scoring),
        probability_scores(case, source.raters, labels),
        case.facts,
        key,
        sample_scores(case, source.raters, labels),
    )
    if scoring.cache:
        scoring.cache.write(result)
    return result


def _lesions(case: ReadCase, source: Readings, labels: Sequence[str], scoring: Scoring) -> tuple[LesionPair, ...]:
    wanted = [label for label in labels if scoring.lesions is None or label in scoring.lesions]
    if not wanted:
        return ()
    raters = [rater for rater in source.raters if rater in case.readings]
    models = [model for model in models_of(source) if model in case.readings]
    pairs = [*combinations(raters, 2), *((rater, model) for model in models for rater in raters)]
    return tuple(case_lesions(case.readings, labels=wanted, pairs=pairs))


def _pairs_scored(
    case: ReadCase, source: Readings, labels: Sequence[str], scoring: Scoring, boxes: Boxes
) -> CaseScores:
    raters = [rater for rater in source.raters if rater in case.readings]
    models = [model for model in models_of(source) if model in case.readings]
    readings: dict[str, Reading] = dict(case.readings)
    pairs: list[Pair] = [*combinations(raters, 2), *((rater, model) for model in models for rater in raters)]
    if len(raters) > 1:
        pairs += [(others_of(rater), name) for rater in raters for name in (rater, *models)]
    if case.truth is not None:
        readings[TRUTH] = case.truth
        pairs += [(TRUTH, name) for name in (*raters, *models)]
    readings |= case.repeats
    pairs += repeated_pairs(repeats_of(source, readings))
    if scoring.player in case.readings:
        for damage, name in zip(scoring.damages, scoring.damaged.values(), strict=True):
            readings[name] = damaged_reading(
                case.readings, scoring.player, raters, labels, damage, seed=scoring.seed, where=f"case {case.id}"
            )
            pairs += [(rater, name) for rater in raters if rater != scoring.player]
    scores = score_case(
        readings,
        labels=labels,
        tolerance_mm=scoring.tolerance_mm,
        pairs=pairs,
        leave_one_out=raters,
        rule=scoring.rule,
        keep_gaps=True,
        threads=1 if scoring.fleet.most > 1 else None,
        boxes=boxes,
    )
    return CaseScores(case.id, case.patient, scores, case.diagonal_mm)


def _values_in(case: ReadCase) -> tuple[str, ...]:
    """The labels of a bare case, by value; one that only a truth holds was missed by everybody."""
    readings = [*case.readings.values(), *([] if case.truth is None else [case.truth])]
    names = {name for reading in readings for name in reading.label_set.foreground}
    return tuple(sorted(names, key=int))
