"""What every image is brought to before a network sees it; fitted on training cases only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator

from medseg.config import Config
from medseg.errors import InputError
from medseg.imaging.case import Case
from medseg.imaging.regions import refuse_overlaps
from medseg.preprocessing.body import body_box
from medseg.preprocessing.looked_for import read_indices
from medseg.shapes import FloatArray, IntTriple, Triple

StageName = Literal["full", "low"]
SAMPLED_VOXELS = 10_000  # per case: enough for stable percentiles, little enough for any number of cases


class PlanConfig(Config):
    """The recipe's wishes; what is left out is fitted.

    Args:
        file: what `medseg plan` wrote: stands for all that is left out, the network and the batch included. `plan:
            plan.yaml` is short for it.
        stage: of that file: `full`, or the coarser one (`low`) that it has where a patch sees too little.
        other_data: the file may be of another data set than the one that is learned from.
        patch: voxels along X, Y, Z that the network sees at once.
        spacing_mm: grid that images are brought to; default the median over the training cases.
        window_hu: values outside are clipped; default the 0.5 and 99.5 percentiles of labelled voxels.
    """

    file: str | None = None
    stage: StageName = "full"
    other_data: bool = False
    patch: tuple[int, int, int] = (96, 96, 96)
    spacing_mm: Triple | None = None
    window_hu: tuple[float, float] | None = None

    @model_validator(mode="before")
    @classmethod
    def _file_alone(cls, given: Any) -> Any:
        return {"file": given} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _sizes_are_positive(self) -> PlanConfig:
        if min(self.patch) < 1:
            raise ValueError("patch sizes of at least 1 voxel")
        if self.spacing_mm is not None and min(self.spacing_mm) <= 0:
            raise ValueError("spacings above 0 mm")
        if self.window_hu is not None and self.window_hu[0] >= self.window_hu[1]:
            raise ValueError("a window of two rising HU values")
        return self


class PreprocessingConfig(Config):
    """`crop_to_body` leaves out the air around the patient; `margin_mm` of it is kept."""

    crop_to_body: bool = True
    margin_mm: float = Field(default=10.0, ge=0)


class Plan(Config):
    """The fitted plan; stored in the run, so that prediction does the same as training."""

    patch: IntTriple
    spacing_mm: Triple
    window_hu: tuple[float, float]
    mean_hu: float
    std_hu: float
    preprocessing: PreprocessingConfig


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """What the plan needs to know of one case.

    Args:
        spacing_mm: along R, A, S.
        foreground_hu: HU of some labelled voxels.
        shape: voxels along R, A, S of what training sees: the body's box, or the whole image.
        volumes_ml: of each structure, mean over the raters who marked it.
        kept: share of the image's voxels that `shape` is.
    """

    spacing_mm: Triple
    foreground_hu: FloatArray
    shape: IntTriple
    volumes_ml: Mapping[str, float]
    kept: float = 1.0


def fingerprint(case: Case, preprocessing: PreprocessingConfig) -> Fingerprint:
    """Measures one case; voxels count as labelled when any rater gave them a structure that they looked for.

    Raises:
        LabelError: a rater's regions overlap: asked here, so that training ends before it has measured every case.
    """
    geometry = case.volume.geometry
    labelled = np.zeros(case.volume.hu.shape, dtype=bool)
    marked: dict[str, list[float]] = {}
    for name, reading in case.raters.items():
        refuse_overlaps(reading, where=f"case {case.id}, rater {name}")
        indices = read_indices(reading)
        labelled |= indices > 0
        counts = np.bincount(indices[indices > 0].ravel(), minlength=len(reading.label_set.names))
        for label, count in zip(reading.label_set.names, counts, strict=True):
            if count:
                marked.setdefault(label, []).append(count * geometry.voxel_ml)
    chosen = _sampled(case.volume.hu[labelled])
    seen = geometry.cropped(*body_box(case.volume, preprocessing.margin_mm)) if preprocessing.crop_to_body else geometry
    volumes = {label: round(float(np.mean(each)), 3) for label, each in marked.items()}
    shape, kept = seen.canonical().shape, prod(seen.shape) / prod(geometry.shape)
    return Fingerprint(geometry.canonical().spacing_mm, chosen, shape, volumes, kept)


class Moments(NamedTuple):
    """Of HU within a window: how many, their mean, and the mean of their squares."""

    voxels: int
    mean: float
    square: float


def labelled_moments(case: Case, window_hu: tuple[float, float]) -> Moments:
    """Of the voxels that `fingerprint` samples; zeros where nothing is labelled."""
    labelled = np.zeros(case.volume.hu.shape, dtype=bool)
    for reading in case.raters.values():
        labelled |= read_indices(reading) > 0
    hu = _sampled(case.volume.hu[labelled]).clip(*window_hu).astype(np.float64)
    return Moments(hu.size, float(hu.mean()), float((hu**2).mean())) if hu.size else Moments(0, 0.0, 0.0)


def normalised_by(plan: Plan, cases: Sequence[Moments]) -> Plan:
    """The plan with mean and deviation of these cases, as `fit_plan` would fit them.

    Raises:
        InputError: no training case has a labelled voxel.

    >>> plan = Plan(patch=(8, 8, 8), spacing_mm=(1, 1, 1), window_hu=(0, 9), mean_hu=0, std_hu=1,
    ...             preprocessing=PreprocessingConfig())
    >>> fitted = normalised_by(plan, [Moments(1, 2.0, 4.0), Moments(1, 6.0, 36.0)])
    >>> fitted.mean_hu, fitted.std_hu
    (4.0, 2.0)
    """
    total = sum(case.voxels for case in cases)
    if not total:
        raise InputError("no training case has a labelled voxel", do="Run `medseg check` on the data set.")
    mean = sum(case.voxels * case.mean for case in cases) / total
    variance = sum(case.voxels * case.square for case in cases) / total - mean**2
    return plan.model_copy(update={"mean_hu": round(mean, 3), "std_hu": round(max(variance, 1.0) ** 0.5, 3)})


def _sampled(hu: FloatArray) -> FloatArray:
    return np.random.default_rng(0).choice(hu, min(SAMPLED_VOXELS, hu.size), replace=False)


def fit_plan(
    fingerprints: Sequence[Fingerprint], config: PlanConfig, preprocessing: PreprocessingConfig, multiple: IntTriple
) -> Plan:
    """The plan for these training cases; patch sizes are rounded up to what the network can halve (`multiple`).

    Raises:
        InputError: no training case has a labelled voxel.
    """
    hu = np.concatenate([f.foreground_hu for f in fingerprints]) if fingerprints else np.zeros(0)
    if not hu.size:
        raise InputError("no training case has a labelled voxel", do="Run `medseg check` on the data set.")
    spacing = config.spacing_mm or median_spacing([f.spacing_mm for f in fingerprints])
    low, high = config.window_hu or (round(float(p), 1) for p in np.percentile(hu, (0.5, 99.5)))
    if low >= high:  # synthetic structures of one single HU
        low, high = low - 1, high + 1
    clipped = np.clip(hu, low, high)
    return Plan(
        patch=whole_patch(config.patch, multiple),
        spacing_mm=spacing,
        window_hu=(low, high),
        mean_hu=round(float(clipped.mean()), 3),
        std_hu=round(max(float(clipped.std()), 1.0), 3),  # a window without contrast must not divide by zero
        preprocessing=preprocessing,
    )


def median_spacing(spacings: Sequence[Triple]) -> Triple:
    """The median voxel size in mm along each axis, to a ten-thousandth.

    >>> median_spacing([(0.8, 0.8, 5.0), (0.7, 0.7, 2.0), (0.9, 0.9, 2.5)])
    (0.8, 0.8, 2.5)
    """
    x, y, z = (round(float(size), 4) for size in np.median(spacings, axis=0))
    return x, y, z


def whole_patch(patch: IntTriple, multiple: IntTriple) -> IntTriple:
    """The patch rounded up to what the network can halve.

    >>> whole_patch((90, 64, 10), (16, 16, 4))
    (96, 64, 12)
    """
    x, y, z = (-(-size // step) * step for size, step in zip(patch, multiple, strict=True))
    return x, y, z


def normalised_window(plan: Plan) -> tuple[float, float]:
    """What the two ends of the plan's window become under `standardise.normalise`."""
    low, high = plan.window_hu
    return (low - plan.mean_hu) / plan.std_hu, (high - plan.mean_hu) / plan.std_hu
