"""Does `medseg plan` + `medseg train` segment as well as nnU-Net with the same data, steps and size of network?

    python benchmarks/training_dice.py WORK                                    # the phantom, three seeds
    python benchmarks/training_dice.py WORK --sts ../shared/data/sts_nifti     # and real sarcomas, cut again
    python benchmarks/training_dice.py WORK --report                           # the table of what is finished
    python benchmarks/training_dice.py WORK --json                             # one JSON object a line

Each side plans and preprocesses in its own way; then both are given one network (8 to 64 channels), patch, batch of 2
and number of steps, everything else being each side's default. Both learn from the majority of the experts on all
training cases and take the last weights; neither mirrors when it predicts. nnU-Net's default mirrors in training
without exchanging left and right; `--also-without-mirroring` adds the variant that it names for such data. Both use
nnU-Net's optimiser; `--also-adamw` adds ours with AdamW.

Every run is a process of its own; what is finished stays in WORK, and the same command goes on. One run at a time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import training_dice_scores as scores
from sts import write_cuts
from training_nnunet import SHARED, shared_network

from medseg.config import read_config, write_config
from medseg.files import write_text
from medseg.shapes import IntTriple
from medseg.workflows.plan_file import PlanFile

ROOT, HERE = Path(__file__).parents[1], Path(__file__).parent
CHANNELS, BATCH = (8, 16, 32, 64), 2
OURS, OURS_ADAMW = "medseg", "medseg_adamw"
PEER, WITHOUT_MIRRORING = "nnunet", "nnunet_no_mirroring"
OPTIMISERS = {  # nnU-Net's own, which a `unet` prefers; and one whose averages are over 10 steps instead of 100
    OURS: ("{name: sgd}", "{name: poly}"),
    OURS_ADAMW: ("{name: adamw, learning_rate: 5.0e-3}", "{name: cosine, warmup_steps: 20}"),
}


@dataclass(frozen=True)
class Study:
    """A data set of both sides, and the patch that both learn from."""

    name: str
    dataset: str
    patch: IntTriple
    seeds: tuple[int, ...]


PHANTOM = Study("phantom", "Dataset501_Phantom", (40, 40, 40), (0, 1, 2))
STS = Study("sts", "Dataset502_Sarcoma", (64, 64, 24), (0,))
TRAIN, TEST = 24, 40  # phantom bodies
# Patch, batch and network are the plan's; what is not named here is the recipe's default.
RECIPE = """data: {store}
raters: majority
folds: {{fold: all}}
training:
  steps: {steps}
  seed: {seed}
  optimizer: {optimizer}
  schedule: {schedule}
  validate_every: {steps}
  device: cpu
