"""One loaded model: studies in, labels out, on each study's own grid, within the memory that was promised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property, partial
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from medseg.errors import UsageError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.imaging.postprocess import Scale, Step, postprocess
from medseg.imaging.prediction import Change, Prediction
from medseg.imaging.resample import AIR_HU
from medseg.imaging.separable import align
from medseg.imaging.volume import Volume
from medseg.inference.around import Around, Times
from medseg.inference.asked import Asked
from medseg.inference.budget import MARGIN_BYTES, Budget, Choice, Work, choose, least_host_bytes
from medseg.inference.footprint import forward_bytes
from medseg.inference.gathered import Gathered, gather, stored_bytes
from medseg.inference.network import Members, Networks, Say, device_of
from medseg.inference.on_cpu import on_cpu
from medseg.inference.slabs import Layout, OnProgress, Window, score_planes
from medseg.inference.sliding_window import InferenceConfig
from medseg.inference.study import StandardisedStudy, resample_hu
from medseg.inference.tiles import Tiling, find_body, lay_tiles
from medseg.inference.votes import Votes
from medseg.preprocessing.plan import Plan
from medseg.preprocessing.restore import Restoration, find_way
from medseg.preprocessing.restore_bytes import restoring_bytes
from medseg.preprocessing.standardise import normalise, standard_geometry
from medseg.shapes import IntArray, IntTriple

DEVICE_BATCH = 8  # tiles at a time on a GPU; more gain nothing
NO_BUDGET = Budget()
LABELS_ALONE, ALONE = Asked(), Around()
FREE_MEMORY_SHARE = 0.5  # of the memory that is free: more of probabilities and maps goes to `scratch`, if there is one
DRIFT_BYTES = 40 * 2**20  # that libraries take between one look at the memory and the next
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
        scratch: folder for what does not fit into memory; the system's own where None, which may be memory itself.
        say: told in a sentence when the device's memory did not suffice.
        steps: done to the labels on the study's own grid, see `imaging.postprocess`.
        experts: whether the experts that each network knows may disagree, rather than the networks.
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
    steps: Sequence[Step] = ()
    experts: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(
        self,
        volume: Volume,
        *,
        probabilities: bool = False,
        maps: Sequence[str] = (),
        uncertainty: bool = False,
        on_progress: OnProgress = lambda done, total: None,
    ) -> Prediction:
        """The prediction of one study; its shape and affine are those of the input.

        Args:
            volume: the study in HU.
            probabilities: also give the class probabilities (X, Y, Z, C).
            maps: also give these: `entropy`, `disagreement`.
            uncertainty: also give the sums of the probabilities, which come with both of these anyway, and the voxels
                that each member would label, where there are several.
            on_progress: called with the tiles that are done and those in all.

        Raises:
            UsageError: the memory that was promised is too small, says the smallest that works; no such map, or the
                disagreement of one network alone.
            DeviceMemoryError: the device cannot hold a single tile, and the CPU is not allowed.
        """
        asked = Asked(probabilities, tuple(maps), uncertainty)
        study = self.standardise(volume, asked, Around(keeps_volume=True))
        return self.predict(study, probabilities=probabilities, maps=maps, uncertainty=uncertainty,
                            on_progress=on_progress)  # fmt: skip

    def check_room(self, native: Geometry, asked: Asked = LABELS_ALONE, around: Around = ALONE) -> None:
        """Refuses a study of this grid before it is read where the promise of memory cannot be kept.

        Where the body is still to be cropped out, the number that is told is that of a body that fills the image.

        Raises:
            UsageError: the memory that was promised is too small, says a size that works.
        """
        whole = native.canonical().with_spacing(self.plans[0].spacing_mm)
        try:
            self._choose(whole, native, asked, times=self._times(whole, native, around))
        except UsageError:
            if not self.plans[0].preprocessing.crop_to_body:
                raise
            least = self._times(whole.cropped((0, 0, 0), (1, 1, 1)), native, around).most + MARGIN_BYTES
            if self.budget.ram is not None and psutil.Process().memory_info().rss + least > self.budget.ram:
                raise

    def standardise(self, volume: Volume, asked: Asked = LABELS_ALONE, around: Around = ALONE) -> StandardisedStudy:
        """The study on the plan's grid: the first half of a prediction, after which the volume may be let go.

        Args:
            asked: of the second half, so that too small a promise of memory is told now and with the right number.
            around: what else is held then.

        Raises:
            UsageError: the memory that was promised is too small.
        """
        target = standard_geometry(volume, self.plans[0])
        if self.budget.ram is not None:
            times = self._times(target, volume.geometry, around)
            self._choose(target, volume.geometry, asked, times=times, read=volume.hu.nbytes)
        hu = resample_hu(volume, target)
        body = find_body(hu, target.spacing_mm) if self.config.skip_air else None
        return StandardisedStudy(hu, target, volume.geometry, body)

    def predict(
        self,
        study: StandardisedStudy,
        *,
        probabilities: bool = False,
        maps: Sequence[str] = (),
        uncertainty: bool = False,
        on_progress: OnProgress = lambda done, total: None,
    ) -> Prediction:
        """The second half: network, restoration to the study's own grid, argmax; arguments as above."""
        asked = Asked(probabilities, tuple(maps), uncertainty)
        self.check(asked)
        with self._lock:
            chosen = self._choose(study.geometry, study.native, asked)
            found = gather(asked, study.native, self.label_set, in_file=self._in_file(asked, study.native),
                           scratch=self.scratch)  # fmt: skip
            votes = self._predict_into(found, study, chosen, asked, on_progress)
            changes = self._postprocess(found.labels, study.native)
        ratio = study.geometry.voxel_ml / study.native.voxel_ml
        return found.prediction(None if votes is None else votes.counts * ratio, changes)

    def _in_file(self, asked: Asked, native: Geometry) -> bool:
        """Whether probabilities and maps go to the disk: under a promise, and where they would fill the memory."""
        if self.budget.ram is not None or self.scratch is None:
            return self.budget.ram is not None
        need = stored_bytes(asked, native, len(self.label_set.names))
        return need > FREE_MEMORY_SHARE * psutil.virtual_memory().available

    def _postprocess(self, labels: IntArray, native: Geometry) -> tuple[Change, ...]:
        """Does the steps to the labels in place, in what the promise of memory leaves."""
        held = None if self.budget.ram is None else psutil.Process().memory_info().rss
        left = None if held is None else max(self.budget.ram - held, 0)  # type: ignore[operator]
        return postprocess(labels, self.steps, Scale(self.label_set, native.voxel_ml, left))

    def check(self, asked: Asked) -> None:
        """Refuses what this model cannot answer.

        Raises:
            UsageError: the disagreement of one network alone.
        """
        asked.check_members(self.count_members)

    @property
    def members(self) -> Members | None:
        """Who may disagree; None for one network alone."""
        return "raters" if self.experts else "models" if len(self.models) > 1 else None

    @property
    def count_members(self) -> int:
        """How many they are; 1 for one network alone."""
        return 1 if self.members is None else self._networks(1).count_members()

    def _predict_into(
        self, found: Gathered, study: StandardisedStudy, chosen: Choice, asked: Asked, on_progress: OnProgress
    ) -> Votes | None:
        """Fills what was asked for; gives the members' votes where they were heard."""
        classes = len(self.label_set.names)
        votes = Votes(self._tiling(study), self.count_members, classes) if asked.members and self.members else None
        way = find_way(study.geometry, study.native, chosen.layout.axes, self.config.order)
        if way is not None:
            table = self.label_set.to_values(np.arange(classes))
            restoration = Restoration(way, found.labels, table, self.config.order, found.sink, torch.get_num_threads(),
                                      found.doubt)  # fmt: skip
            self._run(study, chosen, restoration, on_progress, votes)
        return votes

    def _run(
        self,
        study: StandardisedStudy,
        chosen: Choice,
        restoration: Restoration,
        on_progress: OnProgress,
        votes: Votes | None = None,
    ) -> None:
        networks = self._networks(chosen.batch)
        tiling = self._tiling(study) if votes is None else votes.tiling
        planes = score_planes(networks, Window(study.hu, AIR_HU, study.coarse), tiling, chosen.layout,
                              classes=len(self.label_set.names), votes=votes, on_progress=on_progress)  # fmt: skip
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

    def _tiling(self, study: StandardisedStudy) -> Tiling:
        return lay_tiles(study.geometry.shape, self.plans[0].patch, self.config.overlap, study.body)

    def _networks(self, batch: int) -> Networks:
        for model in self._models_here:
            model.eval()
        device = device_of(self.models[0])
        return Networks(self._models_here, [_normalising(plan) for plan in self.plans], self.config.mirror_axes,
                        self.label_set.mirror_indices, self.swap, self.config.precision_on(device), batch,
                        self.may_use_cpu, self.say, self.members)  # fmt: skip

    def _times(self, standard: Geometry, native: Geometry, around: Around) -> Times:
        labels = prod(native.shape) * self._label_bytes
        return Times(native, standard, around, labels, bool(self.steps), self._coarse_bytes(standard))

    def _coarse_bytes(self, standard: Geometry) -> int:
        """Of what else a standardised study takes, see a cascade."""
        return 0

    def least_bytes(self, native: Geometry) -> int:
        """The fewest bytes in which the labels of a study that is there already are predicted."""
        whole = native.canonical().with_spacing(self.plans[0].spacing_mm)
        times = self._times(whole, native, Around())
        work = self._work(whole, native, LABELS_ALONE, before=times.image, elsewhere=times.most - times.volume)
        return least_host_bytes(work, _axes(whole, native), device_of(self.models[0]))

    def _choose(
        self, standard: Geometry, native: Geometry, asked: Asked, *, times: Times | None = None, read: int = 0
    ) -> Choice:
        """How to keep to the budget; without one, the most comfortable way.

        Args:
            times: what is still to come besides the network; None once the study is standardised.
            read: bytes of the volume, where it is there already.
        """
        axes, device = _axes(standard, native), device_of(self.models[0])
        if asked.probabilities or asked.maps:
            axes = axes[:1]  # whole slices are written one after the other
        budget = self.budget
        if device.type == "cuda" and budget.vram is None:
            held = sum(weight.nbytes for model in self.models for weight in model.parameters())
            budget = Budget(budget.ram, int(FREE_SHARE * torch.cuda.mem_get_info(device)[0]) + held)
        batch = self.config.batch if device.type == "cpu" else max(DEVICE_BATCH, self.config.batch)
        if budget.ram is None and budget.vram is None:
            return Choice(Layout(axes[0]), batch)
        before, elsewhere = 0, 0
        if times:  # what is held may grow a little before it is asked again
            more = DRIFT_BYTES if read else 2 * DRIFT_BYTES
            before, elsewhere = times.kept - read + more, times.most - read + more
        work = self._work(standard, native, asked, before=before, elsewhere=elsewhere)
        return choose(work, budget, axes, device, batch)

    def _work(self, standard: Geometry, native: Geometry, asked: Asked, *, before: int, elsewhere: int) -> Work:
        members = self.count_members if asked.members else 1
        classes = len(self.label_set.names)
        channels = classes + (1 if members > 1 else 0)
        return Work(
            shape=standard.shape,
            tile=self.plans[0].patch,
            classes=classes,
            native_voxels=prod(native.shape),
            label_bytes=self._label_bytes,
            forward=self._forward_bytes,
            weights=sum(weight.nbytes for model in self.models for weight in model.parameters()),
            before=before,
            members=members,
            experts=self.experts,
            restoring=partial(self._restoring, standard, native, asked, channels),
            elsewhere=elsewhere,
        )

    def _restoring(
        self, standard: Geometry, native: Geometry, asked: Asked, channels: int, axes: IntTriple, chunk: int
    ) -> int:
        """Bytes of the way back along these axes, so many planes at a time."""
        order = self.config.order
        if (way := find_way(standard, native, axes, order)) is None:
            return 0
        return restoring_bytes(way, standard.shape, channels, order, chunk=chunk, probabilities=asked.probabilities,
                               doubt=asked.sums)  # fmt: skip

    @property
    def _label_bytes(self) -> int:
        return self.label_set.to_values(np.zeros(1, dtype=np.int16)).itemsize

    @cached_property
    def _models_here(self) -> Sequence[nn.Module]:
        """The models as their device computes them fastest."""
        return [on_cpu(model) for model in self.models]

    @cached_property
    def _forward_bytes(self) -> int:
        return max(forward_bytes(model, 1, self.plans[0].patch) for model in self.models)


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
