"""What `medseg agree` is asked, besides where the readings lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from medseg.errors import UsageError
from medseg.evaluation.entries import EmptyPolicy
from medseg.evaluation.metrics import SYMMETRIC
from medseg.evaluation.statistics import DRAWS
from medseg.evaluation.surface_rules import SURFEL, VOXEL, Elements
from medseg.workflows.fleet import Fleet

FEWEST_DRAWS = 100
Margin = float | Mapping[str, float] | None
Tolerances = float | Mapping[str, float] | Literal["readers"] | None


@dataclass(frozen=True)
class AgreementOptions:
    """What is judged, what is checked besides, and how it is computed and shown.

    Args:
        metric: key of SYMMETRIC that is judged, Dice by default.
        primary: `LABEL:METRIC`, the one question that decides; without it the worst label does.
        secondary: further questions `LABEL:METRIC`, confirmatory beside the primary one and adjusted by Holm; one in
            another metric than the judged one needs a margin of its own, `margin={"LABEL:METRIC": 2.0}`.
        margin: positive, in the metric's unit, for every label or by label; none: nothing is judged.
        tolerance_mm: of NSD, one for all labels or by label (2 mm for a label not there), or `readers`: from the
            readers' own distances in other patients; 2 mm by default.
        surface: what NSD is a share of: `surfel`, area of marching-cubes elements, or `voxel`, number of border voxels.
        plan: a registered plan; it gives what is not given here, and a run that follows it is pre-specified.
        empty_policy: a distance to nothing counts as the image's `diagonal` in plain means, or is left out (`exclude`).
        null_control: each reader in turn plays the model.
        degrade: damage the model's outlines (without a model the first reader's) by known amounts and judge them:
            words such as `erode:2`, or True for the standard ones.
        lesions: match the connected components of these labels (True: of all) one to one as lesions.
        viewers: how many of the worst cases get a viewer page of their own, about 3 MB each.
        images: show CT slices below the outlines where the data set has images.
        split: cases of this split only.
        allow_missing: go on where predictions are missing.
        overwrite: replace a result that medseg wrote there before.
        draws, seed: of the bootstrap.
        jobs: cases scored at the same time, by a process each.
        ray: score on Ray workers instead: `local`, or the address of a cluster.
        insecure_cluster: accept a cluster that asks for no token.

    Raises:
        UsageError: a value that makes no sense.
    """

    metric: str | None = None
    primary: str | None = None
    secondary: Sequence[str] = ()
    margin: Margin = None
    tolerance_mm: Tolerances = None
    surface: Elements = SURFEL
    plan: str | Path | None = None
    empty_policy: EmptyPolicy = "diagonal"
    null_control: bool = False
    degrade: bool | Sequence[str] = False
    lesions: bool | Sequence[str] = False
    viewers: int = 0
    images: bool = True
    split: str | None = None
    allow_missing: bool = False
    overwrite: bool = False
    draws: int = DRAWS
    seed: int = 0
    jobs: int | None = 1
    ray: str | None = None
    insecure_cluster: bool = False

    def __post_init__(self) -> None:
        check_metric(self.metric)
        check_margin(self.margin)
        if self.surface not in (SURFEL, VOXEL):
            raise UsageError("no such surface", where="--surface", expected=f"{SURFEL} or {VOXEL}",
                             got=repr(self.surface))  # fmt: skip
        if self.seed < 0:
            raise UsageError("out of range", where="--seed", expected="0 or above", got=str(self.seed))
        if self.draws < FEWEST_DRAWS:
            raise UsageError("too few bootstrap draws", where="draws", expected=f"at least {FEWEST_DRAWS}",
                             got=str(self.draws))  # fmt: skip
        if self.viewers < 0:
            raise UsageError("out of range", where="--viewers", expected="0 or above", got=str(self.viewers))
        if self.empty_policy not in get_args(EmptyPolicy):
            raise UsageError("unknown rule for empty masks", where="--empty-policy",
                             expected=" or ".join(get_args(EmptyPolicy)), got=repr(self.empty_policy))  # fmt: skip

    @property
    def fleet(self) -> Fleet:
        """Who scores the cases.

        Raises:
            UsageError: fewer than one job, or a cluster that is none.
        """
        return Fleet(self.jobs, self.ray, insecure_cluster=self.insecure_cluster)

    @property
    def lesion_labels(self) -> tuple[str, ...] | None:
        """The labels whose components are matched; None for all."""
        return None if self.lesions is True else tuple(self.lesions or ())


def check_metric(metric: str | None) -> None:
    """Raises UsageError for a metric that cannot be judged; None stands for the default."""
    if metric is not None and metric not in SYMMETRIC:
        known = "one of " + ", ".join(SYMMETRIC)
        raise UsageError("unknown metric", where="--metric", expected=known, got=repr(metric))


def check_margin(margin: Margin) -> None:
    """Raises UsageError for a margin that is not positive."""
    values = [] if margin is None else list(margin.values()) if isinstance(margin, Mapping) else [margin]
    if any(not (np.isfinite(value) and value > 0) for value in values):
        raise UsageError("wrong margin", where="--margin", expected="a positive number in the metric's unit",
                         got=str(margin))  # fmt: skip
