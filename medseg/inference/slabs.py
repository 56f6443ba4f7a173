"""Scores of a whole image from overlapping tiles, plane by plane: what no later tile touches is finished and dropped.

The sums of scores and weights exist for as many planes as a tile is thick, in a ring: the memory does not grow with
the length of the study.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from medseg.inference.network import Networks, Say
from medseg.inference.tiles import Tiling, gaussian_weights, overlap_with
from medseg.inference.votes import Votes
from medseg.shapes import FloatArray, IntTriple

OnProgress = Callable[[int, int], None]  # tiles done, tiles in all
CPU = torch.device("cpu")
CHUNK_BYTES = 2**24  # of finished planes that are handed on at a time
ELSEWHERE = -20.0  # the logit of every structure where no tile lies, the background's being 0
HALF_PLANES = 8  # of a tile that are turned into float32 and back at a time


@dataclass(frozen=True, eq=False)
class Window:
    """Reads tiles of an image; `pad` stands where a tile reaches beyond it.

    Args:
        voxels: (X, Y, Z) array or tensor of any number type.
        coarse: (X, Y, Z) classes that a coarser network gave, for a cascade.
    """

    voxels: Any
    pad: float
    coarse: Any = None

    @property
    def shape(self) -> IntTriple:
        x, y, z = self.voxels.shape
        return int(x), int(y), int(z)

    def read(self, start: IntTriple, tile: IntTriple) -> Tensor:
        """One tile (1, X, Y, Z) float32; in a cascade (2, X, Y, Z)."""
        if self.coarse is not None:
            return torch.cat(
                [Window(self.voxels, self.pad).read(start, tile), Window(self.coarse, 0).read(start, tile)]
            )
        inner, box = overlap_with(start, tile, self.shape)
        part = self.voxels[box]
        part = part if isinstance(part, Tensor) else torch.from_numpy(np.ascontiguousarray(part))
        if part.shape == tile:
            return part.to(torch.float32, memory_format=torch.contiguous_format)[None]
        out = torch.full(tile, self.pad)
        out[inner] = part.float()
        return out[None]


@dataclass(frozen=True)
class Layout:
    """How sums are kept.

    Args:
        axes: image axes as planes, rows and columns; planes are finished in rising order.
        half: float16 instead of float32.
        device: where.
    """

    axes: IntTriple = (0, 1, 2)
    half: bool = False
    device: torch.device = CPU

    def nbytes(self, shape: IntTriple, tile: IntTriple, classes: int) -> int:
        """Bytes of the sums of scores and of weights for an image."""
        planes, rows, columns = self.axes
        return tile[planes] * shape[rows] * shape[columns] * (classes * (2 if self.half else 4) + 4)


def score_planes(
    networks: Networks,
    window: Window,
    tiling: Tiling,
    layout: Layout,
    *,
    classes: int | None = None,
    votes: Votes | None = None,
    on_progress: OnProgress = lambda done, total: None,
) -> Iterator[FloatArray]:
    """Finished planes (P, C, M, N) float32 of the whole image in rising order, some at a time.

    Where no tile lies the background is certain. Axes are those of the layout.

    Args:
        classes: C; needed where the first tiles may be left out.
        votes: takes the labels of the members; their disagreement then lies behind the classes: (P, C + 1, M, N).
    """
    behind = 0 if votes is None else 1
    sums: Sums | None = open_sums(tiling, layout, classes, behind, networks.say) if classes else None
    layers = tiling.layers(layout.axes[0])
    done, total = 0, tiling.count
    on_progress(0, total)
    for index, (start, firsts) in enumerate(layers):
        while firsts:
            now, firsts = firsts[: networks.batch], firsts[networks.batch :]
            tiles = torch.stack([window.read(first, tiling.tile) for first in now])
            if votes is None:
                scores = networks(tiles)
            else:
                scores, said = networks.opinions(tiles)
                for own, first in zip(said, now, strict=True):
                    votes.add(own, first)
            sums = sums or open_sums(tiling, layout, scores.shape[1] - behind, behind, networks.say)
            for own, first in zip(scores, now, strict=True):
                sums.add(own, first)
            done += len(now)
            on_progress(done, total)
        stop = layers[index + 1][0] if index + 1 < len(layers) else tiling.shape[layout.axes[0]]
        assert sums is not None, "classes is needed where tiles are left out"
        yield from sums.finish(max(start, 0), stop)


def open_sums(tiling: Tiling, layout: Layout, classes: int, behind: int, say: Say) -> Sums:
    """Empty sums where the layout wants them; on the host where the device has no memory for them, and that is said."""
    try:
        return Sums(tiling, layout, classes, behind)
    except torch.OutOfMemoryError:
        say(f"The {layout.device.type} memory does not hold the sums of the scores; going on with sums on the host.")
    return Sums(tiling, replace(layout, device=CPU), classes, behind)


class Sums:
    """Weighted sums of scores over the planes that tiles still touch; in float16 weighted means, which stay small.

    Args:
        behind: channels behind the classes, which are 0 where no tile lies.
    """

    def __init__(self, tiling: Tiling, layout: Layout, classes: int, behind: int = 0) -> None:
        planes, rows, columns = layout.axes
        depth, size = tiling.tile[planes], (tiling.shape[rows], tiling.shape[columns])
        kind = torch.float16 if layout.half else torch.float32
        self.tiling, self.layout, self.depth, self.classes = tiling, layout, depth, classes
        self.base = tiling.starts[planes][0]
        self.scores = torch.zeros((depth, classes + behind, *size), dtype=kind, device=layout.device)
        self.weights = torch.zeros((depth, *size), device=layout.device)
        tile_weights = gaussian_weights(tiling.tile).transpose(layout.axes)
        self.tile_weights = torch.from_numpy(np.ascontiguousarray(tile_weights)).to(layout.device)

    def add(self, scores: Tensor, first: IntTriple) -> None:
        """Adds a tile's scores (C, X, Y, Z), whose first voxel is `first`."""
        planes, rows, columns = self.layout.axes
        inner, box = overlap_with(first, self.tiling.tile, self.tiling.shape)
        tile = scores.to(self.layout.device).permute(1 + planes, 0, 1 + rows, 1 + columns)
        tile = tile[:, :, inner[rows], inner[columns]]
        weights = self.tile_weights[:, inner[rows], inner[columns]]
        turn = (first[planes] - self.base) % self.depth
        for ring, part in (
            (slice(turn, self.depth), slice(0, self.depth - turn)),
            (slice(0, turn), slice(self.depth - turn, self.depth)),
        ):
            sums, known = self.scores[ring, :, box[rows], box[columns]], self.weights[ring, box[rows], box[columns]]
            known += weights[part]
            if self.layout.half:
                _move_means(sums, tile[part], weights[part] / known)
            else:
                sums.addcmul_(tile[part], weights[part][:, None])

    def finish(self, first: int, stop: int) -> Iterator[FloatArray]:
        """The mean scores of planes `first` to `stop`, whose places are then free."""
        step = chunk_planes(*self.scores.shape[1:])
        while first < stop:
            turn = (first - self.base) % self.depth
            last = min(stop, first + step, first + self.depth - turn)
            ring = slice(turn, turn + last - first)
            weights = self.weights[ring][:, None]
            try:
                planes = self._means(self.scores[ring], weights)
            except torch.OutOfMemoryError:  # nothing has changed: the same on the host
                planes = self._means(self.scores[ring].cpu(), weights.cpu())
            yield planes.cpu().numpy()
            self.scores[ring], self.weights[ring] = 0, 0
            first = last

    def _means(self, scores: Tensor, weights: Tensor) -> Tensor:
        """Planes (P, C, M, N) float32 of sums and their weights (P, 1, M, N)."""
        planes = scores.float()
        if not self.layout.half:
            planes = planes / weights.clamp_min(torch.finfo(torch.float32).tiny)
        if bool((empty := weights == 0).any()):
            planes[:, 1 : self.classes].masked_fill_(empty, ELSEWHERE)
        return planes


def chunk_planes(channels: int, rows: int, columns: int) -> int:
    """How many finished planes are handed on at a time."""
    return max(1, CHUNK_BYTES // (4 * channels * rows * columns))


def _move_means(means: Tensor, tile: Tensor, share: Tensor) -> None:
    """Moves means (P, C, M, N) by a share (P, M, N) of the way to the tile's scores."""
    for first in range(0, len(means), HALF_PLANES):
        part = slice(first, first + HALF_PLANES)
        means[part] = torch.lerp(means[part].float(), tile[part], share[part][:, None]).half()
