"""One label map of several readers' label maps, by the majority of those who read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medseg.evaluation.consensus import majority
from medseg.imaging.labels import IGNORE_INDEX, LabelMap, LabelSet
from medseg.imaging.regions import merge
from medseg.shapes import IntArray


def majority_map(readings: Sequence[LabelMap], target: LabelSet, *, where: str = "") -> IntArray:
    """Label values of `target` (X, Y, Z): a structure stands where more than half of those who read it marked it.

    An even split is background, so two readers leave their intersection. Voxels in which some structure was read by
    nobody get the ignore value; without one they are background.

    Args:
        readings: at least one, on one grid; every structure of `target` was looked for by at least one of them.
        where: what stands first in the message.

    Raises:
        UsageError: nobody looked for a structure.
        LabelError: two structures have a majority in one voxel, because different readers looked for them.
    """
    unread = np.zeros(readings[0].labels.shape, dtype=bool)
    masks = {}
    for name in target.foreground:
        voters = [reading for reading in readings if reading.was_read(name)]
        known = [reading.indices != IGNORE_INDEX for reading in voters]
        masks[name], read = majority([each.mask(name) for each in voters], known, tie="background")
        unread |= ~read
    labels = merge(masks, target, where=where)
    if target.ignore is not None:
        labels[unread] = target.ignore
    return labels
