"""What one trained network says of one test case, beside its experts and the truth: the numbers of `experts.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from medseg.evaluation.calibration import calibration
from medseg.evaluation.distribution import compare_distributions
from medseg.evaluation.overlap import dice
from medseg.evaluation.surface import signed_surface_distance
from medseg.imaging.case import Case
from medseg.inference.predictor import Predictor
from medseg.phantom.anatomy import ORGANS
from medseg.shapes import BoolArray, FloatArray, IntArray, Triple

Numbers = dict[str, float]


@dataclass(frozen=True, eq=False)
class Opinions:
    """What a network says of a case.

    Args:
        probabilities: (X, Y, Z, C) of the consensus.
        labels: (X, Y, Z) of the consensus.
        raters: (X, Y, Z) like each expert; of a network that knows none, empty.
    """

    probabilities: FloatArray
    labels: IntArray
    raters: Mapping[str, IntArray] = field(default_factory=dict)


def opinions(consensus: Predictor, raters: Mapping[str, Predictor], case: Case) -> Opinions:
    """The answers of a network and of it as each of its raters."""
    whole = consensus(case.volume, probabilities=True)
    assert whole.probabilities is not None
    return Opinions(whole.probabilities, whole.labels, {
        name: predictor(case.volume).labels for name, predictor in raters.items()
    })  # fmt: skip


def score(found: Opinions, case: Case) -> Numbers:
    """All numbers of one case; what is undefined in it is left out."""
    spacing = case.volume.geometry.spacing_mm
    label_set = next(iter(case.raters.values())).label_set
    numbers: dict[str, list[float]] = {}
    for index, name in enumerate(label_set.names):
        if index:
            value = label_set.values[name]
            ours = {rater: found.raters.get(rater, found.labels) == value for rater in case.raters}
            structure = Structure(
                found.probabilities[..., index], found.labels == value, ours,
                {rater: reading.mask(name) for rater, reading in case.raters.items()}, _truth(case, name), spacing,
                bool(found.raters),
            )  # fmt: skip
            for key, number in structure.numbers(is_organ=name in ORGANS).items():
                if np.isfinite(number):
                    numbers.setdefault(key, []).append(number)
    return {key: float(np.mean(each)) for key, each in numbers.items()}


@dataclass(frozen=True, eq=False)
class Structure:
    """One structure of one case: probability and mask of the consensus, masks like each expert and by each, truth."""

    probability: FloatArray
    consensus: BoolArray
    ours: Mapping[str, BoolArray]
    experts: Mapping[str, BoolArray]
    truth: BoolArray
    spacing_mm: Triple
    knows_raters: bool

    def numbers(self, *, is_organ: bool) -> Numbers:
        """NaN is undefined; surface distances are those of organs, which are larger than the voxels."""
        own = [self._dice(self.experts[rater], self.ours[rater]) for rater in self.experts]
        found: Numbers = {"expert_dice": _mean(own), "truth_dice": self._dice(self.truth, self.consensus)}
        masks = list(self.experts.values())
        if any(mask.any() for mask in masks):
            found["ece"] = calibration(self.probability, masks, spacing_mm=self.spacing_mm).ece_soft
            found["ged2"] = compare_distributions(self.samples(), masks).ged2
        if is_organ:
            for rater in self.experts:
                found[f"learned_mm:{rater}"] = self._bias(self.ours[rater])
                found[f"drawn_mm:{rater}"] = self._bias(self.experts[rater])
        return found

    def samples(self) -> Sequence[BoolArray]:
        """As many masks as there are experts: the answer like each, or else sets above levels of the probability."""
        if self.knows_raters:
            return list(self.ours.values())
        count = len(self.experts)
        return [self.probability > (level + 0.5) / count for level in range(count)]

    def _dice(self, reference: BoolArray, prediction: BoolArray) -> float:
        return dice(reference, prediction) if reference.any() or prediction.any() else float("nan")

    def _bias(self, mask: BoolArray) -> float:
        return signed_surface_distance(self.truth, mask, self.spacing_mm)


def _truth(case: Case, name: str) -> BoolArray:
    assert case.truth is not None
    return case.truth.mask(name)


def _mean(values: Sequence[float]) -> float:
    kept = [value for value in values if np.isfinite(value)]
    return float(np.mean(kept)) if kept else float("nan")
