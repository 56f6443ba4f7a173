"""What a user says about readings besides where they lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from medseg.errors import UsageError
from medseg.imaging.labels import LabelSet
from medseg.io.layouts.label_names import given_labels
from medseg.io.roi_names import RoiRules, read_roi_rules
from medseg.workflows.readings_case import unknown_model
from medseg.workflows.readings_labels import ModelLabels, ModelLabelsSource, read_model_labels
from medseg.workflows.readings_sources import Naming


@dataclass(frozen=True)
class ReadingOptions:
    """What the user says about the input besides where it lies.

    Args:
        labels: names of the values (bare folders, manifest): `liver=1,kidney=2`, a YAML file or a `LabelSet`.
        match: what of a model's file name is the case, `{case}_seg.nii.gz` or `(?P<case>.+)_pred`; of all models, or
            by model.
        raters_match: the same for the raters' files.
        model_labels: what a model calls the labels, a map or its file; of all models, or by model.
        resample_to: `raters` resamples a model's labels to the readers' grid where it is another (nearest neighbour).
        rois: `rois.yaml`, for DICOM regions and segments.
        threshold: from which fraction on a voxel of a fractional SEG is inside.
        images: folder of `<case>` images, for bare folders.
        anonymous: rater K is another person in every case (bare folders, manifest).
        strata: further columns of a manifest that group cases.
        runs: the RUN folder that made the only model, or by model: cases of patients in its training are refused.
    """

    labels: LabelSet | str | Path | None = None
    match: str | Mapping[str, str] | None = None
    raters_match: str | None = None
    model_labels: ModelLabelsSource | Mapping[str, ModelLabelsSource] = None
    resample_to: Literal["raters"] | None = None
    rois: RoiRules | str | Path | None = None
    threshold: float | None = None
    images: str | Path | None = None
    anonymous: bool = False
    strata: tuple[str, ...] = ()
    runs: str | Path | Mapping[str, str | Path] | None = None

    def __post_init__(self) -> None:
        if self.resample_to not in (None, "raters"):
            raise UsageError("unknown grid", where="--resample-to", expected="raters", got=str(self.resample_to))

    def refuse(self, foreign: Sequence[str], what: str) -> None:
        """Raises UsageError when an option is given that would be ignored."""
        for option in fields(self):
            if option.name in foreign and getattr(self, option.name) != option.default:
                flag = "--" + option.name.replace("_", "-")
                raise UsageError(f"{flag} means nothing for {what}", do="Take the option out.")

    def naming(self, labels: LabelSet | None = None) -> Naming:
        """Names as far as options tell them; `labels` are those of the input itself."""
        own = given_labels(self.labels)
        rois = self.rois if self.rois is None or isinstance(self.rois, RoiRules) else read_roi_rules(self.rois)
        return Naming(own or labels, rois, self.threshold)

    def check_models(self, models: Sequence[str]) -> None:
        """Raises UsageError when an option names a model that is not there, or there is none at all."""
        for value, flag in ((self.match, "--match"), (self.model_labels, "--model-labels")):
            if value is not None and not models:
                raise UsageError(f"{flag} without a model", do="Give a model, or take the option out.")
            if isinstance(value, Mapping) and (unknown := [name for name in value if name not in models]):
                raise unknown_model(str(unknown[0]), models, flag)

    def runs_of(self, models: Sequence[str]) -> dict[str, Path]:
        """The RUN folder of each model that has one.

        Raises:
            UsageError: a model that is not there, or one folder for several models.
        """
        if self.runs is None:
            return {}
        if not isinstance(self.runs, Mapping):
            if len(models) != 1:
                raise UsageError("a run, and nothing says of which model", where="--run",
                                 expected="NAME=RUN with one of " + (", ".join(models) or "no models"))  # fmt: skip
            return {models[0]: Path(self.runs)}
        if unknown := [name for name in self.runs if name not in models]:
            raise unknown_model(str(unknown[0]), models, "--run")
        return {name: Path(run) for name, run in self.runs.items()}

    def of_model(self, name: str) -> tuple[str | None, ModelLabels | None]:
        """The file-name pattern and the map of labels of one model."""
        match = self.match.get(name) if isinstance(self.match, Mapping) else self.match
        labels = self.model_labels.get(name) if isinstance(self.model_labels, Mapping) else self.model_labels
        return match, read_model_labels(labels)
