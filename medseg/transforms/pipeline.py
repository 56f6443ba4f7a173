"""The whole augmentation: which steps a recipe asks for, and one call that runs them from one seed."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from monai.transforms.transform import MapTransform, Randomizable

from medseg.errors import GeometryError, UsageError
from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.entries import Entries, read_entries, write_entries
from medseg.transforms.ranges import new_seed
from medseg.transforms.registry import EVERY_STEP, AnyStep, StepConfig
from medseg.transforms.steps import TransformsConfig
from medseg.transforms.transform import RandomTransform
from medseg.transforms.warp import Warp
from medseg.transforms.window import WindowHu

__all__ = ["AnyStep", "Pipeline", "StepConfig", "TransformsConfig", "build_pipeline"]

DEFAULT_STEPS = EVERY_STEP


class Pipeline(MapTransform, Randomizable):
    """Runs transforms one after the other on a sample, each from its own stream of random numbers.

    A stream depends on the seed and on the transform's name, so the same seed gives bit-identical results whatever
    the number of workers, and switching one transform off leaves what the others draw as it was. It also stands in
    a `monai.transforms.Compose`, where the seed comes from `set_random_state`.
    """

    def __init__(
        self,
        transforms: Sequence[tuple[str, RandomTransform[Any]]],
        *,
        keys: Sequence[Hashable],
        label_keys: Sequence[Hashable],
        spacing_mm: Triple | None = None,
        patch_shape: IntTriple | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)  # type: ignore[arg-type]  # MONAI's own alias is narrower in name only
        self.transforms, self.label_keys, self.spacing_mm = tuple(transforms), tuple(label_keys), spacing_mm
        self.patch_shape = patch_shape

    def sample(self, shape: IntTriple, spacing_mm: Triple, seed: Sequence[int]) -> tuple[Any, ...]:
        """Parameters of every transform, in order; None for those that do not act."""
        streams = _streams([name for name, _ in self.transforms], seed)
        return tuple(
            transform.sample(rng, shape, spacing_mm)
            for (_, transform), rng in zip(self.transforms, streams, strict=True)
        )

    def apply(self, data: Mapping[Hashable, Any], params: Sequence[Any]) -> dict[Hashable, Any]:
        """Replays known parameters on a sample."""
        return self._moved(data, self._entries(data), params)

    def __call__(self, data: Mapping[Hashable, Any], *, seed: Sequence[int] | None = None) -> dict[Hashable, Any]:
        """A new sample; the given one and its tensors are not changed.

        Args:
            data: image (1, X, Y, Z) in HU, labels (R, X, Y, Z) class indices or (C, X, Y, Z) soft targets.
            seed: for example (seed, epoch, case, patch); None draws one from `set_random_state`'s stream.

        Raises:
            UsageError, GeometryError, LabelError: as in `read_entries`; the seed is no sequence of whole numbers; the
                patch is larger than the sample.
        """
        if not self.transforms and self.patch_shape is None:
            return dict(data)
        entries = self._entries(data)
        chosen = seed if seed is not None else (new_seed(self.R), new_seed(self.R))
        shape = self.patch_shape or entries.shape
        return self._moved(data, entries, self.sample(shape, entries.spacing_mm, chosen))

    def randomize(self, data: Any) -> None:
        """Nothing to do: `sample` draws everything."""

    def _entries(self, data: Mapping[Hashable, Any]) -> Entries:
        return read_entries(data, self.keys, self.label_keys, spacing_mm=self.spacing_mm,
                            allow_missing_keys=self.allow_missing_keys)  # fmt: skip

    def _moved(self, data: Mapping[Hashable, Any], entries: Entries, params: Sequence[Any]) -> dict[Hashable, Any]:
        acting = [(step, drawn) for (_, step), drawn in zip(self.transforms, params, strict=True) if drawn is not None]
        entries, steps, voxel_map = _cut(entries, _fused(acting), self.patch_shape)
        for transform, drawn in steps:
            moved = transform.apply_entries(entries, drawn)
            step = transform.voxel_map(drawn, entries.shape)
            voxel_map = voxel_map if step is None else voxel_map @ step
            entries = _with_donor_in_window(moved, transform, drawn)
        return write_entries(data, entries, voxel_map)


def _with_donor_in_window(entries: Entries, transform: RandomTransform[Any], drawn: Any) -> Entries:
    """The donor's tissue in the unit of the image, which only the window changes."""
    if entries.donor is None or not isinstance(transform, WindowHu):
        return entries
    return replace(entries, donor=transform.apply_image(entries.donor, drawn))


