"""What a process holds before, while and after a study is with the network: the other times of a promise of memory."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from medseg.imaging.geometry import Geometry
from medseg.inference.study import SLAB_VOXELS
from medseg.inference.tiles import block_size
from medseg.preprocessing.body import SEARCH_MM

FLOAT, INT16 = 4, 2
SLAB_COPIES = 3  # of a slab of the standardised image: interpolated, rounded, and what lies between the axes
SEARCH_BYTES = 100  # of each voxel in which the body is searched: pieces, their sizes, and distances in them
BLOCK_BYTES = 6  # of each block of the map of the body: dense, enclosed, widened
STEP_BYTES = 1  # of each voxel, for postprocessing: a run of 12 voxels or longer throughout the study
ROW_BYTES = 8  # of each row of voxels, likewise


@dataclass(frozen=True)
class Around:
    """What whoever calls a predictor does around it.

    Args:
        reading: bytes that it takes to read the study beyond the study itself, before it is there.
        writing: bytes that it takes to write the results beyond the labels.
        keeps_volume: whether the volume is held until the end, rather than let go once it is standardised.
    """

    reading: int = 0
    writing: int = 0
    keeps_volume: bool = False


@dataclass(frozen=True)
class Times:
    """Bytes beyond what a process holds before it has read a study.

    Args:
        native: the study's grid.
        standard: the standardised one.
        labels: bytes of the labels.
        steps: whether the labels are postprocessed.
        coarse: bytes of what a coarser network needs meanwhile, in a cascade.
    """

    native: Geometry
    standard: Geometry
    around: Around
    labels: int
    steps: bool = False
    coarse: int = 0

    @property
    def volume(self) -> int:
        """The study in float32."""
        return FLOAT * prod(self.native.shape)

    @property
    def image(self) -> int:
        """The standardised study, and where its body is."""
        blocks = prod(
            -(-n // s) for n, s in zip(self.standard.shape, block_size(self.standard.spacing_mm), strict=True)
        )
        return INT16 * prod(self.standard.shape) + BLOCK_BYTES * blocks

    @property
    def kept(self) -> int:
        """What is there from the network's time on, whatever it does."""
        return self.image + (self.volume if self.around.keeps_volume else 0)

    @property
    def reading(self) -> int:
        """While the study is read, and while its body is searched."""
        steps = np.maximum(np.floor(SEARCH_MM / np.array(self.native.spacing_mm)), 1)
        search = SEARCH_BYTES * int(prod(self.native.shape) / np.prod(steps))
        return self.volume + max(self.around.reading, search)

    @property
    def standardising(self) -> int:
        """While the study is standardised, in a cascade also by the coarser run."""
        slab = SLAB_COPIES * FLOAT * min(SLAB_VOXELS, prod(self.standard.shape))
        return self.volume + self.image + max(slab, self.coarse)

    @property
    def writing(self) -> int:
        """While the labels are postprocessed, and then written; without the standardised image then."""
        rows = ROW_BYTES * prod(self.native.shape[1:])
        steps = STEP_BYTES * prod(self.native.shape) + rows if self.steps else 0
        return self.kept + self.labels + max(steps, self.around.writing - self.image)

    @property
    def most(self) -> int:
        """The most of all times but the network's."""
        return max(self.reading, self.standardising, self.writing)
