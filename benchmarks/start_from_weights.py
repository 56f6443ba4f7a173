"""Starting from trained weights against training from scratch: phantom bodies first, then real sarcomas.

A network learns phantom organs; another recipe then learns the tumours of real CT, once from random weights and once
with `init:` the phantom run. Recipe, steps, seed and patches are the same in both; so is the computing after the
phantom, which comes on top. The four test cases of `benchmarks/sts.py` are judged.

    python benchmarks/start_from_weights.py ../shared/data/sts_nifti OUT --steps 60 120 --seeds 0 1

What is done already in OUT is not done again, so the command can be stopped and repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: both ways on the same share of a shared machine

import numpy as np
import torch
from sts import LABELS, read_masks, write_cuts

from medseg.evaluation.overlap import dice
from medseg.io.manifest import read_dataset
from medseg.io.nifti import read_label_values
from medseg.workflows import phantom, predict, train

RECIPE = """\
data: {data}
raters: {raters}
plan: {{spacing_mm: [5, 5, 5], patch: [32, 32, 24], window_hu: [-160, 240]}}
folds: {{fold: all}}
sampling: {{foreground_share: 0.5}}
transforms: {{preset: ct_default}}
model: {{name: unet, channels: [16, 32, 32], deep_supervision: 1}}
training:
  batch: 1
  optimizer: {{name: adamw, learning_rate: 2.0e-3}}
  schedule: {{name: cosine, warmup_steps: 20}}
  checkpoint_every: 50
  device: cpu
inference: {{overlap: 0.5}}
"""


def write_recipe(path: Path, data: Path, raters: str) -> Path:
    path.write_text(RECIPE.format(data=data.as_posix(), raters=raters), encoding="utf-8")
    return path


def trained(recipe: Path, run: Path, *overrides: str, init: Path | None = None) -> Path:
    """A finished run, gone on with where it was cut off."""
    begun = (run / "run.json").exists()
    start = None if init is None else str(init)
    train(recipe, overrides, out=run, resume=begun, init=start, say=lambda text: print(f"  {text}", flush=True))
    return run


def tumour_dice(run: Path, data: Path, out: Path) -> dict[str, float]:
    """Dice of each test case."""
    predict(run, data, out, split="test", overwrite=True)
    masks = read_masks(read_dataset(data), "test")
    found = {case: read_label_values(out / f"{case}.nii.gz", where=case)[0] for case in masks}
    return {case: round(dice(mask, found[case] == LABELS.values["tumour"]), 4) for case, mask in masks.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("source", type=Path, help="folder of the sarcomas")
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, nargs="+", default=[60, 120])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--phantom-steps", type=int, default=200)
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    bodies, sarcomas = out / "phantom", out / "sts"
    torch.set_num_threads(1)
    if not (bodies / "dataset.yaml").exists():
        phantom(bodies, cases=16, test=0, experts=1, seed=7, spacing_mm=5.0, overwrite=True)
    if not (sarcomas / "dataset.yaml").exists():
        write_cuts(arguments.source, sarcomas)
    first = trained(write_recipe(out / "phantom.yaml", bodies, "random"), out / "runs" / "phantom",
                    f"training.steps={arguments.phantom_steps}")  # fmt: skip
    recipe = write_recipe(out / "sts.yaml", sarcomas, "random")
    rows = []
    for steps, seed, init in product(arguments.steps, arguments.seeds, (None, first)):
        name = f"{steps}-{seed}-{'phantom' if init else 'scratch'}"
        started = time.perf_counter()
        run = trained(recipe, out / "runs" / name, f"training.steps={steps}", f"training.seed={seed}", init=init)
        scores = tumour_dice(run, sarcomas, out / "scores" / name)
        rows.append({"steps": steps, "seed": seed, "init": "phantom" if init else "none", "dice": scores})
        print(
            f"{name}: mean Dice {np.mean(list(scores.values())):.3f}, {time.perf_counter() - started:.0f} s", flush=True
        )
    (out / "result.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    show(rows, len(read_dataset(sarcomas).select("test")))


def show(rows: list[dict], cases: int) -> None:
    """The table of docs/results.md."""
    print(f"\nMean Dice of {cases} test cases, one number per seed\n")
    print("| steps | from scratch | from phantom weights |\n|---|---|---|")
    for steps in sorted({row["steps"] for row in rows}):
        cells = [
            ", ".join(f"{np.mean(list(row['dice'].values())):.3f}" for row in rows
                      if (row["steps"], row["init"]) == (steps, init))
            for init in ("none", "phantom")
        ]  # fmt: skip
        print(f"| {steps} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
