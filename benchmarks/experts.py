"""Which way of learning from several experts wins at what, on phantoms whose experts' habits are known.

    python benchmarks/experts.py                  # 7 modes, 3 seeds: half an hour of one core; goes on where it stopped
    python benchmarks/experts.py --quick          # the same at toy size, a minute, to see that all of it runs
    python benchmarks/experts.py --modes soft heads --seeds 0 1
    python benchmarks/experts.py --table          # the table of what is there

Each seed is a data set of its own (other bodies, other experts) and a training of its own. A quarter of the training
readings is taken away at random, because real experts are missing too; test cases are read by all. Every mode gets the
same network (`heads` a wider last layer), patches, steps and seed.

| column | what |
|---|---|
| Dice with the expert | the network like expert r against expert r; of one that knows no experts its one answer |
| Dice with the truth | the consensus against the truth |
| ECE | of the consensus against the share of experts, on their union and 10 mm around |
| GED^2 | of as many samples as experts: the answers like each, or sets above evenly spaced levels of the probability |
| bias | like expert r against the truth, mean signed surface distance of liver, spleen and kidneys in mm |

Numbers are means over structures, experts and test patients of all seeds with 95 % bootstrap intervals over patients.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from experts_scores import Numbers, opinions, score

from medseg.data.store import RaterMode
from medseg.evaluation.statistics import Interval, mean_interval
from medseg.files import write_text
from medseg.io.manifest import CaseEntry, read_case, read_dataset, write_dataset
from medseg.workflows import phantom, train
from medseg.workflows.recipe import Recipe
from medseg.workflows.run import load_predictor, open_run

MODES = get_args(RaterMode)
COLUMNS = {  # key: heading, digits
    "expert_dice": ("Dice with the expert", 3),
    "truth_dice": ("Dice with the truth", 3),
    "ece": ("ECE", 4),
    "ged2": ("GED^2", 3),
    "contrast": ("bias of the outermost minus the innermost expert, mm", 2),
    "error": ("error of the bias, mm", 2),
}


@dataclass(frozen=True)
class Size:
    """How large everything is."""

    train: int
    test: int
    spacing_mm: float
    grid_mm: float
    patch: tuple[int, int, int]
    channels: tuple[int, ...]
    steps: int

    def recipe(self, data: Path, mode: str, seed: int) -> Recipe:
        """The same for every mode, but for `raters`."""
        steps = [{"name": "affine", "probability": 0.5, "rotation_deg": [8, 8, 12], "scale": [0.9, 1.1]},
                 {"name": "noise", "probability": 0.3}, {"name": "brightness", "probability": 0.3}]  # fmt: skip
        return Recipe.model_validate({
            "data": str(data), "raters": mode, "folds": {"fold": "all"},
            "plan": {"spacing_mm": [self.grid_mm] * 3, "patch": self.patch, "window_hu": [-160, 240]},
            "sampling": {"foreground_share": 0.0}, "transforms": {"preset": "none", "steps": steps},
            "model": {"name": "unet", "channels": self.channels, "stem_stride": [2, 2, 2], "deep_supervision": 0},
            "training": {"steps": self.steps, "batch": 1, "seed": seed, "device": "cpu",
                         "optimizer": {"name": "adamw", "learning_rate": 6.0e-3},
                         "schedule": {"name": "cosine", "warmup_steps": 15},
                         "validate_every": self.steps, "checkpoint_every": 100},
            "inference": {"overlap": 0.25},
            "absent_structures": "allow",
        })  # fmt: skip


FULL = Size(12, 8, 4.0, 6.0, (64, 56, 48), (16, 32, 64), 200)
QUICK = Size(3, 2, 12.0, 12.0, (32, 32, 24), (4, 8, 8), 4)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="toy size")
    parser.add_argument("--out", type=Path, default=Path("bench-experts"), help="working folder")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--seeds", nargs="+", type=int, default=None)
    parser.add_argument("--experts", type=int, default=3)
    parser.add_argument("--table", action="store_true", help="train nothing, show what is there")
    options = parser.parse_args(arguments)
    size, folder = (QUICK, options.out / "quick") if options.quick else (FULL, options.out)
    seeds = options.seeds or ([0] if options.quick else [0, 1, 2])
    if not options.table:
        for seed in seeds:
            data = make_data(folder / f"data_{seed}", size, options.experts, seed)
            for mode in options.modes:
                one(folder, data, mode, seed, size)
    results = read_results(folder)
    summary = summarise(results)
    write_text(folder / "experts.json", json.dumps({"results": results, "summary": summary}, indent=1) + "\n")
    print("\n".join(markdown(summary)))
    return 0


def make_data(folder: Path, size: Size, experts: int, seed: int) -> Path:
    """A phantom data set in which a quarter of the training readings is missing."""
    if (folder / "thinned").is_file():
        return folder
    phantom(folder, cases=size.train + size.test, test=size.test, experts=experts, seed=seed,
            spacing_mm=size.spacing_mm, overwrite=True)  # fmt: skip
    dataset, rng = read_dataset(folder), np.random.default_rng([seed, 25])
    cases = tuple(_thinned(case, rng) if case.split == "train" else case for case in dataset.cases)
    write_dataset(replace(dataset, cases=cases))
    write_text(folder / "thinned", "A quarter of the training readings was taken out of dataset.yaml.\n")
    return folder


def _thinned(case: CaseEntry, rng: np.random.Generator) -> CaseEntry:
    kept = [name for name in case.raters if rng.random() >= 0.25]
    kept = kept or [str(rng.choice(list(case.raters)))]
    return replace(case, raters={name: case.raters[name] for name in kept})


def one(folder: Path, data: Path, mode: str, seed: int, size: Size) -> None:
    """Trains and scores one mode with one seed, unless that is done."""
    file, run = folder / "results" / f"{mode}_{seed}.json", folder / "runs" / f"{mode}_{seed}"
    if file.is_file():
        return
    began = time.perf_counter()
    begun = (run / "checkpoints" / "last.safetensors").is_file()
    if not train(size.recipe(data, mode, seed), out=run, resume=begun, overwrite=not begun).finished:
        raise SystemExit("interrupted; the same command goes on from here")
    trained = time.perf_counter() - began
    scores = dict(score_run(run, data))
    biases = {
        expert["name"]: expert["bias_mm"] for expert in json.loads((data / "experts.json").read_text())["experts"]
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    found = {"mode": mode, "seed": seed, "simulated_mm": biases, "training_s": round(trained, 1), "cases": scores}
    write_text(file, json.dumps(found, indent=1) + "\n")
    print(f"{mode}, seed {seed}: {trained:.0f} s of training, {time.perf_counter() - began - trained:.0f} s of scoring",
          file=sys.stderr, flush=True)  # fmt: skip


def score_run(run: Path, data: Path) -> Iterator[tuple[str, Numbers]]:
    """The numbers of every test case."""
    dataset = read_dataset(data)
    consensus = load_predictor(run, which="last", device="cpu")
    raters = {name: load_predictor(run, which="last", device="cpu", as_rater=name) for name in open_run(run).raters}
    for entry in dataset.select("test"):
        case = read_case(dataset, entry)
        yield entry.id, score(opinions(consensus, raters, case), case)


def read_results(folder: Path) -> list[dict[str, Any]]:
    """What is there, in the order of modes and seeds."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "results").glob("*.json")]
    return sorted(found, key=lambda result: (MODES.index(result["mode"]), result["seed"]))


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per mode every column's mean and interval over patients, its mean for each seed, and the biases."""
    summary: dict[str, dict[str, Any]] = {}
    for mode in dict.fromkeys(result["mode"] for result in results):
        own = [result for result in results if result["mode"] == mode]
        patients = [
            with_bias(numbers, result["simulated_mm"]) for result in own for numbers in result["cases"].values()
        ]
        summary[mode] = {"seeds": [result["seed"] for result in own], "patients": len(patients)}
        for key in COLUMNS:
            summary[mode][key] = _plain(mean_interval(_column(patients, key)))
            summary[mode][key]["by_seed"] = [
                _average(_column([with_bias(n, result["simulated_mm"]) for n in result["cases"].values()], key))
                for result in own
            ]
        summary[mode]["experts"] = [row for result in own for row in bias_rows(result)]
        summary[mode]["training_s"] = float(np.mean([result["training_s"] for result in own]))
    return summary


