"""What every transform is: parameters are sampled first, then applied to the image and every label alike."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform, Randomizable
from torch import Tensor

from medseg.config import Config
from medseg.errors import UsageError
from medseg.shapes import FloatArray, IntTriple, Triple
from medseg.transforms.entries import Entries, read_entries, write_entries
from medseg.transforms.parameters import params_from_data, params_to_data
from medseg.transforms.ranges import Rng
from medseg.transforms.tracing import traced, undo_traced

P = TypeVar("P")
Keys = Hashable | Iterable[Hashable]
DEFAULT_KEYS = ("image", "labels")
DEFAULT_LABEL_KEYS = ("labels", "label")


class StepBase(Config):
    """Settings of a transform, as they stand in a recipe.

    `works_in` says which numbers its defaults suit: `hu` before the `window` step; `any` also after it, because the
    transform measures in units of the image itself (its mean, spread or range) or not at all.
    """

    works_in: ClassVar[Literal["hu", "any"]] = "hu"


class RandomTransform(MapTransform, Randomizable, Generic[P]):
    """A dictionary transform in two steps, for `monai.transforms.Compose` or by hand.

    `sample` draws parameters, `apply` moves a sample by them, and calling the transform does both with the random
    state that `set_random_state` (or that of the surrounding Compose) governs. The parameters of the latest call stay
    in `params`; None means that it did not act.

    Args:
        keys: entries to move.
        label_keys: those of `keys` that hold labels; intensity transforms leave them alone.
        allow_missing_keys: whether a sample may lack some of them.
        spacing_mm: of the grid; None takes the sample's `spacing_mm`, else the MetaTensor's, else 1 mm.
    """

    def __init__(
        self,
        keys: Keys = DEFAULT_KEYS,
        *,
        label_keys: Keys = DEFAULT_LABEL_KEYS,
        allow_missing_keys: bool = False,
        spacing_mm: Triple | None = None,
    ) -> None:
        super().__init__(keys, allow_missing_keys)  # type: ignore[arg-type]  # MONAI's own alias is narrower in name only
        self.label_keys = (label_keys,) if isinstance(label_keys, str) else tuple(label_keys)  # type: ignore[arg-type]
        self.spacing_mm = spacing_mm
        self.params: P | None = None

    @abstractmethod
    def sample(self, rng: Rng, shape: IntTriple, spacing_mm: Triple) -> P | None:
        """Parameters for a grid of this shape and spacing, or None when the transform does not act this time."""

    @abstractmethod
    def apply_image(self, image: Tensor, params: P) -> Tensor:
        """The image (channels, X, Y, Z) after the transform; the given tensor is not changed."""

    def apply_labels(self, labels: Tensor, params: P) -> Tensor:
        """The labels (R or C, X, Y, Z) after the transform: the same ones, unless the transform moves voxels."""
        return labels

    def apply_entries(self, entries: Entries, params: P) -> Entries:
        """Image and labels after the transform; its own only where the image's change depends on the labels."""
        return entries.mapped(lambda t: self.apply_image(t, params), lambda t: self.apply_labels(t, params))

    def invert_entries(self, entries: Entries, params: P | None, shape: IntTriple) -> Entries:
        """Image and labels as they lay before the transform, on a grid of `shape`; None undoes nothing.

        Overridden by transforms that can be undone, which begin with what this one does for None.

        Raises:
            UsageError: it cannot be undone.
        """
        if params is None:
            return entries
        raise UsageError(
            "the transform cannot be inverted",
            where=type(self).__name__,
            expected="one that only moves voxels (affine, elastic, flip, rot90, transpose)",
            do="Leave it out of what is inverted.",
        )

    def voxel_map(self, params: P, shape: IntTriple) -> FloatArray | None:
        """4 x 4 from voxels of the result to voxels of the source, or None where voxels stay."""
        return None

    def randomize(self, data: Entries) -> None:
        """Draws `params` from the transform's own random state."""
        self.params = self.sample(self.R, data.shape, data.spacing_mm)

    def invert(self, data: Mapping[Hashable, Any], params: P | None, shape: IntTriple) -> dict[Hashable, Any]:
        """A sample as it lay before `apply(sample, params)`, on the grid of `shape` that it had; a prediction too.

        Integers and soft targets under `label_keys` move as labels do, with left and right exchanged back.

        Raises:
            UsageError: the transform cannot be inverted.
        """
        if params is None:
            return dict(data)
        return self._undone(data, params, shape, self.label_keys)

    def _undone(
        self, data: Mapping[Hashable, Any], params: P, shape: IntTriple, label_keys: tuple[Hashable, ...]
    ) -> dict[Hashable, Any]:
        entries = read_entries(data, self.keys, label_keys, spacing_mm=self.spacing_mm,
                               allow_missing_keys=self.allow_missing_keys)  # fmt: skip
        voxel_map = self.voxel_map(params, shape)
        back = None if voxel_map is None else np.linalg.inv(voxel_map)
        return write_entries(data, self.invert_entries(entries, params, shape), back)

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """As `GeometricTransform.inverse`, which a change of grey values has not.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            "changes grey values and cannot be inverted",
            where=type(self).__name__,
            do="In a Compose, `Compose.inverse` passes over it; on its own, leave it out.",
        )

    def apply(self, data: Mapping[Hashable, Any], params: P | None) -> dict[Hashable, Any]:
        """Replays known parameters on a sample; None gives back its content."""
        return self._moved(data, self._entries(data), params)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """A new sample, moved by newly drawn parameters."""
        entries = self._entries(data)
        self.randomize(entries)
        return self._moved(data, entries, self.params)

    def _entries(self, data: Mapping[Hashable, Any]) -> Entries:
        return read_entries(data, self.keys, self.label_keys, spacing_mm=self.spacing_mm,
                            allow_missing_keys=self.allow_missing_keys)  # fmt: skip

    def _moved(self, data: Mapping[Hashable, Any], entries: Entries, params: P | None) -> dict[Hashable, Any]:
        if params is None:
            return dict(data)
        return write_entries(data, self.apply_entries(entries, params), self.voxel_map(params, entries.shape))


class GeometricTransform(RandomTransform[P], InvertibleTransform):
    """A transform that moves voxels; MetaTensors keep a trace of it, so that MONAI's `Compose.inverse` and `Invertd`
    can undo it."""

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """The sample as it lay before the latest call that its MetaTensors keep a trace of (`tracing.undo_traced`).

        Raises:
            UsageError: there is no such trace, or the transform cannot be inverted.
        """

        def undo(sample: Any, drawn: Any, shape: IntTriple, label_keys: tuple[Hashable, ...]) -> dict[Hashable, Any]:
            params = params_from_data(self, drawn)
            return sample if params is None else self._undone(sample, params, shape, label_keys)

        return undo_traced(self, data, undo)

    def _moved(self, data: Mapping[Hashable, Any], entries: Entries, params: P | None) -> dict[Hashable, Any]:
        moved = super()._moved(data, entries, params)
        return traced(self, moved, lambda: params_to_data(self, params), entries.shape)
