"""The worst cases: where the first model lost most, predicted once more to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean
from typing import Any

from medseg.evaluation.dose_response import Line
from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.evaluation.dose_response_scores import ALL, EXPERTS, TRUTH
from medseg.evaluation.dose_response_way import partner
from medseg.imaging.resample import resample_nearest
from medseg.report.invariance_pictures import WorstCase, slice_overlay
from medseg.report.invariance_wording import dose_phrase
from medseg.shapes import BoolArray
from medseg.workflows.invariance_case import ChallengedCase
from medseg.workflows.invariance_models import Judged
from medseg.workflows.invariance_result import Tested
from medseg.workflows.invariance_settings import Step
from medseg.workflows.telling import Progress

MOST_SHOWN = 6


@dataclass(frozen=True)
class Loss:
    """One structure of one case at one dose."""

    step: Step
    case: str
    label: str
    before: float
    after: float


def worst_pictures(
    result: Mapping[str, Any], tested: Tested, model: Judged, *, images: bool, progress: Progress
) -> list[WorstCase]:
    """Before and after of the largest losses, one for each kind of transform."""
    found = worst_losses(result, tested)
    entries = {entry.id: entry for entry in tested.cases}
    drawn = []
    for done, loss in enumerate(found, 1):
        case = ChallengedCase(tested.dataset, entries[loss.case], tested.labels)
        drawn += _picture(case, loss, model, tested.plan.seed, images)
        progress("Drawing the worst cases", done, len(found), loss.case)
    return drawn


def worst_losses(result: Mapping[str, Any], tested: Tested) -> list[Loss]:
    """The largest loss of a single structure, for the transforms whose mean falls most.

    A transform is looked at where its mean breaks, or at its worst dose; rotations about three axes are one kind.
    """
    main, model = result["design"]["main_reference"], tested.models[0]
    references = tested.dataset.raters if main == EXPERTS else (main,)
    worst: dict[str, tuple[float, Loss]] = {}
    for name in tested.plan.doses:
        for dose, drop in _looked_at(result["results"][model], name, main):
            loss = _largest(tested.lines[model], Step(name, dose), references)
            kind = name.removesuffix("_x").removesuffix("_y").removesuffix("_z")
            if loss is not None and drop > worst.get(kind, (0.0, loss))[0]:
                worst[kind] = (drop, loss)
    ranked = sorted(worst.values(), key=lambda pair: -pair[0])
    return [loss for _, loss in ranked[:MOST_SHOWN]]


def _looked_at(found: Mapping[str, Any], name: str, main: str) -> list[tuple[float, float]]:
    """Doses and their mean drops: those at which a side breaks, else the one that falls most."""
    points = found["curves"].get(name, {}).get(ALL, {}).get(main, [])
    drops = {point["dose"]: point["drop"]["mean"] or 0.0 for point in points}
    broken = [side["first_dose"] for side in found["breaks"].get(name, {}).get(ALL, {}).get(main, [])]
    worst = [max(drops, key=lambda dose: drops[dose])] if drops else []
    kept = [dose for dose in broken if dose is not None] or worst
    return [(dose, drops.get(dose, 0.0)) for dose in kept]


def _largest(lines: Sequence[Line], step: Step, references: Sequence[str]) -> Loss | None:
    """The structure and case that lost most; several references of a case count by their mean."""
    identity = CHALLENGES[step.transform].identity
    dice: dict[tuple[float, str, str], list[float]] = {}
    for line in lines:
        if line.transform == step.transform and line.reference in references and line.dice is not None:
            dice.setdefault((line.dose, line.case, line.label), []).append(line.dice)
    losses = [Loss(step, case, label, fmean(dice[identity, case, label]), fmean(values))
              for (dose, case, label), values in dice.items()
              if dose == step.dose and (identity, case, label) in dice]  # fmt: skip
    return max(losses, key=lambda loss: loss.before - loss.after, default=None)


def _picture(case: ChallengedCase, loss: Loss, model: Judged, seed: int, images: bool) -> list[WorstCase]:
    way = case.way(loss.step)
    seen = cache(lambda: case.seen(loss.step, seed))
    own = model.predict(case.id, None, lambda: case.volume, case.grid)
    challenged = model.predict(case.id, loss.step, seen, way.canvas)
    if own is None or challenged is None:
        return []
    names = case.labels
    # on a mirrored input the model is right when it calls the structure by the name of the other side
    expected = names.values[partner(loss.label, names) if way.mirrored else loss.label]
    shown = _references(case, loss.label)
    moved = {name: resample_nearest(mask, way.moved, way.canvas, outside=0) for name, mask in shown.items()}
    dose = dose_phrase(loss.step.transform, loss.step.dose)
    before = slice_overlay(
        case.id,
        f"unchanged, Dice {loss.before:.2f}",
        case.grid,
        shown,
        (model.name, own == names.values[loss.label]),
        case.volume.hu if images else None,
    )
    after = slice_overlay(
        case.id,
        f"{dose}, Dice {loss.after:.2f}",
        way.canvas,
        moved,
        (model.name, challenged == expected),
        seen().hu if images else None,
    )
    return [WorstCase(f"{case.id}, {loss.label}", before, after)]  # fmt: skip


def _references(case: ChallengedCase, label: str) -> dict[str, BoolArray]:
    """The masks of the truth, or of the experts who looked for the structure where there is none."""
    known = {name: reading for name, reading in case.references.items() if reading.was_read(label)}
    kept = {TRUTH: known[TRUTH]} if TRUTH in known else known
    return {name: reading.mask(label) for name, reading in kept.items()}