def with_bias(numbers: Numbers, simulated_mm: Mapping[str, float]) -> Numbers:
    """The numbers of a case and what they say of the experts' biases.

    `contrast` is the bias learned of the expert who draws furthest out minus that of the one furthest in, which a
    common error of all boundaries leaves alone; `error` the mean distance of bias learned and bias drawn in this case.
    """
    inner, outer = (pick(simulated_mm, key=lambda name: simulated_mm[name]) for pick in (min, max))

    def bias(what: str, name: str) -> float:
        return numbers.get(f"{what}_mm:{name}", float("nan"))  # nothing marked, no surface

    found = {
        "contrast": bias("learned", outer) - bias("learned", inner),
        "drawn_contrast": bias("drawn", outer) - bias("drawn", inner),
        "error": float(np.mean([abs(bias("learned", name) - bias("drawn", name)) for name in simulated_mm])),
    }
    return numbers | {key: value for key, value in found.items() if np.isfinite(value)}


def bias_rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each expert's simulated bias, the one that the test readings show, and the one that was learned, in mm."""
    cases = list(result["cases"].values())
    for name, simulated in result["simulated_mm"].items():
        drawn, learned = (
            float(np.mean([numbers[key] for numbers in cases if (key := f"{what}_mm:{name}") in numbers] or [np.nan]))
            for what in ("drawn", "learned")
        )
        yield {"seed": result["seed"], "expert": name, "simulated_mm": simulated, "drawn_mm": round(drawn, 3),
               "learned_mm": round(learned, 3)}  # fmt: skip