Steps = list[tuple[RandomTransform[Any], Any]]


def _fused(steps: Steps) -> Steps:
    """The steps with an affine and an elastic one that follow each other made one, so that voxels move only once."""
    fused: Steps = []
    for transform, drawn in steps:
        last = fused[-1][1] if fused else None
        both = last.joined(drawn) if isinstance(last, Warp) and isinstance(drawn, Warp) else None
        if both is not None:
            fused.pop()
        fused.append((transform, both or drawn))
    return fused


def _cut(entries: Entries, steps: Steps, patch_shape: IntTriple | None) -> tuple[Entries, Steps, FloatArray]:
    """The cut to the middle: part of the first resampling if only the window comes before it, so that the margin fills
    the corners; else done here and told as a voxel map.

    Raises:
        GeometryError: the patch is larger than the sample.
    """
    shape, voxel_map = entries.shape, np.eye(4)
    if patch_shape is None or patch_shape == shape:
        return entries, steps, voxel_map
    if any(wanted > there for wanted, there in zip(patch_shape, shape, strict=True)):
        raise GeometryError("the patch is larger than the sample", expected=f"at most {shape}", got=str(patch_shape),
                            do="Pad the sample.")  # fmt: skip
    first = next((place for place, (step, _) in enumerate(steps) if not isinstance(step, WindowHu)), len(steps))
    if first < len(steps) and isinstance(steps[first][1], Warp):
        transform, warp = steps[first]
        cutting = (transform, replace(warp, patch_shape=patch_shape))
        return entries, [*steps[:first], cutting, *steps[first + 1 :]], voxel_map
    box = [slice((n - wanted) // 2, (n - wanted) // 2 + wanted) for n, wanted in zip(shape, patch_shape, strict=True)]
    voxel_map[:3, 3] = [side.start for side in box]
    return entries.mapped(lambda t: t[:, *box], lambda t: t[:, *box]), steps, voxel_map


def build_pipeline(
    config: TransformsConfig,
    *,
    mirror_pairs: tuple[tuple[int, int], ...] = (),
    left_right_axis: int = 0,
    image_key: str = "image",
    label_keys: tuple[str, ...] = ("labels",),
    spacing_mm: Triple | None = None,
    patch_shape: IntTriple | None = None,
    allow_missing_keys: bool = False,
) -> Pipeline:
    """The pipeline of a recipe.

    Args:
        config: the steps.
        mirror_pairs: class indices that a left/right flip turns into each other.
        left_right_axis: the voxel axis that runs from left to right.
        image_key, label_keys: entries of the sample.
        spacing_mm: of every sample; None takes the sample's own (`spacing_mm`, or a MetaTensor's affine), else 1 mm.
        patch_shape: of the result, the middle of the sample; what a sample has beyond it fills the corners when the
            patch turns or shrinks. None keeps the sample's shape.
        allow_missing_keys: whether labels may be absent, as at inference.
    """
    keys = (image_key, *label_keys)
    transforms = []
    for step in config.complete():
        flip = {"mirror_pairs": mirror_pairs, "left_right_axis": left_right_axis} if step.name == "flip" else {}
        transforms.append((step.name, step.build(keys, label_keys=label_keys, spacing_mm=spacing_mm, **flip)))
    return Pipeline(transforms, keys=keys, label_keys=label_keys, spacing_mm=spacing_mm,
                    patch_shape=patch_shape, allow_missing_keys=allow_missing_keys)  # fmt: skip


def _streams(names: Sequence[str], seed: Sequence[int]) -> list[np.random.Generator]:
    words = [int(word) for word in seed]
    if not words or min(words) < 0 or words != list(seed):
        raise UsageError("not a seed", expected="whole numbers such as (seed, epoch, case, patch)", got=str(seed))
    seen: Counter[str] = Counter()
    streams = []
    for name in names:
        key = (zlib.crc32(name.encode()), seen[name])  # a second step of the same name has its own stream
        seen[name] += 1
        # The length keeps (1,) and (1, 0) apart, which numpy would pad to the same entropy.
        streams.append(np.random.default_rng(np.random.SeedSequence([len(words), *words], spawn_key=key)))
    return streams
