"""`medseg masks`: label files of other tools in any of the formats of a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.imaging.labels import BACKGROUND, LabelSet
from medseg.imaging.prediction import Prediction
from medseg.io.label_files import label_stem, read_labels
from medseg.io.made_by import MadeBy
from medseg.workflows.prediction_files import Outputs, PredictionFiles, StudySource, write_prediction


def write_masks(
    labels: str | Path,
    names: Mapping[str, int],
    study: str | Path,
    out: str | Path,
    *,
    outputs: Outputs,
    made_by: MadeBy,
    reading: Mapping[str, Any] | None = None,
) -> PredictionFiles:
    """Writes the label file of another tool in any of the formats, such as DICOM SEG and RTSTRUCT on its series.

    Args:
        labels: NIfTI, NRRD or MetaImage on the grid of the series, or on the same lattice cut or turned otherwise.
        names: name to value of the labels; 0 is the background.
        study: the DICOM series.
        made_by: what made the labels.
        reading: how the series is read, see `StudySource`.

    Raises:
        FileReadError, LabelError, GeometryError: the label file cannot be used; else as `write_prediction`.
    """
    read = read_labels(labels, LabelSet({BACKGROUND: 0, **names}))
    prediction = Prediction(read.labels, read.geometry, read.label_set)
    source = StudySource(Path(study), reading or {}, where="the DICOM series", besides=(Path(labels),))
    return write_prediction(out, label_stem(labels), prediction, source, outputs=outputs, made_by=made_by)