def markdown(summary: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The tables of docs/results.md."""
    yield "| `raters` | " + " | ".join(heading for heading, _ in COLUMNS.values()) + " | slope |"
    yield "|---" * (len(COLUMNS) + 2) + "|"
    for mode, found in summary.items():
        cells = [_cell(found[key], digits) for key, (_, digits) in COLUMNS.items()]
        yield f"| `{mode}` | " + " | ".join(cells) + f" | {slope(found['experts']):.2f} |"
    yield ""
    rows = next(iter(summary.values()), {"experts": []})["experts"]
    yield "| seed, expert | simulated | drawn | " + " | ".join(f"`{mode}`" for mode in summary) + " |"
    yield "|---" * (len(summary) + 3) + "|"
    for number, row in enumerate(rows):
        learned = [
            f"{found['experts'][number]['learned_mm']:+.2f}" if number < len(found["experts"]) else ""
            for found in summary.values()
        ]
        yield (f"| {row['seed']}, {row['expert']} | {row['simulated_mm']:+.2f} | {row['drawn_mm']:+.2f} | "
               + " | ".join(learned) + " |")  # fmt: skip


def slope(rows: Sequence[Mapping[str, float]]) -> float:
    """mm of bias learned per mm simulated, within seeds: 1 is all of it, 0 nothing."""
    x, y = [], []
    for seed in {row["seed"] for row in rows}:
        own = [row for row in rows if row["seed"] == seed and np.isfinite(row["learned_mm"])]
        for values, key in ((x, "simulated_mm"), (y, "learned_mm")):
            values.extend(np.array([row[key] for row in own]) - (np.mean([row[key] for row in own]) if own else 0.0))
    return float(np.dot(x, y) / np.dot(x, x)) if np.any(x) else float("nan")


def _column(patients: Sequence[Numbers], key: str) -> Any:
    return np.array([numbers[key] for numbers in patients if key in numbers])


def _average(values: Any) -> float | None:
    return float(values.mean()) if len(values) else None


def _plain(interval: Interval) -> dict[str, Any]:
    return {"mean": interval.mean if interval.n else None, "ci95": interval.ci95, "n": interval.n}


def _cell(found: Mapping[str, Any], digits: int) -> str:
    if found["mean"] is None:
        return "nothing found"
    between = "" if found["ci95"] is None else " ({:.{d}f} to {:.{d}f})".format(*found["ci95"], d=digits)
    return f"{found['mean']:.{digits}f}{between}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    raise SystemExit(main())
