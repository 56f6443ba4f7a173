"""One case after the other: challenged, predicted, mapped back and scored against every reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

from medseg.evaluation.dose_response import Line
from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.evaluation.dose_response_scores import (
    RESAMPLING,
    UNTRANSFORMED,
    DoseScore,
    score_dose,
    score_resampling,
)
from medseg.imaging.labels import LabelMap
from medseg.imaging.volume import Volume
from medseg.workflows.invariance_cache import DoseCache, Scores
from medseg.workflows.invariance_case import ChallengedCase
from medseg.workflows.invariance_models import Judged, check_labels
from medseg.workflows.invariance_settings import Plan, Step

Told = Callable[[str], None]


def score_models(
    case: ChallengedCase,
    models: Sequence[Judged],
    keys: Mapping[str, str | None],
    plan: Plan,
    cached: DoseCache,
    told: Told,
) -> dict[str, list[Line]]:
    """The lines of every model that has a prediction of the untransformed case.

    Args:
        keys: of the finished scores, by model.
        told: called with a note after each step of each model, also of those that were finished before.
    """
    done = {name: cached.read(key) for name, key in keys.items()}
    own = {model.name: _own(case, model, done[model.name], plan) for model in models}
    for step in (None, *plan.steps):
        seen = cache(lambda step=step: case.seen(step, plan.seed))
        for model in models:
            untransformed = own[model.name]
            if untransformed is not None and step not in done[model.name]:
                scores = _score(case, model, step, seen, untransformed)
                if scores is not None:
                    done[model.name][step] = scores
                    cached.append(keys[model.name], step, scores)
            told(f"{case.id}, {'as it is' if step is None else step.folder}")
    return {name: _lines(case, plan, scores) for name, scores in done.items() if None in scores}


def _own(case: ChallengedCase, model: Judged, done: Scores, plan: Plan) -> LabelMap | None:
    """The untransformed prediction; None where there is none or nothing is left to be compared with it."""
    if all(step in done for step in (None, *plan.steps)):
        return None
    labels = model.predict(case.id, None, lambda: case.volume, case.grid)
    if labels is None:
        return None
    check_labels(labels, case.labels, where=f"{model.name}, case {case.id}")
    return case.back(labels, None)


def _score(
    case: ChallengedCase, model: Judged, step: Step | None, seen: Callable[[], Volume], untransformed: LabelMap
) -> list[DoseScore] | None:
    labels = case.labels.foreground if model.structures is None else model.structures
    if step is None or not step.challenge.changes(case.grid, step.dose):
        return score_dose(untransformed, untransformed, case.references, labels)
    way = case.way(step)
    predicted = model.predict(case.id, step, seen, way.canvas)
    if predicted is None:
        return None
    check_labels(predicted, case.labels, where=f"{model.name}, case {case.id}, {step.folder}")
    scores = score_dose(case.back(predicted, step), untransformed, case.references, labels)
    if not way.is_still:
        carried = case.back(way.labels_there(untransformed.labels, case.labels), step)
        scores += score_resampling(carried, untransformed, labels)
    return scores


def _lines(case: ChallengedCase, plan: Plan, scores: Scores) -> list[Line]:
    """The lines of one model: at every transform's identity those of the case as it is."""
    found = []
    for name, doses in plan.doses.items():
        identity = CHALLENGES[name].identity
        for dose in doses:
            kept = scores.get(None if dose == identity else Step(name, dose), [])
            found += [Line(case.id, case.entry.patient, name, dose, score.label, score.reference, score.dice)
                      for score in kept]  # fmt: skip
            if CHALLENGES[name].moves and not any(score.reference == RESAMPLING for score in kept):
                found += [Line(case.id, case.entry.patient, name, dose, score.label, RESAMPLING, score.dice)
                          for score in kept if score.reference == UNTRANSFORMED]  # fmt: skip
    return found
