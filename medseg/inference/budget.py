"""Promises about memory: what a study takes, which layout keeps to it, and the smallest budget that works."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import psutil
import torch

from medseg.errors import UsageError
from medseg.inference.slabs import Layout, chunk_planes
from medseg.shapes import IntTriple

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
LIBRARY_SHARE, LIBRARY_BYTES = 1.6, 96 * 2**20  # of a forward pass: convolutions reorder what they are given; measured
CHUNKS = 3  # copies of a chunk of finished planes before the way back: read out, divided, and on a device the next one
HEARD, EACH_EXPERT, LABEL_BYTES = 5, 3, 16  # scores beside those of a pass: shares of a member, their mean, products;
# for each expert; and bytes of a member's label while it is counted
MARGIN_BYTES = 48 * 2**20  # what the allocator keeps between uses


def read_size(text: str | int | None, *, where: str) -> int | None:
    """Bytes of `8G`, `512M`, `1.5 GiB` or a whole number; None for None.

    Raises:
        UsageError: it is no size.

    >>> read_size("1.5G", where="--ram")
    1610612736
    """
    if text is None:
        return None
    match = SIZE.fullmatch(str(text).strip())
    if not match or not (size := int(float(match[1]) * UNITS[match[2].upper()])):
        raise UsageError("no size of a memory", where=where, expected="such as 8G or 512M", got=str(text))
    return size


def tell_size(size: int) -> str:
    """A size that is not smaller, as a word that `read_size` understands.

    >>> tell_size(1_000_000_000), tell_size(3 * 2**30)
    ('954M', '3G')
    """
    if size >= 2**30 and size % 2**30 == 0:
        return f"{size // 2**30}G"
    return f"{-(-size // 2**20)}M"


@dataclass(frozen=True)
class Budget:
    """The most bytes of memory that the whole process (`ram`) and its share of the device (`vram`) may hold."""

    ram: int | None = None
    vram: int | None = None


@dataclass(frozen=True)
class Work:
    """What is known of a study before the network sees it.

    Args:
        shape: voxels of the standardised image along X, Y, Z.
        tile: voxels of a tile.
        classes: of the scores.
        native_voxels: of the study.
        label_bytes: of one label.
        forward: bytes of a forward pass of one tile, by `footprint.forward_bytes`.
        weights: bytes of the networks' weights.
        before: bytes that are still to be made before the network starts, such as the standardised image; less than 0
            where something is let go.
        members: who are heard one by one, 1 where none are.
        experts: whether one network speaks for all of them.
        restoring: bytes of the way back to the study's grid, by the axes of a layout and the planes of a chunk.
        elsewhere: the most bytes at another time than the network's: while the study is read, standardised or written.
    """

    shape: IntTriple
    tile: IntTriple
    classes: int
    native_voxels: int
    label_bytes: int
    forward: int
    weights: int
    before: int = 0
    members: int = 1
    experts: bool = False
    restoring: Callable[[IntTriple, int], int] = lambda axes, chunk: 0
    elsewhere: int = 0

    @property
    def channels(self) -> int:
        """Of the sums: the classes, and behind them the disagreement where members are heard."""
        return self.classes + (1 if self.members > 1 else 0)

    def chunk(self, axes: IntTriple) -> int:
        """Finished planes that are handed on at a time."""
        planes, rows, columns = axes
        return min(chunk_planes(self.channels, self.shape[rows], self.shape[columns]), self.tile[planes])

    def pass_bytes(self, batch: int) -> int:
        """Bytes of a batch of tiles on its way through the network."""
        x, y, z = self.tile
        copies = 3
        if self.members > 1:
            copies += HEARD + (EACH_EXPERT * (self.members + 1) if self.experts else 0)
        scores = copies * batch * self.channels * x * y * z * 4
        labels = batch * (self.members - 1) * x * y * z * LABEL_BYTES
        return int(self.forward * batch * LIBRARY_SHARE) + scores + labels + LIBRARY_BYTES

    def host_bytes(self, layout: Layout, batch: int, *, on_device: bool) -> int:
        """Bytes that the process will hold beyond what it holds now."""
        rows, columns = self.shape[layout.axes[1]], self.shape[layout.axes[2]]
        chunk = 4 * self.channels * rows * columns * self.chunk(layout.axes)
        sums = 0 if layout.device.type != "cpu" else layout.nbytes(self.shape, self.tile, self.channels)
        network = 0 if on_device else self.pass_bytes(batch)
        own = self.native_voxels * self.label_bytes
        way_back = CHUNKS * chunk + self.restoring(layout.axes, self.chunk(layout.axes))
        return max(self.before + own + sums + way_back + network, self.elsewhere) + MARGIN_BYTES

    def device_bytes(self, layout: Layout, batch: int) -> int:
        """Bytes on the device."""
        sums = 0 if layout.device.type == "cpu" else layout.nbytes(self.shape, self.tile, self.channels)
        return self.weights + self.pass_bytes(batch) + sums


@dataclass(frozen=True)
class Choice:
    """A layout and how many tiles are computed at a time."""

    layout: Layout
    batch: int


def choose(
    work: Work,
    budget: Budget,
    axes: tuple[IntTriple, ...],
    device: torch.device,
    batch: int,
    *,
    held: int | None = None,
) -> Choice:
    """The most comfortable way to work that keeps both promises.

    Args:
        axes: orders of the axes, the best first.
        batch: tiles at a time that are wanted.
        held: bytes that the process holds now; asked of the system where None.

    Raises:
        UsageError: no way does; says the smallest budget that works.
    """
    held = psutil.Process().memory_info().rss if held is None else held
    on_device = device.type != "cpu"
    tried = list(_ways(axes, device, batch))
    host = {way: held + work.host_bytes(way.layout, way.batch, on_device=on_device) for way in tried}
    card = {way: work.device_bytes(way.layout, way.batch) for way in tried}
    fits_card = [way for way in tried if not on_device or budget.vram is None or card[way] <= budget.vram]
    if not fits_card:
        raise _too_small("--vram", budget.vram, min(card.values()))
    for way in fits_card:
        if budget.ram is None or host[way] <= budget.ram:
            return way
    raise _too_small("--ram", budget.ram, min(host[way] for way in fits_card))


def least_host_bytes(work: Work, axes: tuple[IntTriple, ...], device: torch.device) -> int:
    """The fewest bytes of the process beyond what it holds, over all ways to work."""
    on_device = device.type != "cpu"
    return min(work.host_bytes(way.layout, way.batch, on_device=on_device) for way in _ways(axes, device, 1))


def _ways(axes: tuple[IntTriple, ...], device: torch.device, batch: int) -> Iterator[Choice]:
    """From the most comfortable way to the most frugal one."""
    batches = sorted({1, batch, max(1, batch // 2), max(1, batch // 4)}, reverse=True)
    devices = [device] if device.type == "cpu" else [device, torch.device("cpu")]
    for place, half, size, order in product(devices, (False, True), batches, axes):
        yield Choice(Layout(order, half, place), size)


def _too_small(option: str, given: int | None, least: int) -> UsageError:
    return UsageError("the memory is too small for this study and network", where=option,
                      expected=f"at least {tell_size(least)}", got=tell_size(given or 0),
                      do="Give more, or set inference.overlap lower or train with a smaller patch.")  # fmt: skip
