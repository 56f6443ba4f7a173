"""What nnU-Net left in a folder: the weights of a trained network and its plans, read without running any of it.

A checkpoint of nnU-Net is a pickle that holds, beside tensors, the numbers of its log as numpy scalars. Tensors and
plain values are read by torch's restricted reader; the numpy names in it become `Skipped`, which runs nothing of numpy
and keeps nothing. Any other name is refused.

nnU-Net's arrays run Z, Y, X and are perhaps turned once more by its plans, so kernels are brought to X, Y, Z here.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from medseg.config import build_config
from medseg.errors import CheckpointError, ConfigError, FileReadError
from medseg.models.nnunet_weights import translate
from medseg.models.unet import ResEncConfig, UNetConfig
from medseg.shapes import IntTriple, Triple

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
PLANS = "plans.json"
NUMPY = tuple(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct"))
SKIPPED = (*NUMPY, "numpy.dtype", "numpy.ndarray")
NETWORKS = {"PlainConvUNet": "unet", "ResidualEncoderUNet": "resenc-m", "ResEncUNet": "resenc-m"}
NOT_TENSORS = torch.serialization.pickle.UnpicklingError  # type: ignore[attr-defined]  # of torch's restricted reader
UNREADABLE = (RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, AssertionError,
              ArithmeticError, NOT_TENSORS)  # fmt: skip


class Skipped:
    """Stands for whatever of numpy a checkpoint holds."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


@dataclass(frozen=True)
class NnunetNetwork:
    """A trained network of nnU-Net.

    Args:
        file: its checkpoint.
        tensors: under the names of our U-Nets, kernels X, Y, Z.
        model: the same network as a recipe names it; None where ours has no such shape.
        classes: names in the order of the logits; None where they are regions, or dataset.json is missing.
        spacing_mm: of the grid that it was trained on, X, Y, Z; None where the plans do not say.
    """

    file: Path
    tensors: dict[str, Tensor]
    model: UNetConfig | ResEncConfig | None
    classes: tuple[str, ...] | None
    spacing_mm: Triple | None


def read_nnunet(folder: Path, fold: int | str = "all") -> NnunetNetwork:
    """The network in a results folder of nnU-Net, or in one of its `fold_<k>`.

    Args:
        folder: such as `nnUNetTrainer__nnUNetPlans__3d_fullres`.
        fold: taken where there are several; without it `fold_all`, then the first.

    Raises:
        FileReadError: no checkpoint, or no plans.
        CheckpointError: it holds more than tensors and plain values, is damaged, or is no 3-D U-Net of nnU-Net.
    """
    file = _checkpoint(folder, fold)
    found = _load(file)
    state, made = found.get("network_weights"), found.get("init_args")
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError("not a checkpoint of nnU-Net", where=file.name, expected="network_weights")
    made = made if isinstance(made, Mapping) else {}
    plans, settings = _plans(file, made)
    order = _axes(plans)
    tensors = {name: _turned(tensor, order, file) for name, tensor in translate(state).items()}
    if not tensors:
        raise CheckpointError("no layer of a U-Net of nnU-Net", where=file.name, got=f"{len(state)} tensors",
                              do="Only PlainConvUNet and ResidualEncoderUNet can be taken over.")  # fmt: skip
    spacing = _triple(settings.get("spacing"), order)
    return NnunetNetwork(file, tensors, _model(settings, order), _classes(file, made), spacing)


def differences(theirs: UNetConfig | ResEncConfig, ours: Any) -> list[str]:
    """What differs in the shape of two networks, such as `channels 32, 64 against 16, 32`."""
    if not isinstance(ours, type(theirs)):
        return [f"the network {theirs.name} against {getattr(ours, 'name', 'another')}"]
    told = []
    for name in ("channels", "all_strides", "all_kernels", "stem_stride", "convolutions", "blocks"):
        a, b = getattr(theirs, name, None), getattr(ours, name, None)
        if a != b:
            told.append(f"{name.removeprefix('all_')} {_words(a)} against {_words(b)}")
    return told


def as_override(model: UNetConfig | ResEncConfig) -> str:
    """The network as an override of a recipe."""
    settings = {"name": model.name} | model.model_dump(mode="json", exclude_none=True)
    return "model=" + json.dumps(settings).replace('"', "")


def _checkpoint(folder: Path, fold: int | str) -> Path:
    """The checkpoint to take."""
    found = sorted(folder.glob("fold_*"), key=lambda path: (path.name != f"fold_{fold}", path.name != "fold_all", path))
    for place in (folder, *found):
        for name in CHECKPOINTS:
            if (place / name).is_file():
                return place / name
    raise FileReadError("no checkpoint of nnU-Net", where=f"nnunet:{folder.name}",
                        expected=" or ".join(f"fold_<k>/{name}" for name in CHECKPOINTS),
                        do="Give the folder of a trained configuration, such as "
                        "nnUNetTrainer__nnUNetPlans__3d_fullres.")  # fmt: skip


