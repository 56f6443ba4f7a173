"""Whose opinions a training learns from: the raters that the network knows by name, and the consensus of STAPLE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from medseg.data.store import RaterMode, StoredCase, find_places
from medseg.errors import ConfigError, UsageError
from medseg.evaluation.domain import MARGIN_MM, Domain
from medseg.evaluation.staple import staple_map
from medseg.imaging.labels import IGNORE_INDEX, LabelSet
from medseg.models.raters import RATER_NETWORKS
from medseg.preprocessing.plan import Plan


class Readers(Protocol):
    """What is asked of the data: see `TrainingData`."""

    @property
    def anonymous(self) -> bool: ...

    def readers(self, case_id: str) -> tuple[str, ...]: ...


def named_raters(mode: RaterMode, data: Readers, learned: Sequence[str]) -> tuple[str, ...]:
    """The raters whom the network is to know, in alphabetical order; none for modes that need no names.

    Only those who read a case that is learned from: of the others nothing could be learned.

    Raises:
        ConfigError: the data cannot serve the mode; says which mode can.
    """
    readers = [data.readers(case_id) for case_id in learned]
    if mode == "staple" and max(map(len, readers), default=0) < 2:
        raise ConfigError("STAPLE needs a case that several raters have read", where="raters",
                          expected="2 raters or more", got="1 in each case", do="Use raters: random.")  # fmt: skip
    if mode not in RATER_NETWORKS:
        return ()
    names = tuple(sorted({name for found in readers for name in found}))
    if data.anonymous:
        raise ConfigError(f"{mode} needs raters who are the same persons in every case", where="raters",
                          got="`anonymous: true` in the data set", do="Use raters: soft or random.")  # fmt: skip
    if len(names) < 2:
        raise ConfigError(f"{mode} needs several raters in the training cases", where="raters",
                          expected="2 or more", got=", ".join(names) or "none",
                          do="Use raters: random.")  # fmt: skip
    return names


def refuse_strangers(raters: Sequence[str], cases: Sequence[StoredCase]) -> None:
    """Refuses cases that somebody has read whom the network does not know (no names: it needs to know nobody).

    Raises:
        UsageError: the data set has raters who were not there when the run was started.
    """
    strangers = sorted({name for case in cases for name in case.raters} - set(raters))
    if raters and strangers:
        raise UsageError("the data set has raters who were not there when the run was started", where="raters",
                         expected=", ".join(raters), got=", ".join(strangers),
                         do="Start a new run with another --out.")  # fmt: skip


def staple_consensus(case: StoredCase, labels: LabelSet, plan: Plan) -> StoredCase:
    """The case with STAPLE's estimate in place of its readers; of a single reader it is the reading itself.

    Each structure is estimated by itself, from those who looked for it, on their union and 10 mm around (two voxels on
    coarse grids: without any background STAPLE knows no specificity). A voxel is the structure of the highest
    probability, where that is above one half and somebody marked it; it is unknown where a structure that somebody
    looked for was not read.
    """
    domain = Domain(max(MARGIN_MM, 2 * max(plan.spacing_mm)))
    readings = case.labels[:].numpy()
    seen = np.ones((len(readings), len(labels.names)), dtype=bool) if case.known is None else case.known.numpy()
    winner = np.zeros(readings.shape[1:], dtype=np.int16)
    best = np.full(winner.shape, 0.5)
    unread = ~(readings != IGNORE_INDEX).any(axis=0)
    for index in np.flatnonzero(seen[:, 1:].any(axis=0)) + 1:
        asked = readings[seen[:, index]]
        marked, read = list(asked == index), list(asked != IGNORE_INDEX)
        probability, known, _ = staple_map(marked, read, spacing_mm=plan.spacing_mm, domain=domain)
        unread |= ~known
        better = (probability > best) & np.any(marked, axis=0)
        winner[better], best[better] = index, probability[better]
    winner[unread] = IGNORE_INDEX
    return case.fused(torch.from_numpy(winner[None]), find_places(winner[None]))
