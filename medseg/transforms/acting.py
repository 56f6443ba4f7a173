"""The steps that act on one patch: resamplings made one, the patch cut from its margin, and the grid before each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from medseg.errors import GeometryError
from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.entries import Entries
from medseg.transforms.transform import GeometricTransform, RandomTransform
from medseg.transforms.warp import AIR_HU, Warp
from medseg.transforms.window import WindowHu

Drawn = list[tuple[RandomTransform[Any], Any]]


@dataclass(frozen=True)
class Act:
    """One transform with its parameters, on a grid of `shape`."""

    transform: RandomTransform[Any]
    params: Any
    shape: IntTriple


@dataclass(frozen=True)
class Plan:
    """What is done to one sample.

    Args:
        shape: of the sample.
        start, size: of the box that is cut out before the first act; the whole sample if a resampling cuts instead.
        acts: in the order in which they run.
    """

    shape: IntTriple
    start: IntTriple
    size: IntTriple
    acts: tuple[Act, ...]

    def voxel_map(self) -> FloatArray:
        """4 x 4 from a voxel of the result to the voxel of the sample that it shows."""
        matrix = np.eye(4)
        matrix[:3, 3] = self.start
        for act in self.acts:
            step = act.transform.voxel_map(act.params, act.shape)
            matrix = matrix if step is None else matrix @ step
        return matrix

    def apply(self, entries: Entries) -> Entries:
        """The entries after all acts."""
        if self.size != self.shape:
            box = [slice(first, first + length) for first, length in zip(self.start, self.size, strict=True)]
            entries = entries.mapped(lambda t: t[:, *box], lambda t: t[:, *box])
        for act in _window_as_read(self.acts):
            entries = _with_donor_in_window(act.transform.apply_entries(entries, act.params), act)
        return entries

    def invert(self, entries: Entries) -> Entries:
        """The entries back where they lay, with air and background around a cut-out patch; grey values as they are.

        Raises:
            UsageError: a step that moved voxels cannot be inverted.
        """
        air = torch.tensor(AIR_HU)
        for act in self.acts:
            air = act.transform.apply_image(air, act.params) if isinstance(act.transform, WindowHu) else air
        for act in reversed(self.acts):
            if isinstance(act.transform, GeometricTransform):
                entries = act.transform.invert_entries(entries, act.params, act.shape)
        if self.size == self.shape:
            return entries
        return entries.mapped(lambda image: self._padded(image, float(air)), self._padded_labels)

    def _padded(self, tensor: Tensor, value: float) -> Tensor:
        sides = zip(self.start, self.size, self.shape, strict=True)
        around = [(first, n - first - length) for first, length, n in sides]
        return pad(tensor, [amount for pair in reversed(around) for amount in pair], value=value)

    def _padded_labels(self, labels: Tensor) -> Tensor:
        if not labels.is_floating_point():
            return self._padded(labels, 0)
        return torch.cat([self._padded(labels[:1], 1.0), self._padded(labels[1:], 0.0)])


def plan_acts(drawn: Drawn, shape: IntTriple, patch_shape: IntTriple | None) -> Plan:
    """What the steps that act do to a sample of `shape`, of which the middle becomes the patch.

    The cut is part of the first resampling if only the window comes before it, so that the margin fills the corners.

    Raises:
        GeometryError: the patch is larger than the sample.
    """
    steps, whole = _fused(drawn), (0, 0, 0)
    if patch_shape is None or tuple(patch_shape) == shape:
        return Plan(shape, whole, shape, _on_grids(steps, shape))
    if any(wanted > there for wanted, there in zip(patch_shape, shape, strict=True)):
        raise GeometryError("the patch is larger than the sample", expected=f"at most {shape}", got=str(patch_shape),
                            do="Pad the sample.")  # fmt: skip
    first = next((place for place, (step, _) in enumerate(steps) if not isinstance(step, WindowHu)), len(steps))
    warp = steps[first][1] if first < len(steps) else None
    if isinstance(warp, Warp) and warp.patch_shape is None:
        steps[first] = (steps[first][0], replace(warp, patch_shape=patch_shape))
        return Plan(shape, whole, shape, _on_grids(steps, shape))
    x, y, z = ((n - wanted) // 2 for n, wanted in zip(shape, patch_shape, strict=True))
    return Plan(shape, (x, y, z), patch_shape, _on_grids(steps, patch_shape))


def _window_as_read(acts: tuple[Act, ...]) -> tuple[Act, ...]:
    """The acts with a window and the resampling after it exchanged: HU are clipped as they are read.

    The result is the same but for rounding, because clipping still comes before interpolation and a linear scale may
    as well come after it. So only the patch is scaled, not the much larger sample that it is taken from.
    """
    if len(acts) < 2 or not isinstance(reading := acts[0].transform, WindowHu) or not isinstance(acts[1].params, Warp):
        return acts
    window, move = acts[0], acts[1]
    low, high = ends = window.params.window_hu
    bottom, top = reading.config.output
    outside = move.params.outside_hu
    if outside is not None and not min(bottom, top) <= outside <= max(bottom, top):
        return acts  # no HU within the window becomes this value
    beyond = outside if outside is None else low + (outside - bottom) / (top - bottom) * (high - low)
    warp = replace(move.params, clip_hu=ends, outside_hu=beyond)
    return (replace(move, params=warp), replace(window, shape=warp.target(move.shape)), *acts[2:])


def grid_after(
    transform: RandomTransform[Any], params: Any, shape: IntTriple, spacing_mm: Triple
) -> tuple[IntTriple, Triple]:
    """Shape and spacing after a transform: another shape after a crop, both exchanged after axes change places."""
    if params is None:
        return shape, spacing_mm
    if isinstance(params, Warp):
        return params.target(shape), spacing_mm
    matrix = transform.voxel_map(params, shape)
    if matrix is None:
        return shape, spacing_mm
    i, j, k = (int(axis) for axis in np.abs(matrix[:3, :3]).argmax(axis=0))
    return (shape[i], shape[j], shape[k]), (spacing_mm[i], spacing_mm[j], spacing_mm[k])


def _on_grids(steps: Drawn, shape: IntTriple) -> tuple[Act, ...]:
    def placed() -> Iterator[Act]:
        now = shape
        for transform, params in steps:
            yield Act(transform, params, now)
            now, _ = grid_after(transform, params, now, (1.0, 1.0, 1.0))

    return tuple(placed())


def _fused(drawn: Sequence[tuple[RandomTransform[Any], Any]]) -> Drawn:
    """The steps with an affine and an elastic one that follow each other made one, so that voxels move only once."""
    fused: Drawn = []
    for transform, params in drawn:
        last = fused[-1][1] if fused else None
        both = last.joined(params) if isinstance(last, Warp) and isinstance(params, Warp) else None
        if both is not None:
            fused.pop()
        fused.append((transform, both or params))
    return fused


def _with_donor_in_window(entries: Entries, act: Act) -> Entries:
    """The donor's tissue in the unit of the image, which only the window changes."""
    if entries.donor is None or not isinstance(act.transform, WindowHu):
        return entries
    return replace(entries, donor=act.transform.apply_image(entries.donor, act.params))
