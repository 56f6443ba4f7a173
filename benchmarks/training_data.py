"""What both sides of `training.py` learn from: a small phantom, and what it took each of them to prepare it."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from io_memory import MB
from training_nnunet import SHARED, shared_network, shared_plans
from training_sides import measured

from medseg import workflows
from medseg.config import read_config, write_config
from medseg.files import write_text
from medseg.workflows.exporting import export
from medseg.workflows.phantoms import phantom
from medseg.workflows.plan_file import PlanFile

DATASET, NUMBER, PLANS = "Dataset503_Bench", "503", "nnUNetPlans.json"
CHANNELS, BATCH = (8, 16, 32, 64), 2
RECIPE = """data: {store}
raters: majority
folds: {{fold: all}}
sampling: {{workers: {workers}}}
transforms: {{preset: nnunet}}
training:
  steps: 100000
  validate_every: 100000
  checkpoint_every: 100000
  device: {device}
  augment_on: {augment_on}
"""


@dataclass(frozen=True)
class Cost:
    """What preparing the cases took: seconds and peak MB of all commands, and MB on disk."""

    seconds: float
    peak_mb: float
    disk_mb: float


@dataclass(frozen=True)
class Bench:
    """Data of both sides in `folder`; each is made when it is first asked for.

    Args:
        edge: voxels of the patch's edge.
        cases: phantom bodies, all for training.
    """

    folder: Path
    edge: int
    cases: int

    @property
    def patch(self) -> tuple[int, int, int]:
        return self.edge, self.edge, self.edge

    @property
    def environment(self) -> dict[str, str]:
        """Where nnU-Net looks for its data."""
        return {f"nnUNet_{name}": str(self.folder / name) for name in ("raw", "preprocessed", "results")}

    @cached_property
    def data(self) -> Path:
        """The data set, with nnU-Net's copy of it beside it."""
        phantom(self.folder / "data", cases=self.cases, experts=1, test=0)
        export("nnunet", self.folder / "data", self.folder / "raw" / DATASET)
        return self.folder / "data"

    @cached_property
    def ours(self) -> Cost:
        """`medseg plan` and `medseg preprocess`, the shared network written into the plan in between."""
        medseg = (sys.executable, "-m", "medseg")
        planned = measured((*medseg, "plan", self.data, "--out", self.plan, "--precision", "fp32"), {})
        self._share()
        stored = measured((*medseg, "preprocess", self.data, self.plan, "--out", self.store, "--jobs", "2"), {})
        return Cost(planned[0] + stored[0], max(planned[1], stored[1]), size_mb(self.store))

    @cached_property
    def peer(self) -> Cost:
        """nnUNetv2_plan_and_preprocess with two processes; the shared network is written beside its plans."""
        seconds, peak = self._preprocess_peer(processes=2)
        cost = Cost(seconds, peak, size_mb(self.preprocessed))
        self._share_with_peer()
        return cost

    def prepare_ours(self) -> None:
        """Our store, made in this process where it is not there yet: nobody asks what it costs."""
        if not self.store.exists():
            workflows.plan(self.data, out=self.plan, precision="fp32")
            self._share()
            workflows.preprocess(self.data, self.plan, out=self.store)

    def prepare_peer(self) -> None:
        """nnU-Net's data, made with one process, and the shared network beside its plans, where they are missing."""
        if not self._peer_is_prepared:
            self._preprocess_peer(processes=1)
        if not (self.preprocessed / f"{SHARED}.json").exists():
            self._share_with_peer()

    def left_to_peer(self) -> tuple[str, ...]:
        """Arguments by which nnU-Net's side makes its data itself, where they are not there yet: a process less."""
        return () if self._peer_is_prepared else ("--prepare", NUMBER)

    @property
    def preprocessed(self) -> Path:
        return self.folder / "preprocessed" / DATASET

    @property
    def _peer_is_prepared(self) -> bool:
        return (self.preprocessed / PLANS).exists()

    @property
    def plan(self) -> Path:
        return self.folder / "plan.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def _share(self) -> None:
        made = read_config(self.plan, PlanFile)
        network = shared_network(self.patch, made.stage.spacing_mm, CHANNELS)
        stage = made.stage.model_copy(update={"patch": self.patch, "batch": BATCH, "model": network})
        write_config(self.plan, made.model_copy(update={"stage": stage}))

    def _preprocess_peer(self, processes: int) -> tuple[float, float]:
        """Seconds and peak MB of nnU-Net's own command."""
        script, count = Path(sys.executable).with_name("nnUNetv2_plan_and_preprocess"), str(processes)
        command = (script, "-d", NUMBER, "-c", "3d_fullres", "-np", count, "-npfp", count)
        environment = self.environment | {"nnUNet_n_proc_DA": "2"}  # threads while it plans
        assert self.data.exists()
        return measured(command, environment)

    def _share_with_peer(self) -> None:
        plans = json.loads((self.preprocessed / PLANS).read_text(encoding="utf-8"))
        z, y, x = plans["configurations"]["3d_fullres"]["spacing"]
        network = shared_network(self.patch, (x, y, z), CHANNELS)
        shared = shared_plans(plans, network, self.patch, BATCH)
        write_text(self.preprocessed / f"{SHARED}.json", json.dumps(shared))

    def recipe(self, workers: int, device: str = "cpu", augment_on: str = "loader") -> Path:
        """Our recipe on the store: nnU-Net's augmentation in so many loader processes."""
        path = self.folder / f"recipe-{workers}-{augment_on}.yaml"
        write_text(path, RECIPE.format(store=self.store, workers=workers, device=device, augment_on=augment_on))
        return path


def size_mb(folder: Path) -> float:
    """MB of the files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / MB
