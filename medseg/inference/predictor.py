"""One loaded model: studies in, labels out, on each study's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.imaging.volume import Volume
from medseg.inference.sliding_window import InferenceConfig, predict_probabilities
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.standardise import normalise, restore, restore_scores, standardise


@dataclass(frozen=True, eq=False)
class Predictor:
    """Standardises, predicts with every model (several: their probabilities are averaged) and restores."""

    models: Sequence[nn.Module]
    plans: Sequence[Plan]
    label_set: LabelSet
    config: InferenceConfig

    def __call__(self, volume: Volume, *, probabilities: bool = False) -> Prediction:
        """The prediction of one study; its shape and affine are those of the input.

        Args:
            volume: the study in HU.
            probabilities: also give the class probabilities (X, Y, Z, C).
        """
        standard = standardise(volume, self.plans[0])
        scores = torch.zeros(())
        for model, plan in zip(self.models, self.plans, strict=True):
            image = torch.from_numpy(normalise(standard.hu, plan))[None]
            scores = scores + predict_probabilities(
                model, image, plan.patch, self.config, self.label_set.mirror_indices
            )
        mean = (scores / len(self.models)).numpy()
        labels = self.label_set.to_values(restore(mean, standard.geometry, volume.geometry))
        own = restore_scores(mean, standard.geometry, volume.geometry) if probabilities else None
        return Prediction(labels, volume.geometry, self.label_set, own)
