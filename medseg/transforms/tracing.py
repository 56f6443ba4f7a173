"""The trace that moved voxels leave on a MetaTensor, by which MONAI's `Compose.inverse` and `Invertd` undo it."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from torch import Tensor

from medseg.errors import UsageError
from medseg.shapes import IntTriple

Undo = Callable[[dict[Hashable, Any], Any, IntTriple, tuple[Hashable, ...]], dict[Hashable, Any]]


def traced(
    transform: Any, sample: dict[Hashable, Any], data: Callable[[], Any], shape: IntTriple
) -> dict[Hashable, Any]:
    """The sample with what was done noted on each of its MetaTensors.

    Args:
        transform: has `keys` and is an `InvertibleTransform`.
        data: gives the parameters as plain data, kept as JSON because MONAI collates what a trace holds.
        shape: voxels before the transform.
    """
    for key in transform.keys:
        value = sample.get(key)
        if isinstance(value, MetaTensor):
            sample[key] = _noted(value)
            transform.push_transform(
                sample[key], orig_size=shape, extra_info={"params": json.dumps(data()), "mode": "bilinear"}
            )
    return sample


def undo_traced(transform: Any, data: Mapping[Hashable, Any], undo: Undo) -> dict[Hashable, Any]:
    """The sample as it lay before the transform, its trace taken off.

    Under `label_keys`, integers and soft targets move as labels do, left and right exchanged back. Under other keys
    floating-point values are interpolated, or copied from the nearest voxel if `Invertd` asks for it, as integers
    always are; left and right stay there.

    Args:
        undo: (sample, parameters as data, shape, keys to take as labels) to the sample before.

    Raises:
        UsageError: no MetaTensor of the sample keeps a trace of this transform.
    """
    sample, notes = dict(data), {}
    for key in transform.keys:
        if isinstance(data.get(key), MetaTensor):
            sample[key] = _noted(data[key])
            notes[key] = _popped(transform, sample[key], key)
    if not notes:
        raise UsageError("nothing to invert", where=type(transform).__name__,
                         expected=f"a MetaTensor under {' or '.join(map(str, transform.keys))}",
                         do="Use MetaTensors, or `invert(sample, params, shape)`.")  # fmt: skip
    note = next(iter(notes.values()))
    nearest = {key for key, info in notes.items() if info["extra_info"]["mode"] == "nearest"}
    copied = [
        key
        for key in transform.keys
        if isinstance(sample.get(key), Tensor)
        and key not in transform.label_keys
        and (key in nearest or not sample[key].is_floating_point())
    ]
    carried = sample | {key: _with_values(sample[key], sample[key].float().view(torch.int32)) for key in copied}
    x, y, z = (int(n) for n in note["orig_size"])
    result = undo(carried, json.loads(note["extra_info"]["params"]), (x, y, z), (*transform.label_keys, *copied))
    return result | {
        key: _with_values(result[key], result[key].view(torch.float32).to(sample[key].dtype)) for key in copied
    }


def _popped(transform: InvertibleTransform, value: MetaTensor, key: Hashable) -> dict[str, Any]:
    try:
        return transform.pop_transform(value)  # type: ignore[arg-type]  # MONAI types this as a mapping only
    except (RuntimeError, ValueError) as error:  # MONAI's words for another transform's trace and for none
        raise UsageError(f"'{key}' keeps no trace of this transform", where=type(transform).__name__,
                         do="Invert what this very transform moved, the latest first.") from error  # fmt: skip


def _noted(value: MetaTensor) -> MetaTensor:
    """The same values with a trace of their own, so that the caller's stays as it is."""
    return _with_values(value, value.as_tensor())


def _with_values(like: Any, values: Tensor) -> Any:
    if not isinstance(like, MetaTensor):
        return values
    new = MetaTensor(values.as_tensor() if isinstance(values, MetaTensor) else values)
    new.copy_meta_from(like)
    return new
