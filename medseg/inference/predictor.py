"""One loaded model: studies in, labels out, on each study's own grid, within the memory that was promised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.prediction import Prediction
from medseg.imaging.resample import AIR_HU
from medseg.imaging.separable import align
from medseg.imaging.volume import Volume
from medseg.inference.budget import Budget, Choice, Work, choose
from medseg.inference.footprint import forward_bytes
from medseg.inference.network import Networks, Say, device_of
from medseg.inference.slabs import Layout, OnProgress, Window, score_planes
from medseg.inference.sliding_window import InferenceConfig
from medseg.inference.stored import StoredProbabilities
from medseg.inference.study import SLAB_VOXELS, StandardisedStudy, resample_hu
from medseg.inference.tiles import find_body, lay_tiles
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.restore import Restoration, find_way
from medseg.preprocessing.standardise import normalise, standard_geometry
from medseg.shapes import IntTriple

DEVICE_BATCH = 8  # tiles at a time on a GPU; more gain nothing
NO_BUDGET = Budget()
FREE_SHARE = 0.9  # of the device's free memory, where no promise was asked for


@dataclass(frozen=True, eq=False)
class Predictor:
    """Standardises, predicts with every model (several: their probabilities are averaged) and restores.

    May be called from several threads; one study at a time is with the network, so that the promise of memory holds.

    Args:
        models: networks that give logits, all on one device.
        plans: of each model; they share grid and patch.
        label_set: class c of the logits is its c-th name.
        config: of the sliding window.
        swap: when mirrored views exchange left and right classes, see `Networks`.
        budget: the most memory of the whole process and of the device.
        may_use_cpu: whether a study goes on on the CPU when the device cannot hold a single tile.
        scratch: folder for what does not fit into memory; the system's own where None.
        say: told in a sentence when the device's memory did not suffice.
    """

    models: Sequence[nn.Module]
    plans: Sequence[Plan]
    label_set: LabelSet
    config: InferenceConfig
    swap: Literal["side", "chirality"] = "side"
    budget: Budget = NO_BUDGET
    may_use_cpu: bool = True
    scratch: Path | None = None
    say: Say = lambda text: None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(
        self, volume: Volume, *, probabilities: bool = False, on_progress: OnProgress = lambda done, total: None
    ) -> Prediction:
        """The prediction of one study; its shape and affine are those of the input.

        Args:
            volume: the study in HU.
            probabilities: also give the class probabilities (X, Y, Z, C).
            on_progress: called with the tiles that are done and those in all.

        Raises:
            UsageError: the memory that was promised is too small; says the smallest that works.
            DeviceMemoryError: the device cannot hold a single tile, and the CPU is not allowed.
        """
        return self.predict(self.standardise(volume), probabilities=probabilities, on_progress=on_progress)

    def standardise(self, volume: Volume) -> StandardisedStudy:
        """The study on the plan's grid: the first half of a prediction, after which the volume may be let go.

        Raises:
            UsageError: the memory that was promised is too small.
        """
        target = standard_geometry(volume, self.plans[0])
        if self.budget.ram is not None:
            before = 2 * int(np.prod(target.shape)) + 3 * 4 * SLAB_VOXELS - volume.hu.nbytes  # which may then be let go
            self._choose(target, volume.geometry, before=before, probabilities=False)
        hu = resample_hu(volume, target)
        body = find_body(hu, target.spacing_mm) if self.config.skip_air else None
        return StandardisedStudy(hu, target, volume.geometry, body)

    def predict(
        self,
        study: StandardisedStudy,
        *,
        probabilities: bool = False,
        on_progress: OnProgress = lambda done, total: None,
    ) -> Prediction:
        """The second half: network, restoration to the study's own grid, argmax; arguments as above."""
        with self._lock:
            chosen = self._choose(study.geometry, study.native, before=0, probabilities=probabilities)
            table = self.label_set.to_values(np.arange(len(self.label_set.names)))
            labels = np.full(study.native.shape, table[0], dtype=table.dtype, order="F")
            found = self._room_for_probabilities(study.native) if probabilities else None
            way = find_way(study.geometry, study.native, chosen.layout.axes, self.config.order)
            if way is not None:
                sink = None if found is None else _sink(found)
                restoration = Restoration(way, labels, table, self.config.order, sink, torch.get_num_threads())
                self._run(study, chosen, restoration, on_progress)
        return Prediction(labels, study.native, self.label_set, found)

    def _run(self, study: StandardisedStudy, chosen: Choice, restoration: Restoration, on_progress: OnProgress) -> None:
        networks = self._networks(chosen.batch)
        tiling = lay_tiles(study.geometry.shape, self.plans[0].patch, self.config.overlap, study.body)
        planes = score_planes(networks, Window(study.hu, AIR_HU, study.coarse), tiling, chosen.layout,
                              classes=len(self.label_set.names), on_progress=on_progress)  # fmt: skip
        if networks.device.type == "cpu":
            for part in planes:
                restoration.put(part)
            return
        with ThreadPoolExecutor(1) as beside:  # the CPU restores while the device goes on
            last: Future[None] | None = None
            for part in planes:
                if last is not None:
                    last.result()
                last = beside.submit(restoration.put, part)
            if last is not None:
                last.result()

    def _networks(self, batch: int) -> Networks:
        for model in self.models:
            model.eval()
        device = device_of(self.models[0])
        return Networks(self.models, [_normalising(plan) for plan in self.plans], self.config.mirror_axes,
                        self.label_set.mirror_indices, self.swap, self.config.precision_on(device), batch,
                        self.may_use_cpu, self.say)  # fmt: skip

    def _choose(self, standard: Geometry, native: Geometry, *, before: int, probabilities: bool) -> Choice:
        """How to keep to the budget; without one, the most comfortable way."""
        axes, device = _axes(standard, native), device_of(self.models[0])
        if probabilities:
            axes = axes[:1]  # whole slices are written one after the other
        budget = self.budget
        if device.type == "cuda" and budget.vram is None:
            held = sum(weight.nbytes for model in self.models for weight in model.parameters())
            budget = Budget(budget.ram, int(FREE_SHARE * torch.cuda.mem_get_info(device)[0]) + held)
        batch = self.config.batch if device.type == "cpu" else max(DEVICE_BATCH, self.config.batch)
        if budget.ram is None and budget.vram is None:
            return Choice(Layout(axes[0]), batch)
        work = Work(
            shape=standard.shape,
            tile=self.plans[0].patch,
            classes=len(self.label_set.names),
            native_voxels=int(np.prod(native.shape)),
            label_bytes=self.label_set.to_values(np.zeros(1, dtype=np.int16)).itemsize,
            forward=self._forward_bytes,
            weights=sum(weight.nbytes for model in self.models for weight in model.parameters()),
            before=before,
        )
        return choose(work, budget, axes, device, batch)

    @cached_property
    def _forward_bytes(self) -> int:
        return max(forward_bytes(model, 1, self.plans[0].patch) for model in self.models)

    def _room_for_probabilities(self, native: Geometry) -> Any:
        """In memory, or where memory was promised in a file."""
        classes = len(self.label_set.names)
        if self.budget.ram is not None:
            return StoredProbabilities(native, classes, self.scratch)
        found = np.zeros((*native.shape, classes), dtype=np.float32, order="F")
        found[..., 0] = 1
        return found


def _normalising(plan: Plan) -> Callable[[Tensor], Tensor]:
    return partial(_normalised, plan=plan)


def _normalised(tiles: Tensor, plan: Plan) -> Tensor:
    """Tiles with their HU normalised; the classes beside them in a cascade stay as they are."""
    image: Tensor = normalise(tiles[:, :1], plan)  # type: ignore[arg-type,assignment]
    return image if tiles.shape[1] == 1 else torch.cat([image, tiles[:, 1:]], dim=1)


def _axes(standard: Geometry, native: Geometry) -> tuple[IntTriple, ...]:
    """Orders of the standardised axes; the first is that of the study's memory, the others sum over other axes."""
    alignment = align(standard, native)
    assert alignment is not None, "the standardised grid is the study's own up to spacing, order and flips"
    x, y, z = alignment.axes
    return (z, y, x), (y, z, x), (x, z, y)


def _sink(found: Any) -> Callable[[tuple[slice, slice, slice], Any], None]:
    if isinstance(found, StoredProbabilities):
        return found.put

    def keep(box: tuple[slice, slice, slice], probabilities: Any) -> None:
        found[box] = np.moveaxis(probabilities, 0, -1)

    return keep
