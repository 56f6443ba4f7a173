"""From a user's dictionary to plain tensors, checked, and back with type and affine kept."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from medseg.errors import GeometryError, LabelError, UsageError, VoxelError
from medseg.shapes import FloatArray, IntTriple, Triple

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
WIDER = {torch.uint16: torch.int32, torch.uint32: torch.int64, torch.uint64: torch.int64}  # torch hardly computes these
SUM_TOLERANCE = 1e-3  # soft targets stored as float16 miss 1 by up to 5e-4


@dataclass(frozen=True)
class Entries:
    """The moving parts of one sample, as plain tensors on one grid.

    Args:
        images: key to float32 (channels, X, Y, Z), whatever the sample's own precision.
        labels: key to integers (R, X, Y, Z) or soft targets (C, X, Y, Z) float32.
        spacing_mm: of the grid.
        donor: image of another patient in the same unit, (channels, X, Y, Z) float32 of any size, from which an
            occlusion may take tissue; the sample's entry `donor`.
    """

    images: Mapping[Hashable, Tensor]
    labels: Mapping[Hashable, Tensor]
    spacing_mm: Triple
    donor: Tensor | None = None

    @property
    def shape(self) -> IntTriple:
        """Voxels along X, Y, Z."""
        x, y, z = next(iter([*self.images.values(), *self.labels.values()])).shape[1:]
        return x, y, z

    def mapped(self, image, label) -> Entries:
        """The entries after `image(tensor)` and `label(tensor)`."""
        return replace(
            self,
            images={key: image(tensor) for key, tensor in self.images.items()},
            labels={key: label(tensor) for key, tensor in self.labels.items()},
        )


def read_entries(
    sample: Mapping[Hashable, Any],
    keys: Sequence[Hashable],
    label_keys: Sequence[Hashable],
    *,
    spacing_mm: Triple | None = None,
    allow_missing_keys: bool = False,
) -> Entries:
    """Takes images and labels out of a dictionary; nothing in it is changed.

    The spacing is the argument, else the entry `spacing_mm` of the sample, else a MetaTensor's, else 1 mm.

    Raises:
        UsageError: the sample is no dictionary, a key is not in it, or none is.
        GeometryError: an entry has other than four axes, or another grid than the first; the spacing is no three
            positive lengths.
        LabelError: integers under an image key, or labels that are neither integers nor sum to 1 over the channels.
        VoxelError: an image on the CPU holds NaN or infinite voxels. On other devices values are not looked at,
            because the host would have to wait for them.
    """
    if not isinstance(sample, Mapping):
        raise UsageError("the sample is no dictionary", expected=f"one with {', '.join(map(str, keys))}",
                         got=type(sample).__name__)  # fmt: skip
    images, labels = {}, {}
    for key in keys:
        if key not in sample:
            if allow_missing_keys:
                continue
            known = ", ".join(map(str, sample)) or "nothing"
            raise UsageError(f"the sample has no '{key}'", expected=f"one of {known}", do="Correct the keys.")
        tensor = _tensor(sample[key], key)
        (labels if key in label_keys else images)[key] = _checked(tensor, key, is_label=key in label_keys)
    shapes = {key: tuple(tensor.shape[1:]) for key, tensor in [*images.items(), *labels.items()]}
    if not shapes:
        raise UsageError("the sample holds none of the keys", expected=", ".join(map(str, keys)))
    first = next(iter(shapes))
    for key, shape in shapes.items():
        if shape != shapes[first]:
            raise GeometryError(f"'{key}' and '{first}' are on different grids",
                                expected=str(shapes[first]), got=str(shape))  # fmt: skip
    donor = _checked(_tensor(sample["donor"], "donor"), "donor", is_label=False) if "donor" in sample else None
    spacing_mm = spacing_mm if spacing_mm is not None else _spacing(sample, first)
    return Entries(images, labels, checked_spacing(spacing_mm), donor)


def checked_spacing(spacing_mm: Any) -> Triple:
    """Three lengths in mm as plain numbers, whatever sequence they came in.

    Raises:
        GeometryError: they are no three positive lengths.

    Example:
        >>> checked_spacing(np.float32([1.5, 1.5, 3]))
        (1.5, 1.5, 3.0)
    """
    values = [float(value) for value in spacing_mm] if isinstance(spacing_mm, Iterable) else [spacing_mm]
    if len(values) != 3 or not all(0 < value < float("inf") for value in values):
        raise GeometryError("not a spacing", where="spacing_mm", expected="three positive lengths in mm (X, Y, Z)",
                            got=str(spacing_mm))  # fmt: skip
    x, y, z = values
    return x, y, z


def write_entries(
    sample: Mapping[Hashable, Any], entries: Entries, voxel_map: FloatArray | None = None
) -> dict[Hashable, Any]:
    """A new dictionary with the entries in the types they came in, number types included.

    Args:
        voxel_map: 4 x 4, from a voxel of the new grid to the old one, by which the affine of MetaTensors moves.
    """
    result = dict(sample)
    for key, tensor in [*entries.images.items(), *entries.labels.items()]:
        result[key] = _like(sample[key], tensor, voxel_map)
    return result


def _tensor(value: Any, key: Hashable) -> Tensor:
    if isinstance(value, MetaTensor):
        return value.as_tensor()
    if isinstance(value, np.ndarray):
        # torch takes neither the byte order of some files nor, without a warning, memory that is read only
        native = value.astype(value.dtype.newbyteorder("="), copy=not value.flags.writeable)
        value = torch.from_numpy(np.ascontiguousarray(native))
    if not isinstance(value, Tensor):
        raise UsageError(f"'{key}' is no image", expected="a tensor or array", got=type(value).__name__,
                         do="Load it first.")  # fmt: skip
    return value


def _checked(tensor: Tensor, key: Hashable, *, is_label: bool) -> Tensor:
    if tensor.ndim != 4 or min(tensor.shape) < 1:
        raise GeometryError(f"'{key}' has the wrong shape", expected="(channels, X, Y, Z)",
                            got=str(tuple(tensor.shape)), do="Add a channel axis in front.")  # fmt: skip
    if tensor.is_floating_point():
        tensor = tensor.float()
        if tensor.device.type == "cpu":
            (_check_soft if is_label else _check_finite)(tensor, key)
        return tensor
    tensor = tensor.to(WIDER.get(tensor.dtype, tensor.dtype))
    if tensor.dtype not in INTEGERS:
        raise LabelError(f"'{key}' has an unsuitable type", expected="int16 labels", got=str(tensor.dtype))
    if not is_label:
        raise LabelError(f"'{key}' holds integers", expected="an image in HU as float32", got=str(tensor.dtype),
                         do="Convert it to float32, or name it in label_keys if it holds labels.")  # fmt: skip
    return tensor


def _check_finite(tensor: Tensor, key: Hashable) -> None:
    # One sum finds them in half a millisecond for 128^3 voxels; only an unlikely overflow needs a second look.
    if torch.isfinite(tensor.sum()) or bool(torch.isfinite(tensor).all()):
        return
    raise VoxelError(f"'{key}' holds NaN or infinite voxels", expected="finite HU",
                     got=f"{int((~torch.isfinite(tensor)).sum())} of {tensor.numel()} voxels",
                     do="Replace them first, for example by the -1024 HU of air.")  # fmt: skip


def _check_soft(tensor: Tensor, key: Hashable) -> None:
    low, high = torch.aminmax(tensor.sum(0))  # NaN, if there is one
    if len(tensor) < 2 or not (low >= 1 - SUM_TOLERANCE and high <= 1 + SUM_TOLERANCE):
        raise LabelError(
            f"'{key}' holds floating-point labels that are no soft targets",
            expected="channels = classes that sum to 1 in every voxel",
            got=f"{len(tensor)} channels, sums from {low:.4g} to {high:.4g}",
            do="Convert class indices to int16; MONAI's LoadImaged and lazy resampling make floats of them.",
        )
    if (least := float(tensor.min())) < -SUM_TOLERANCE:
        raise LabelError(f"'{key}' holds negative shares", expected="soft targets from 0 to 1", got=f"{least:.4g}")


def _spacing(sample: Mapping[Hashable, Any], key: Hashable) -> Any:
    if "spacing_mm" in sample:
        return sample["spacing_mm"]
    value = sample[key]
    if isinstance(value, MetaTensor):
        x, y, z = torch.linalg.vector_norm(value.affine[:3, :3].double(), dim=0).tolist()
        return x, y, z
    return 1.0, 1.0, 1.0


def _kept_where_equal(old: Tensor, new: Tensor) -> Tensor:
    """Float64 is computed in float32; what a transform left alone keeps all of its digits."""
    if old.dtype != torch.float64 or old.shape != new.shape:
        return new
    return torch.where(old.float() == new, old, new.double())


def _like(old: Any, tensor: Tensor, voxel_map: FloatArray | None) -> Any:
    tensor = _kept_where_equal(_tensor(old, "entry"), tensor)
    if isinstance(old, np.ndarray):
        return tensor.numpy().astype(old.dtype.newbyteorder("="), copy=False)
    tensor = tensor.to(old.dtype)
    if not isinstance(old, MetaTensor):
        return tensor
    new = MetaTensor(tensor)
    new.copy_meta_from(old)
    if voxel_map is not None:
        new.affine = old.affine @ torch.as_tensor(voxel_map, dtype=old.affine.dtype)
    return new
