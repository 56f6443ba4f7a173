"""A body in a scanner's field of view, class scores as of a network, and a network that has learned a little."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.resample import resample_linear
from medseg.imaging.volume import Volume
from medseg.preprocessing.plan import Plan, PreprocessingConfig
from medseg.shapes import FloatArray, IntTriple, Triple

ORGANS = ((-0.35, 0.1, 0.3, 60.0), (0.4, 0.0, 0.25, -850.0), (0.0, -0.3, 0.18, 300.0), (0.1, 0.35, 0.15, 140.0))
TISSUES_HU = (-925.0, -400.0, 100.0, 220.0)  # between air, lung, soft tissue and two organs: no class is a mere edge
NOISE_HU = 2.0  # little, so that a network that saw a few tiles is sure of most voxels


@lru_cache(maxsize=1)
def study(shape: IntTriple, spacing_mm: Triple) -> Volume:
    """An elliptic body with organs of four densities and a table, in air: HU (X, Y, Z) float32, x fastest."""
    x, y, z = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    hu = np.full(shape, -1000, dtype=np.float32, order="F")
    body = (x[:, None] / 0.8) ** 2 + (y[None] / 0.6) ** 2 < 1
    rng = np.random.default_rng(0)
    for k in range(shape[2]):
        plane = hu[:, :, k]
        plane[body] = 40
        for a, b, radius, density in ORGANS:
            size = radius * (0.6 + 0.4 * np.cos(2 * z[k] + a))
            plane[(x[:, None] - a * 0.8) ** 2 + (y[None] - b * 0.6) ** 2 < size**2] = density
        plane[:, int(0.9 * shape[1]) : int(0.9 * shape[1]) + 3] = -100  # the table
        plane += rng.normal(0, NOISE_HU, plane.shape).astype(np.float32)
    return Volume(hu, Geometry(shape, np.diag([*spacing_mm, 1.0])))


def plan(spacing_mm: Triple, patch: IntTriple, *, crop: bool = True) -> Plan:
    return Plan(patch=patch, spacing_mm=spacing_mm, window_hu=(-1000, 400), mean_hu=0.0, std_hu=150.0,
                preprocessing=PreprocessingConfig(crop_to_body=crop))  # fmt: skip


def labels(classes: int) -> LabelSet:
    return LabelSet({"background": 0, **{f"organ_{k}": k for k in range(1, classes)}})


def scores(classes: int, shape: IntTriple) -> FloatArray:
    """Smooth logits (C, *shape) float32: noise on a grid twelve times as coarse."""
    coarse = Geometry(tuple(-(-n // 12) + 1 for n in shape), np.diag([12.0, 12, 12, 1]))  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    found = np.empty((classes, *shape), np.float32)
    for own in found:
        own[...] = resample_linear(
            rng.normal(0, 5, coarse.shape).astype(np.float32), coarse, Geometry(shape, np.eye(4)), outside=None
        )
    return found


def taught(network: nn.Module, image: FloatArray, limits: FloatArray, patch: int, steps: int = 40) -> nn.Module:
    """The network after some steps of learning tissues by their density, so that its labels have shapes.

    Args:
        image: normalised.
        limits: TISSUES_HU normalised likewise; one class more than there are limits.
    """
    torch.manual_seed(0)
    bounds = torch.from_numpy(limits)
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    rng = np.random.default_rng(0)
    network.train()
    for _ in range(steps):
        tile = torch.stack([_tile(image, patch, rng) for _ in range(2)])  # of one tile PyTorch convolves slowly
        smooth = torch.nn.functional.avg_pool3d(tile, 3, 1, 1)
        logits = network(tile)
        logits = logits[0] if isinstance(logits, list) else logits
        loss = torch.nn.functional.cross_entropy(logits, torch.bucketize(smooth, bounds)[:, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


def _tile(image: FloatArray, patch: int, rng: np.random.Generator) -> torch.Tensor:
    a, b, c = (int(rng.integers(0, n - patch + 1)) for n in image.shape)
    return torch.from_numpy(np.ascontiguousarray(image[a : a + patch, b : b + patch, c : c + patch]))[None]


def write_untrained_run(
    folder: Path, classes: int, spacing_mm: Triple, patch: IntTriple, channels: tuple[int, ...], overlap: float = 0.5
) -> None:
    """A run folder with random weights."""
    from medseg.config import build_config, write_config  # the processes that measure memory do without these
    from medseg.training.checkpoint import Checkpoint, write_checkpoint
    from medseg.workflows.recipe import Recipe
    from medseg.workflows.run import Run, write_run

    model = {"name": "unet", "channels": list(channels), "deep_supervision": 0}
    given = {"data": "none", "model": model, "inference": {"overlap": overlap}}
    recipe = build_config(Recipe, given, source="recipe")
    run = Run(folder, recipe, plan(spacing_mm, patch), labels(classes))
    folder.mkdir(parents=True)
    write_config(folder / "recipe.yaml", recipe)
    write_run(run)
    torch.manual_seed(0)
    weights = {f"model.{name}": tensor for name, tensor in run.build_model().state_dict().items()}
    write_checkpoint(run.checkpoint_file("best"), Checkpoint(weights, {"labels": list(run.labels.names)}))
