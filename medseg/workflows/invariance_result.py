"""From scores to `invariance.json`: curves, thresholds and comparisons, each number with its n and its rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from medseg.evaluation.dose_response import (
    Key,
    Line,
    Responses,
    Sampling,
    build_responses,
    compare,
    curves,
    main_reference,
)
from medseg.evaluation.dose_response_breaks import BREAK_RULE, find_break, sides
from medseg.evaluation.dose_response_challenges import CHALLENGES
from medseg.evaluation.dose_response_scores import ALL, EMPTY_RULE, EXPERTS, RESAMPLING, TRUTH, UNTRANSFORMED
from medseg.evaluation.statistics import INTERVAL_RULE
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset
from medseg.workflows.invariance_settings import Plan
from medseg.workflows.outputs import provenance

SCHEMA = "medseg.invariance/1"
RULES = {
    "dice": EMPTY_RULE,
    "compared": "on the case's own grid, all of it: the input is changed on a canvas that grows by whole voxels until "
    "nothing of the volume is lost, padded with air (−1024 HU); the prediction is brought back to the nearest voxel",
    UNTRANSFORMED: "Dice with the model's own prediction of the unchanged input; equivariance error = 1 − Dice",
    RESAMPLING: "the untransformed prediction carried there and back without a model: what nearest-voxel resampling "
    "alone costs, the most that a perfectly equivariant model reaches",
    EXPERTS: "mean over the experts who read the case",
    ALL: "mean over the structures that are counted in the case",
    "means": "over patients; cases of one patient are averaged first",
    "intervals": INTERVAL_RULE,
    "breaks": BREAK_RULE,
    "mean_over_doses": "every tested dose but the identity weighs alike; patients who have all of them",
}
Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Tested:
    """What was tested and what came of it.

    Args:
        models: the first is the one that the others are compared with.
        lines: by model.
        missing: files that were not there, by folder of predictions.
    """

    dataset: Dataset
    cases: Sequence[CaseEntry]
    models: Sequence[str]
    labels: LabelSet
    plan: Plan
    lines: Mapping[str, Sequence[Line]]
    notes: Sequence[str] = ()
    missing: Mapping[str, Sequence[str]] = field(default_factory=dict)
    split: str | None = None

    @cached_property
    def responses(self) -> dict[str, Responses]:
        """Patient means, by model."""
        raters = self.dataset.raters
        return {model: build_responses(lines, raters) for model, lines in self.lines.items()}

    @cached_property
    def references(self) -> list[str]:
        """What the result tells about, in order; a rater by name only where the name is one person."""
        met = {line.reference for lines in self.lines.values() for line in lines}
        raters = [name for name in self.dataset.raters if name in met]
        named = [] if self.dataset.anonymous else raters
        found = [TRUTH, *([EXPERTS] if raters else []), *named, UNTRANSFORMED, RESAMPLING]
        return [name for name in found if name in met or name == EXPERTS]

    @property
    def label_names(self) -> list[str]:
        """All structures together, then each."""
        return [ALL, *self.labels.foreground]


def summarise(tested: Tested) -> Json:
    """The content of `invariance.json`."""
    sampling = Sampling(seed=tested.plan.seed)
    first, *others = tested.models
    return {
        "schema": SCHEMA,
        "models": list(tested.models),
        "config": _config(tested, sampling),
        "rules": RULES,
        "design": _design(tested),
        "notes": list(tested.notes),
        "results": {
            model: {"curves": _curves(tested, model, sampling), "breaks": _breaks(tested, model, sampling)}
            for model in tested.models
        },
        "versus": {other: _versus(tested, first, other, sampling) for other in others},
        "provenance": provenance(_files(tested)),
    }


def _config(tested: Tested, sampling: Sampling) -> Json:
    plan = tested.plan
    transforms = {}
    for name, doses in plan.doses.items():
        challenge = CHALLENGES[name]
        facts = {key: getattr(challenge, key) for key in ("title", "unit", "identity", "logarithmic", "meaning")}
        transforms[name] = facts | {"doses": list(doses)}
    return {"margin": plan.margin, "seed": plan.seed, "draws": sampling.draws, "split": tested.split,
            "transforms": transforms}  # fmt: skip


def _design(tested: Tested) -> Json:
    answered = {model: {line.case for line in lines} for model, lines in tested.lines.items()}
    return {
        "n_cases": len(tested.cases),
        "n_patients": len({case.patient for case in tested.cases}),
        "labels": list(tested.labels.foreground),
        "mirror_pairs": [list(pair) for pair in tested.labels.mirror_pairs],
        "references": tested.references,
        "main_reference": main_reference(tested.references),
        "anonymous": tested.dataset.anonymous,
        "n_predictions": len(tested.cases) * (len(tested.plan.steps) + 1),
        "missing_predictions": {model: list(files) for model, files in tested.missing.items()},
        "cases_without_untransformed": {
            model: [case.id for case in tested.cases if case.id not in cases] for model, cases in answered.items()
        },
    }


def _curves(tested: Tested, model: str, sampling: Sampling) -> Json:
    identity = {name: CHALLENGES[name].identity for name in tested.plan.doses}
    found = curves(tested.responses[model], tested.plan.doses, identity, sampling)
    return {
        transform: {
            label: {name: points[name] for name in tested.references if name in points}
            for label in tested.label_names
            if (points := of_transform.get(label))
        }
        for transform, of_transform in found.items()
    }


def _breaks(tested: Tested, model: str, sampling: Sampling) -> Json:
    found: Json = {}
    responses = tested.responses[model]
    for name, doses in tested.plan.doses.items():
        challenge = CHALLENGES[name]
        for label in tested.label_names:
            for reference in tested.references:
                key = Key(name, challenge.identity, label, reference)
                if reference == RESAMPLING or key not in responses.columns:
                    continue
                entries = [find_break(responses, key, side, margin=tested.plan.margin, sampling=sampling)
                           for side in sides(challenge.identity, doses, challenge.logarithmic)]  # fmt: skip
                found.setdefault(name, {}).setdefault(label, {})[reference] = entries
    return found


def _versus(tested: Tested, first: str, other: str, sampling: Sampling) -> Json:
    """The first model minus another one, structure by structure."""
    ours, theirs = tested.responses[first], tested.responses[other]
    kept = [name for name in tested.references if name in (TRUTH, EXPERTS, UNTRANSFORMED)]

    def differ(name: str, label: str, reference: str, doses: Sequence[float]) -> Json:
        return compare(ours, theirs, Key(name, CHALLENGES[name].identity, label, reference), doses, sampling)

    return {
        name: {
            label: {reference: differ(name, label, reference, doses) for reference in kept}
            for label in tested.label_names
        }
        for name, doses in tested.plan.doses.items()
    }


def _files(tested: Tested) -> dict[str, Any]:
    """Every file of the data set that enters the numbers, by its shown name."""
    paths = [
        path
        for case in tested.cases
        for path in (case.image, *(p for file in case.raters.values() for p in file.paths), case.truth)
        if path is not None and path.is_file()
    ]
    return {tested.dataset.shown(path): path for path in paths}
