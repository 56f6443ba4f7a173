"""The whole augmentation: which steps a recipe asks for, and one call that runs them from one seed."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform, Randomizable

from medseg.errors import GeometryError, LabelError, UsageError
from medseg.shapes import IntTriple, Triple
from medseg.transforms.acting import Plan, grid_after, plan_acts
from medseg.transforms.entries import Entries, read_entries, write_entries
from medseg.transforms.parameters import describe_params, params_from_data, params_to_data
from medseg.transforms.ranges import new_seed
from medseg.transforms.registry import AnyStep, StepConfig
from medseg.transforms.sides import checked_pairs, mirror_advice
from medseg.transforms.steps import TransformsConfig, without_left_right_flips
from medseg.transforms.tracing import traced, undo_traced
from medseg.transforms.transform import RandomTransform

__all__ = ["AnyStep", "Pipeline", "StepConfig", "TransformsConfig", "build_pipeline"]


class Pipeline(MapTransform, Randomizable, InvertibleTransform):
    """Runs transforms one after the other on a sample, each from its own stream of random numbers.

    A stream depends on the seed and on the transform's name, so the same seed gives bit-identical results whatever
    the number of workers, and switching one transform off leaves what the others draw as it was. It also stands in
    a `monai.transforms.Compose`, where the seed comes from `set_random_state`. The parameters of the latest call stay
    in `params`.
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
        if patch_shape is not None and (len(patch_shape) != 3 or min(patch_shape) < 1):
            raise GeometryError("no shape of a patch", where="patch_shape", expected="three numbers of voxels above 0",
                                got=str(patch_shape))  # fmt: skip
        self.transforms, self.label_keys, self.spacing_mm = tuple(transforms), tuple(label_keys), spacing_mm
        self.patch_shape, self.params = patch_shape, ()

    @property
    def needs_donor(self) -> bool:
        """Whether an occlusion may take tissue from the sample's `donor`."""
        return any("tissue" in getattr(getattr(step, "config", None), "fills", ()) for _, step in self.transforms)

    def sample(self, shape: IntTriple, spacing_mm: Triple, seed: Sequence[int]) -> tuple[Any, ...]:
        """Parameters of every transform, in order, for a patch of `shape`; None for those that do not act."""
        streams, drawn = _streams([name for name, _ in self.transforms], seed), []
        for (_, transform), rng in zip(self.transforms, streams, strict=True):
            params = transform.sample(rng, shape, spacing_mm)
            shape, spacing_mm = grid_after(transform, params, shape, spacing_mm)
            drawn.append(params)
        return tuple(drawn)

    def describe(self, params: Sequence[Any]) -> list[str]:
        """One line for each transform: its name and what was drawn for it."""
        return [describe_params(name, drawn) for (name, _), drawn in self._each(params)]

    def to_data(self, params: Sequence[Any]) -> list[dict[str, Any]]:
        """Parameters as plain data, which `json.dumps` takes: `[{"name": ..., "params": ... or None}, ...]`."""
        return [
            {"name": name, "params": params_to_data(transform, drawn)}
            for (name, transform), drawn in self._each(params)
        ]

    def from_data(self, data: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
        """The parameters that `to_data` put out, for `apply`.

        Raises:
            UsageError: they are of other transforms.
        """
        names = [str(item.get("name")) if isinstance(item, Mapping) else str(item) for item in data]
        if names != [name for name, _ in self.transforms]:
            raise UsageError("parameters of another pipeline", expected=", ".join(name for name, _ in self.transforms),
                             got=", ".join(names))  # fmt: skip
        return tuple(params_from_data(transform, item.get("params")) for (_, transform), item in self._each(data))

    def apply(self, data: Mapping[Hashable, Any], params: Sequence[Any]) -> dict[Hashable, Any]:
        """Replays known parameters on a sample."""
        return self._moved(data, self._entries(data, self.label_keys), params)

    def invert(self, data: Mapping[Hashable, Any], params: Sequence[Any], shape: IntTriple) -> dict[Hashable, Any]:
        """A sample, or a prediction on it, as it lay before `apply`, on the grid of `shape` that the sample had.

        Steps that change grey values are passed over: places come back, values stay.

        Raises:
            UsageError: a step that moved voxels cannot be inverted.
        """
        return self._undone(data, params, shape, self.label_keys)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample as it lay before the latest call that its MetaTensors keep a trace of (`tracing.undo_traced`).

        Raises:
            UsageError: there is no such trace, or a step that moved voxels cannot be inverted.
        """

        def undo(sample: Any, drawn: Any, shape: IntTriple, label_keys: tuple[Hashable, ...]) -> dict[Hashable, Any]:
            return self._undone(sample, self.from_data(drawn), shape, label_keys)

        return undo_traced(self, data, undo)

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
            self.params = ()
            return dict(data)
        entries = self._entries(data, self.label_keys)
        chosen = seed if seed is not None else (new_seed(self.R), new_seed(self.R))
        self.params = self.sample(self.patch_shape or entries.shape, entries.spacing_mm, chosen)
        return self._moved(data, entries, self.params)

    def randomize(self, data: Any) -> None:
        """Nothing to do: `sample` draws everything."""

    def _entries(self, data: Mapping[Hashable, Any], label_keys: Sequence[Hashable]) -> Entries:
        return read_entries(data, self.keys, label_keys, spacing_mm=self.spacing_mm,
                            allow_missing_keys=self.allow_missing_keys)  # fmt: skip

    def _each(self, items: Sequence[Any]) -> Iterator[tuple[tuple[str, RandomTransform[Any]], Any]]:
        if len(items) != len(self.transforms):
            raise UsageError("parameters of another pipeline", expected=f"{len(self.transforms)} of them",
                             got=str(len(items)))  # fmt: skip
        return zip(self.transforms, items, strict=True)

    def _plan(self, params: Sequence[Any], shape: IntTriple) -> Plan:
        acting = [(transform, drawn) for (_, transform), drawn in self._each(params) if drawn is not None]
        return plan_acts(acting, shape, self.patch_shape)

    def _moved(self, data: Mapping[Hashable, Any], entries: Entries, params: Sequence[Any]) -> dict[Hashable, Any]:
        plan = self._plan(params, entries.shape)
        moved = write_entries(data, plan.apply(entries), plan.voxel_map())
        return traced(self, moved, lambda: self.to_data(params), entries.shape)

    def _undone(
        self, data: Mapping[Hashable, Any], params: Sequence[Any], shape: IntTriple, label_keys: tuple[Hashable, ...]
    ) -> dict[Hashable, Any]:
        plan = self._plan(params, shape)
        entries = plan.invert(self._entries(data, label_keys))
        return write_entries(data, entries, np.linalg.inv(plan.voxel_map()))


def build_pipeline(
    config: TransformsConfig,
    *,
    mirror_pairs: tuple[tuple[int, int], ...] = (),
    label_names: Sequence[str] = (),
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
        label_names: of the classes by index, if those that name a side are to be checked for a mirror pair.
        left_right_axis: the voxel axis that runs from left to right.
        image_key, label_keys: entries of the sample.
        spacing_mm: of every sample; None takes the sample's own (`spacing_mm`, or a MetaTensor's affine), else 1 mm.
        patch_shape: of the result, the middle of the sample; what a sample has beyond it fills the corners when the
            patch turns or shrinks. None keeps the sample's shape.
        allow_missing_keys: whether labels may be absent, as at inference.

    Raises:
        LabelError: classes name a side, have no mirror pair, and a step would make left look like right; `mirror_pairs`
            does not pair classes one to one.
        GeometryError: `patch_shape` is no three numbers of voxels.
    """
    steps = config.complete()
    advice = mirror_advice(label_names, checked_pairs(mirror_pairs, left_right_axis))
    if advice.sentence and steps != without_left_right_flips(steps, left_right_axis):
        raise LabelError("a flip would give classes the name of the wrong side", where="mirror_pairs",
                         expected="a mirror pair for " + ", ".join(advice.unpaired),
                         do="Declare the pairs, or drop such flips (without_left_right_flips).")  # fmt: skip
    keys = (image_key, *label_keys)
    transforms = []
    for step in steps:
        mirrors = step.name in ("flip", "transpose")
        flip = {"mirror_pairs": mirror_pairs, "left_right_axis": left_right_axis} if mirrors else {}
        if step.name == "contrast_phase":
            flip = {"mirror_pairs": mirror_pairs}
        transforms.append((step.name, step.build(keys, label_keys=label_keys, spacing_mm=spacing_mm, **flip)))
    return Pipeline(transforms, keys=keys, label_keys=label_keys, spacing_mm=spacing_mm,
                    patch_shape=patch_shape, allow_missing_keys=allow_missing_keys)  # fmt: skip


def _streams(names: Sequence[str], seed: Sequence[int]) -> list[np.random.Generator]:
    words = [int(word) for word in seed] if isinstance(seed, Iterable) and not isinstance(seed, str) else []
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