"""


@dataclass(frozen=True)
class Place:
    """Where everything of a study lies."""

    work: Path
    study: Study
    steps: int

    @property
    def data(self) -> Path:
        return self.work / self.study.name

    @property
    def raw(self) -> Path:
        return self.work / "nnunet" / "raw" / self.study.dataset

    @property
    def preprocessed(self) -> Path:
        return self.work / "nnunet" / "preprocessed" / self.study.dataset

    @property
    def plan(self) -> Path:
        return self.work / f"{self.study.name}-plan.yaml"

    @property
    def store(self) -> Path:
        return self.work / f"{self.study.name}-store"

    def run(self, side: str, seed: int) -> Path:
        return self.work / "runs" / f"{self.study.name}-{side}-{self.steps}-{seed}"

    def call(self, log: str, *command: str | Path, threads: int = 1) -> float:
        """Runs a command in this environment, its words in WORK/logs; gives its seconds."""
        folder = self.work / "nnunet"
        environment = os.environ | {
            "nnUNet_raw": str(folder / "raw"), "nnUNet_preprocessed": str(folder / "preprocessed"),
            "nnUNet_results": str(folder / "results"), "nnUNet_compile": "f", "nnUNet_def_n_proc": str(threads),
            "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT),
            "nnUNet_n_proc_DA": "0" if "train" in command else "1",  # its planner wants at least one
        }  # fmt: skip
        logs = self.work / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        start = time.perf_counter()
        with open(logs / f"{log}.txt", "w", encoding="utf-8") as stream:
            subprocess.run([str(part) for part in command], check=True, env=environment, cwd=ROOT, stdout=stream,
                           stderr=subprocess.STDOUT)  # fmt: skip
        return time.perf_counter() - start

    def medseg(self, log: str, *command: str | Path) -> float:
        return self.call(log, sys.executable, "-m", "medseg", *command)


# ---- data, once


def prepare(place: Place, sts_source: Path | None) -> None:
    """Data set, nnU-Net's copy of it, and both sides' plans and preprocessed cases; what is there stays."""
    name = place.study.name
    if not (place.data / "dataset.yaml").exists():
        if sts_source is not None:
            write_cuts(sts_source, place.data)
        else:
            place.medseg(f"{name}-make", "phantom", place.data, "--cases", str(TRAIN + TEST), "--test", str(TEST))
    if not (place.raw / "dataset.json").exists():
        place.medseg(f"{name}-export", "export", "nnunet", place.data, "--out", place.raw, "--raters", "majority")
    if not (place.store / "store.json").exists():
        _prepare_ours(place)
    if not (place.preprocessed / f"{SHARED}.json").exists():
        _prepare_peer(place)


def _prepare_ours(place: Place) -> None:
    name = place.study.name
    place.medseg(f"{name}-plan", "plan", place.data, "--out", place.plan, "--precision", "fp32", "--overwrite")
    plan = read_config(place.plan, PlanFile)
    network = shared_network(place.study.patch, plan.stage.spacing_mm, CHANNELS)
    stage = plan.stage.model_copy(update={"patch": place.study.patch, "batch": BATCH, "model": network})
    write_config(place.plan, plan.model_copy(update={"stage": stage}))
    place.medseg(f"{name}-preprocess", "preprocess", place.data, place.plan, "--out", place.store, "--overwrite")


def _prepare_peer(place: Place) -> None:
    number, name = place.study.dataset[7:10], place.study.name
    script = Path(sys.executable).with_name("nnUNetv2_plan_and_preprocess")
    place.call(f"{name}-nnunet-plan", script, "-d", number, "-c", "3d_fullres", "-np", "2", "-npfp", "2", threads=2)
    x, y, z = read_config(place.plan, PlanFile).stage.spacing_mm
    place.call(
        f"{name}-nnunet-share", sys.executable, HERE / "training_nnunet.py", "share",
        place.preprocessed / "nnUNetPlans.json", "--patch", *map(str, place.study.patch), "--channels",
        *map(str, CHANNELS), "--spacing", str(x), str(y), str(z), "--batch", str(BATCH),
    )  # fmt: skip


# ---- runs


def run_ours(place: Place, seed: int, side: str) -> dict[str, float]:
    """`medseg train` and `medseg predict` with the defaults of a recipe; seconds of both."""
    folder = place.run(side, seed)
    optimizer, schedule = OPTIMISERS[side]
    path = place.work / "recipes" / f"{folder.name}.yaml"
    write_text(
        path,
        RECIPE.format(
            store=place.store,
            steps=place.steps,
            seed=seed,
            optimizer=optimizer,
            schedule=schedule,
        ),
    )
    resumed = ("--resume",) if (folder / "run" / "run.json").exists() else ()
    trained = place.medseg(f"{folder.name}-train", "train", path, "--out", folder / "run", *resumed)
    predicted = place.medseg(f"{folder.name}-predict", "predict", folder / "run", place.data, "--split", "test",
                             "--out", folder / "predictions", "--overwrite")  # fmt: skip
    return {"train_s": trained, "predict_s": predicted}


def run_peer(place: Place, seed: int, side: str) -> dict[str, float]:
    """nnU-Net's trainer and predictor; seconds of both."""
    folder = place.run(side, seed)
    extra = ("--no-mirroring",) if side == WITHOUT_MIRRORING else ()
    out = folder / "predictions"
    place.call(
        folder.name, sys.executable, HERE / "training_nnunet.py", "train", place.study.dataset, *extra,
        "--steps", str(place.steps), "--seed", str(seed), "--images", place.raw / "imagesTs", "--out", out,
    )  # fmt: skip
    return json.loads((out / "seconds.json").read_text(encoding="utf-8"))


def run_all(place: Place, sides: Sequence[str]) -> None:
    """Every run that has no scores yet, a seed of all sides before the next seed."""
    for seed in place.study.seeds:
        for side in sides:
            path = scores.path_of(place.work, place.study.name, side, place.steps, seed)
            if path.exists():
                continue
            seconds = run_ours(place, seed, side) if side in OPTIMISERS else run_peer(place, seed, side)
            table = scores.score(place.data, place.raw / "labelsTs", place.run(side, seed) / "predictions")
            scores.write(path, table, seconds)


def rows(work: Path, steps: int) -> Iterator[scores.Verdict]:
    """The verdict of each study and pair of which both have a seed in common."""
    for study in (PHANTOM, STS):
        for ours in OPTIMISERS:
            for side in (PEER, WITHOUT_MIRRORING):
                yield from scores.verdicts(work, study.name, ours, side, steps, study.seeds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for data, runs and scores; the same one goes on")
    parser.add_argument("--sts", type=Path, metavar="FOLDER", help="soft-tissue sarcomas as NIfTI; first seed only")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--also-without-mirroring", action="store_true")
    parser.add_argument("--also-adamw", action="store_true", help="our side with AdamW besides nnU-Net's optimiser")
    parser.add_argument("--report", action="store_true", help="start nothing")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    given = parser.parse_args()
    work = given.work.resolve()
    if not given.report:
        places = [(Place(work, PHANTOM, given.steps), None)]
        places += [(Place(work, STS, given.steps), given.sts)] if given.sts else []
        for place, source in places:
            prepare(place, source)
            run_all(place, (OURS, PEER))
        if given.also_adamw:
            run_all(places[0][0], (OURS_ADAMW,))
        if given.also_without_mirroring:
            run_all(places[0][0], (WITHOUT_MIRRORING,))
    for row in rows(work, given.steps):
        print(json.dumps(row.as_json()) if given.json else row.as_text(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
