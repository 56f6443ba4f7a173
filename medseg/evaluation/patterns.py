"""How often each combination of opinions occurs: all that voxel-wise statistics of several readers need to know.

R readers give a voxel one of 2^R patterns of marked and not marked, 3^R where some did not read it. Counting them once
makes STAPLE, the kappas and the conformity exact sums over a handful of rows, whatever the size of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medseg.errors import GeometryError, UsageError
from medseg.evaluation.domain import Domain, union_box
from medseg.imaging.labels import Box, count_values
from medseg.imaging.regions import Reading, box_of
from medseg.shapes import BoolArray, FloatArray, IntArray, IntTriple, Triple

UNREAD = -1
MOST_BITS = 64
Masks = Sequence[BoolArray]
Read = Sequence[BoolArray | None] | None


@dataclass(frozen=True, eq=False)
class Patterns:
    """The opinions of R readers that occur on a domain, and the voxels of each.

    Args:
        votes: (P, R) int8: 1 marked, 0 not marked, -1 not read. Voxels that nobody read are not counted.
        counts: (P,) int64 voxels.
        domain: what was counted, in words.
    """

    votes: IntArray
    counts: IntArray
    domain: str

    @property
    def readers(self) -> int:
        return int(self.votes.shape[1])

    @property
    def voxels(self) -> int:
        """Voxels of the domain that anybody read."""
        return int(self.counts.sum())

    @property
    def table(self) -> IntArray:
        """(P, 2): how many readers left the voxel and how many marked it."""
        return np.stack([(self.votes == 0).sum(axis=1), (self.votes == 1).sum(axis=1)], axis=1)

    @property
    def overlaps(self) -> tuple[IntArray, IntArray]:
        """(R, R) voxels that both of a pair marked, and (R, R) that either marked, where both read."""
        marked, read = (self.votes == 1).astype(np.int64), (self.votes != UNREAD).astype(np.int64)
        weighted = (marked * self.counts[:, None]).T
        both, sizes = weighted @ marked, weighted @ read
        return both, sizes + sizes.T - both


def count_patterns(masks: Masks, read: Read = None, *, spacing_mm: Triple, domain: Domain | None = None) -> Patterns:
    """Patterns of masks (X, Y, Z) of one structure on a domain, by default their union dilated by 10 mm.

    Only the box of the domain is looked at; on the whole image the rest is counted without a look: nobody marked it.

    Args:
        masks: one per reader, at least one.
        read: where each read (X, Y, Z, or broadcastable to it), None for everywhere.

    Raises:
        UsageError: no mask, or more than 64 readers (32 where some did not read everything).
        GeometryError: masks of different shapes.

    >>> a, b = np.array([[[True, True, False]]]), np.array([[[True, False, False]]])
    >>> found = count_patterns([a, b], spacing_mm=(1.0, 1.0, 1.0), domain=Domain(None))
    >>> found.votes.tolist(), found.counts.tolist()
    ([[0, 0], [1, 0], [1, 1]], [1, 1, 1])
    """
    checked, known = check_masks(masks, read)
    cutter = _Cutter(
        [lambda box, m=mask: m[box] for mask in checked],
        [lambda box, k=where: None if k is None else k[box] for where in known],
        [box_of(mask) for mask in checked],
        checked[0].shape,
    )
    return cutter.count(spacing_mm, domain or Domain(), any(where is not None for where in known))


def count_case_patterns(
    readings: Mapping[str, Reading],
    labels: Sequence[str] | None = None,
    *,
    domain: Domain | None = None,
    boxes: Mapping[str, Mapping[str, Box]] | None = None,
) -> dict[str, Patterns]:
    """Patterns of every structure of a case; readers stand in the order of `readings`.

    Who did not look for a structure takes no part in it, and a structure that nobody looked for is left out.

    Args:
        labels: structures to count, all foreground ones of the first reading by default.
        boxes: what `reading.boxes()` gave for each, where that is known already; it takes most of the time.
    """
    if not readings:
        return {}
    domain = domain or Domain()
    first = next(iter(readings.values()))
    boxes = boxes or {name: reading.boxes() for name, reading in readings.items()}
    gaps = {name for name, reading in readings.items() if domain.margin_mm is None and _has_gaps(reading)}
    found: dict[str, Patterns] = {}
    for label in first.label_set.foreground if labels is None else labels:
        here = {name: reading for name, reading in readings.items() if reading.was_read(label)}
        if here:
            cutter = _Cutter(
                [lambda box, r=reading, n=label: r.mask_in(n, box) for reading in here.values()],
                [reading.known_in for reading in here.values()],
                [boxes[name].get(label) for name in here],
                first.geometry.shape,
            )
            found[label] = cutter.count(first.geometry.spacing_mm, domain, bool(gaps & set(here)))
    return found


def map_patterns(masks: Masks, read: Read, value: Callable[[IntArray], FloatArray]) -> FloatArray:
    """An array (X, Y, Z) that holds at every voxel what `value` gives for its pattern.

    Args:
        value: from votes (P, R) as in `Patterns` to (P,) numbers; here a row may be unread by all.
    """
    checked, known = check_masks(masks, read)
    if any(where is not None for where in known):
        return _looked_up(pattern_codes(checked, known), len(checked), value)
    nobody = value(np.zeros((1, len(checked)), dtype=np.int8))  # beyond the box around all masks
    found: FloatArray = np.full_like(checked[0], nobody[0], dtype=nobody.dtype)
    if box := union_box([box_of(mask) for mask in checked]):
        codes = pattern_codes([mask[box] for mask in checked], known)
        found[box] = _looked_up(codes, len(checked), value)
    return found


def _looked_up(codes: IntArray, readers: int, value: Callable[[IntArray], FloatArray]) -> FloatArray:
    present, _ = count_values(codes)
    values = value(decode(present, readers))
    if codes.dtype.itemsize > 2 or not present:
        return values[np.searchsorted(np.array(present, dtype=codes.dtype), codes)]
    table = np.zeros(max(present) + 1, dtype=values.dtype)  # looking up is many times faster than searching
    table[present] = values
    return table[codes]


def check_masks(masks: Masks, read: Read = None) -> tuple[list[BoolArray], list[BoolArray | None]]:
    """The masks, and where each reader read, broadcast to the same shape.

    Raises:
        UsageError: no mask, or not as many `read` as masks.
        GeometryError: masks of different shapes.
    """
    if not masks or (read is not None and len(read) != len(masks)):
        raise UsageError("opinions cannot be counted", expected="at least one mask, and as many `read` as masks",
                         got=f"{len(masks)} masks, {len(masks) if read is None else len(read)} read")  # fmt: skip
    checked = [np.asarray(mask, dtype=bool) for mask in masks]
    shape = checked[0].shape
    if other := next((mask.shape for mask in checked if mask.shape != shape), None):
        raise GeometryError("masks of different shapes", expected=str(shape), got=str(other))
    return checked, [None if where is None else np.broadcast_to(where, shape) for where in read or [None] * len(masks)]


def pattern_codes(masks: Masks, known: Sequence[BoolArray | None]) -> IntArray:
    """A number (X, Y, Z) per voxel: bit r stands for marked by reader r, bit R + r for not read by reader r."""
    readers = len(masks)
    bits = readers * (1 if all(where is None for where in known) else 2)
    if bits > MOST_BITS:
        raise UsageError("too many readers to count their patterns", expected=f"at most {MOST_BITS * readers // bits}",
                         got=str(readers))  # fmt: skip
    kind = next(kind for kind in (np.uint8, np.uint16, np.uint32, np.uint64) if bits <= 8 * np.dtype(kind).itemsize)
    codes: IntArray = np.zeros_like(masks[0], dtype=kind)  # keeps the masks' order in memory
    for reader, (mask, where) in enumerate(zip(masks, known, strict=True)):
        marked = mask if where is None else mask & where
        codes |= marked.astype(kind) << kind(reader)
        if where is not None:
            codes |= (~where).astype(kind) << kind(readers + reader)
    return codes


def decode(codes: Sequence[int], readers: int) -> IntArray:
    """Votes (P, R) int8 of the numbers of `pattern_codes`.

    >>> decode([0b01, 0b1001], 2).tolist()
    [[1, 0], [1, -1]]
    """
    rows = [[UNREAD if code >> (readers + r) & 1 else code >> r & 1 for r in range(readers)] for code in codes]
    return np.array(rows, dtype=np.int8).reshape(-1, readers)


@dataclass(frozen=True)
class _Cutter:
    """Readings of one structure of which any box can be had.

    Args:
        masks, known: per reader, the mask and where it read inside a box (None for everywhere).
        boxes: per reader, the box around the mask, None when it is empty.
        shape: of the image.
    """

    masks: Sequence[Callable[[Box], BoolArray]]
    known: Sequence[Callable[[Box], BoolArray | None]]
    boxes: Sequence[Box | None]
    shape: IntTriple

    def count(self, spacing_mm: Triple, domain: Domain, has_gaps: bool) -> Patterns:
        """Patterns on a domain; with gaps in the reading, nothing outside the box is known without a look."""
        box = domain.box(union_box(self.boxes), self.shape, spacing_mm)
        if domain.margin_mm is None and has_gaps:
            box = slice(0, self.shape[0]), slice(0, self.shape[1]), slice(0, self.shape[2])
        found: dict[int, int] = {}
        looked_at = 0
        if box is not None:
            codes = pattern_codes([mask(box) for mask in self.masks], [known(box) for known in self.known])
            looked_at = codes.size
            marked = (codes & codes.dtype.type((1 << len(self.masks)) - 1)) != 0
            inside = domain.inside(marked, spacing_mm)
            found = dict(zip(*count_values(codes if inside is None else codes[inside]), strict=True))
        if domain.margin_mm is None and (rest := int(np.prod(self.shape)) - looked_at):
            found[0] = found.get(0, 0) + rest
        votes = decode(sorted(found), len(self.masks))
        counts = np.array([found[code] for code in sorted(found)], dtype=np.int64)
        anybody = (votes != UNREAD).any(axis=1)
        return Patterns(votes[anybody], counts[anybody], str(domain))


def _has_gaps(reading: Reading) -> bool:
    x, y, z = reading.geometry.shape
    return reading.known_in((slice(0, x), slice(0, y), slice(0, z))) is not None
