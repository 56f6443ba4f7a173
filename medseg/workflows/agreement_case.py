"""One case of a comparison, scored: all that later steps need of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medseg.evaluation.instances import LesionPair
from medseg.evaluation.missingness import ReadCase as CaseRead
from medseg.evaluation.paired import CaseScores
from medseg.evaluation.voxel_agreement import VoxelAgreement
from medseg.workflows.readings import CaseFacts


@dataclass(frozen=True)
class CaseResult:
    """One case scored.

    Args:
        labels: structures of the case.
        readers: who read it, models too.
        scores: of every pair; None when nobody read it.
        voxels: by label, agreement of the readers voxel by voxel.
        read: who read what and found it.
        lesions: matched lesions of the pairs.
        soft: by label and model what `score_probability` found, where the model left probabilities.
        facts: what was met while reading it.
        key: under which it lies in the cache.
        samples: by label and model what `score_samples` found, where the model left samples.
    """

    labels: tuple[str, ...]
    readers: tuple[str, ...]
    scores: CaseScores | None
    voxels: Mapping[str, VoxelAgreement] = field(default_factory=dict)
    read: CaseRead | None = None
    lesions: tuple[LesionPair, ...] = ()
    soft: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: CaseFacts = field(default_factory=CaseFacts)
    key: str = ""
    samples: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