def _load(file: Path) -> dict[str, Any]:
    """Tensors and plain values of a checkpoint; numpy's are left out."""
    allowed: Any = [(Skipped, name) for name in SKIPPED]
    try:
        with warnings.catch_warnings(action="ignore"), torch.serialization.safe_globals(allowed):
            found = torch.load(file, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        foreign = isinstance(error, NOT_TENSORS)
        what = "holds more than tensors and plain values, so it is not opened" if foreign else "cannot be read"
        raise CheckpointError(f"the checkpoint {what}", where=file.name, got=type(error).__name__,
                              do="Save its network_weights alone as .safetensors, and give that file.",
                              ) from None  # fmt: skip
    if not isinstance(found, dict):
        raise CheckpointError("not a checkpoint of nnU-Net", where=file.name, got=type(found).__name__)
    return found


def _plans(file: Path, made: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The plans, and what they say of the configuration that was trained."""
    plans: Any = _beside(file, PLANS) or made.get("plans")
    name = made.get("configuration", file.parent.parent.name.rpartition("__")[2])
    try:
        settings = dict(plans["configurations"][name])
        for _ in plans["configurations"]:  # as many steps as there are configurations: a circle ends too
            above = plans["configurations"].get(settings.pop("inherits_from", None), {})
            settings = {**above, **settings}
    except (KeyError, TypeError, ValueError):
        raise FileReadError("the plans do not describe the network", where=PLANS, expected=f"configuration {name}",
                            do="Put nnU-Net's plans.json beside its fold_<k>.") from None  # fmt: skip
    return plans, settings


def _classes(file: Path, made: Mapping[str, Any]) -> tuple[str, ...] | None:
    """The classes by value, from dataset.json or the checkpoint's copy of it."""
    found = _beside(file, "dataset.json") or made.get("dataset_json")
    labels = found.get("labels") if isinstance(found, Mapping) else None
    if not isinstance(labels, Mapping) or not all(isinstance(value, int) for value in labels.values()):
        return None
    return tuple(sorted((str(name) for name in labels if name != "ignore"), key=lambda name: labels[name]))


def _beside(file: Path, name: str) -> Any:
    """A JSON file beside the checkpoint or one folder above; None where there is none."""
    for place in (file.parent / name, file.parent.parent / name):
        if place.is_file():
            try:
                return json.loads(place.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise FileReadError("a file of nnU-Net cannot be read", where=name, got=type(error).__name__) from None
    return None


def _axes(plans: Mapping[str, Any]) -> IntTriple:
    """For X, Y, Z the axis of nnU-Net's network: its arrays are Z, Y, X, turned by `transpose_forward`."""
    turned = plans.get("transpose_forward", [0, 1, 2])
    if not isinstance(turned, Sequence) or sorted(turned) != [0, 1, 2]:
        raise FileReadError("transpose_forward is no order of three axes", where=PLANS, got=str(turned)[:40])
    return turned.index(2), turned.index(1), turned.index(0)


def _turned(tensor: Tensor, order: IntTriple, file: Path) -> Tensor:
    """A kernel (out, in, ...) as X, Y, Z; other tensors as they are."""
    if tensor.ndim == 4:
        raise CheckpointError("a 2-D network", where=file.name, expected="the configuration 3d_fullres or 3d_lowres")
    return tensor.permute(0, 1, *(2 + axis for axis in order)).contiguous() if tensor.ndim == 5 else tensor


def _triple(values: Any, order: IntTriple) -> Any:
    """Three values of nnU-Net's axes as X, Y, Z."""
    good = isinstance(values, Sequence) and len(values) == 3
    return tuple(values[axis] for axis in order) if good else None


def _model(settings: Mapping[str, Any], order: IntTriple) -> UNetConfig | ResEncConfig | None:
    """The network that the plans describe; None where ours cannot be it, or where the plans are of another form."""
    try:
        return _described(settings, order)
    except (ConfigError, TypeError, ValueError, AttributeError, IndexError):
        return None


def _described(settings: Mapping[str, Any], order: IntTriple) -> UNetConfig | ResEncConfig | None:
    """The same from plans of the present or of the first format, with whatever error a wrong one gives."""
    own = settings.get("architecture", {})
    kind, shape = own.get("network_class_name", settings.get("UNet_class_name", "")), own.get("arch_kwargs")
    name = NETWORKS.get(str(kind).rpartition(".")[2])
    shape = shape if isinstance(shape, Mapping) else _first_format(settings)
    strides = [_triple(stride, order) for stride in shape.get("strides", ())]
    kernels = [_triple(kernel, order) for kernel in shape.get("kernel_sizes", ())]
    counts = shape.get("n_conv_per_stage" if name == "unet" else "n_blocks_per_stage")
    channels = shape.get("features_per_stage")
    if name is None or not strides or not channels or counts is None:
        return None
    facts: dict[str, Any] = {"name": name, "channels": channels, "strides": strides[1:], "kernels": kernels,
                             "stem_stride": strides[0], "deep_supervision": max(len(channels) - 2, 0)}  # fmt: skip
    counts = [counts] * len(channels) if isinstance(counts, int) else list(counts)
    decoder = shape.get("n_conv_per_stage_decoder", 2)
    decoders = set([decoder] if isinstance(decoder, int) else decoder)
    if name == "unet":
        same = decoders | set(counts)
        return build_config(UNetConfig, {**facts, "convolutions": counts[0]}) if len(same) == 1 else None
    return build_config(ResEncConfig, {**facts, "blocks": counts}) if decoders == {1} else None


def _first_format(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same facts where nnU-Net wrote them before its version 2.3."""
    kernels, largest = settings.get("conv_kernel_sizes", ()), settings.get("unet_max_num_features", 320)
    base, counts = settings.get("UNet_base_num_features", 32), settings.get("n_conv_per_stage_encoder")
    return {
        "features_per_stage": [min(base * 2**level, largest) for level in range(len(kernels))],
        "strides": settings.get("pool_op_kernel_sizes", ()),
        "kernel_sizes": kernels,
        "n_conv_per_stage": counts,
        "n_blocks_per_stage": counts,
        "n_conv_per_stage_decoder": settings.get("n_conv_per_stage_decoder", 2),
    }


def _words(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ", ".join("x".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value)
    return str(value)
