"""A trained network as a file that other programs run: HU in, logits out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from medseg.errors import CheckpointError, UsageError
from medseg.files import atomic_path
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.standardise import normalise
from medseg.shapes import IntTriple

METADATA = "medseg"  # the key under which a file holds its metadata, as JSON
ONNX_OPSET = 20
TOLERANCE = 1e-3  # of logits, relative to the largest: other libraries add up in another order
MOST_PATCHES = 64


class ExportedNetwork(nn.Module):
    """Maps HU (B, 1, X, Y, Z) on the plan's grid to logits (B, classes, X, Y, Z); the normalisation is inside.

    Several networks (folds) give the logarithm of their mean probability, patch by patch.

    Raises:
        CheckpointError: the networks see patches of different sizes.
    """

    def __init__(self, models: Sequence[nn.Module], plans: Sequence[Plan]) -> None:
        super().__init__()
        self.models, self.plans = nn.ModuleList(models), tuple(plans)
        if len({plan.patch for plan in plans}) > 1:
            raise CheckpointError("the folds see patches of different sizes", do="Export one fold: RUN/fold_0.")

    @property
    def patch(self) -> IntTriple:
        """Voxels along X, Y, Z of every input."""
        return self.plans[0].patch

    def forward(self, hu: Tensor) -> Tensor:
        logits = [model(normalise(hu, plan)) for model, plan in zip(self.models, self.plans, strict=True)]  # type: ignore[arg-type]
        if len(logits) == 1:
            return logits[0]
        return torch.stack([torch.softmax(each, dim=1) for each in logits]).mean(0).clamp(min=1e-12).log()


def trace(network: ExportedNetwork) -> torch.export.ExportedProgram:
    """The network as a graph of tensor operations, for any number of patches at a time."""
    example = torch.zeros((2, 1, *network.patch))  # two: a batch of one would be taken for a constant
    batch = torch.export.Dim("batch", min=1, max=MOST_PATCHES)
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # of PyTorch about PyTorch
        return torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},))


def write_torch_export(path: Path, program: torch.export.ExportedProgram, metadata: Mapping[str, Any]) -> None:
    """Writes `path` (.pt2) for `torch.export.load`; its extra file `medseg` holds the metadata as JSON."""
    with atomic_path(path) as temporary:
        torch.export.save(program, temporary, extra_files={METADATA: json.dumps(metadata)})


def write_onnx(path: Path, program: torch.export.ExportedProgram, metadata: Mapping[str, Any]) -> None:
    """Writes `path` (.onnx): input `hu`, output `logits`, the metadata as JSON among its properties.

    Raises:
        UsageError: the packages that write ONNX are not installed.
    """
    try:
        import onnxscript  # noqa: F401 - torch says nothing helpful without it
    except ModuleNotFoundError:
        raise UsageError("writing ONNX needs the packages onnx and onnxscript", where="--format onnx",
                         do="Install them: pip install -c constraints.txt -e '.[onnx]'.") from None  # fmt: skip
    with warnings.catch_warnings(action="ignore"):  # of PyTorch and onnxscript about each other
        made = torch.onnx.export(program, dynamo=True, verbose=False, opset_version=ONNX_OPSET, input_names=["hu"],
                                 output_names=["logits"])  # fmt: skip
    assert made is not None  # None is given only where a file is named
    made.model.metadata_props[METADATA] = json.dumps(metadata)
    with atomic_path(path) as temporary:
        made.save(temporary)


def difference_of_torch_export(path: Path, network: ExportedNetwork) -> float:
    """How far the file's logits are from the network's on one patch, relative to the largest."""
    hu, logits = _trial(network)
    with torch.inference_mode():
        return _relative(torch.export.load(path).module()(hu), logits)


def difference_of_onnx(path: Path, network: ExportedNetwork) -> float:
    """The same for ONNX, by onnxruntime on the CPU.

    Raises:
        UsageError: onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise UsageError("checking the export needs onnxruntime", where="--format onnx",
                         do="Install it: pip install -c constraints.txt -e '.[onnx]'.") from None  # fmt: skip
    hu, logits = _trial(network)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"hu": hu.numpy()})
    return _relative(torch.from_numpy(found), logits)


def _trial(network: ExportedNetwork) -> tuple[Tensor, Tensor]:
    """A patch of bone, tissue and air in noise, and what the network says of it."""
    generator = torch.Generator().manual_seed(0)
    hu = torch.randn((1, 1, *network.patch), generator=generator) * 300
    hu[:, :, : network.patch[0] // 3] -= 900
    with torch.inference_mode():
        return hu, network.eval()(hu)


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
