"""What a model says about one study, on the study's own grid."""

from __future__ import annotations

from dataclasses import dataclass

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.shapes import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Prediction:
    """Labels (X, Y, Z) in the data set's own values, and on request probabilities (X, Y, Z, C), C in label order."""

    labels: IntArray
    geometry: Geometry
    label_set: LabelSet
    probabilities: FloatArray | None = None
