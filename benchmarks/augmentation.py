"""How fast medseg augments a patch, beside the libraries that people use today.

    python benchmarks/augmentation.py             # patches of 128 x 128 x 128 with a label map, some minutes
    python benchmarks/augmentation.py --quick     # 80 x 80 x 80, under a minute on two cores, the same targets
    python benchmarks/augmentation.py --json      # one JSON object a line: name, ours, peer, ratio, target, met

All sides are given the raw sample that nnU-Net reads for a patch and cut the patch out of it (TorchIO: see
`augmentation_peers.py`). They run in one process in turns, each row with one thread (`_1t`) and with two (`_2t`);
seconds are medians of rounds, `ratio` is the median over the rounds of peer / ours, and `target` the least that counts
as met. With default probabilities a round is the mean over 30 draws (quick: 8): what acts is drawn by our preset from
the draw's seed, and the peer is made to do the same, so that luck favours nobody. Parameters are each side's own.

With CUDA there are rows for the share of a training step that augmentation takes. The exit code is 1 only when our own
side failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import augmentation_gpu as gpu
import augmentation_inputs as inputs
import augmentation_peers as peers
import torch
from augmentation_inputs import Labels, Sample
from augmentation_rows import Contest, Rounds, Side, measure
from io_rows import FAILURES, HEADER, Row

from medseg.transforms import build_pipeline

PACKAGES = ("batchgeneratorsv2", "nnunetv2", "monai", "torchio", "torch", "numba", "numpy")
THREADS = (1, 2)
MEMORY, MOST_PATCHES = "peak_memory", 3.0


@dataclass(frozen=True)
class Effort:
    """Edge of the patch, rounds of each row, and draws of a round at default probabilities."""

    edge: int
    rounds: Rounds
    draws: int


FULL = Effort(128, Rounds(7, 30), 30)
QUICK = Effort(80, Rounds(3, 2.0), 8)


def affine(sample: Sample, effort: Effort, peer: Callable[[Sample], Side], labels: Labels = "nearest") -> Contest:
    return Contest(inputs.pipeline_side(sample, inputs.affine(labels)), peer(sample))


def elastic(sample: Sample, effort: Effort, peer: Callable[[Sample], Side], labels: Labels = "nearest") -> Contest:
    return Contest(inputs.pipeline_side(sample, inputs.elastic(labels)), peer(sample))


def forced(sample: Sample, effort: Effort, peer: Callable[[Sample], Side]) -> Contest:
    return Contest(inputs.pipeline_side(sample, inputs.nnunet_forced()), peer(sample))


def default_nnunet(sample: Sample, effort: Effort) -> Contest:
    """nnU-Net's set at its own probabilities; what our side drew is what the peer does."""
    ours = build_pipeline(inputs.nnunet(), patch_shape=sample.patch)
    peer = peers.bg2_pipeline(sample, lambda draw: inputs.acting(ours, sample.patch, draw))
    return Contest(inputs.pipeline_side(sample, inputs.nnunet()), peer, draws=tuple(range(effort.draws)))


@dataclass(frozen=True)
class Target:
    """A promise: a name, the least ratio peer / ours (0: shown, nothing promised), and how to build its contest; and
    the edge of the quick form's patch, where the smaller one would mostly time what a call costs besides voxels."""

    name: str
    least: float
    build: Callable[[Sample, Effort], Contest]
    quick_edge: int = QUICK.edge


# batchgeneratorsv2 interpolates each label and takes the largest, MONAI and TorchIO take the nearest voxel's: so do we.
bg2_affine = partial(peers.bg2_spatial, p_rotation=1, p_scaling=1)
bg2_elastic = partial(peers.bg2_spatial, p_elastic_deform=1)
TARGETS = (
    Target("affine_vs_bg2", 5.0, partial(affine, peer=bg2_affine, labels="linear_argmax")),
    Target("affine_vs_monai", 4.0, partial(affine, peer=peers.monai_affine), quick_edge=128),
    Target("affine_vs_torchio", 0.0, partial(affine, peer=peers.torchio_affine)),
    Target("elastic_vs_bg2", 5.0, partial(elastic, peer=bg2_elastic, labels="linear_argmax")),
    Target("elastic_vs_monai", 5.0, partial(elastic, peer=peers.monai_elastic)),
    Target("elastic_vs_torchio", 5.0, partial(elastic, peer=peers.torchio_elastic)),
    Target("nnunet_default_vs_bg2", 2.5, default_nnunet),
    Target("nnunet_all_vs_bg2", 3.0, partial(forced, peer=partial(peers.bg2_pipeline, chosen=lambda draw: peers.ALL))),
    Target("nnunet_all_vs_monai", 2.0, partial(forced, peer=peers.monai_all)),
)


def on_cpu(effort: Effort, names: set[str]) -> Iterator[Row]:
    """The rows of all targets, or of those named, with one thread and with two."""
    before, usual = torch.get_num_threads(), Sample(effort.edge)
    for target in TARGETS:
        sample = Sample(target.quick_edge) if effort is QUICK and target.quick_edge != QUICK.edge else usual
        for threads in THREADS:
            name = f"{target.name}_{threads}t"
            if names and not names & {name, target.name}:
                continue
            torch.set_num_threads(threads)
            yield measure(name, target.least, partial(target.build, sample, effort), effort.rounds)
    torch.set_num_threads(before)


def measure_memory(edge: int) -> Row:
    """Peak MB of augmenting a patch in a fresh process against the limit of three patches with their labels."""
    script = Path(__file__).with_name("augmentation_memory.py")
    try:
        command = [sys.executable, str(script), str(edge)]
        own_heap = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, env=own_heap)
        found = json.loads(done.stdout)
    except FAILURES as error:
        return Row(MEMORY, 1.0, unit="MB", reason=f"medseg failed: {type(error).__name__}", failed=True)
    return Row(MEMORY, 1.0, found["above"], MOST_PATCHES * found["patch"], unit="MB")


def rows(effort: Effort, names: set[str]) -> Iterator[Row]:
    """Every row, or those named."""
    yield from on_cpu(effort, names)
    if not names or MEMORY in names:
        yield measure_memory(effort.edge)
    if torch.cuda.is_available():
        yield from (row for row in gpu.rows(effort.edge) if not names or row.name in names)


def setting(effort: Effort) -> str:
    """What the figures depend on, in one line."""

    def found(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"no {name}"

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA"
    shape = " x ".join([str(effort.edge)] * 3)
    return f"patch {shape}; {cores} cores; {device}; {', '.join(map(found, PACKAGES))}"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a patch of 80 voxels a side instead of 128, fewer rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout, all else on stderr")
    known = [*(t.name for t in TARGETS), *(f"{t.name}_{n}t" for t in TARGETS for n in THREADS), MEMORY, *gpu.NAMES]
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", choices=known, help="these rows alone")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    effort = QUICK if options.quick else FULL
    log = sys.stderr if options.json else sys.stdout
    print(setting(effort), HEADER, sep="\n", file=log, flush=True)
    failed = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the peers' own dependencies
        for row in rows(effort, set(options.only)):
            failed |= row.failed
            print(row.as_text(), file=log, flush=True)
            if options.json:
                print(json.dumps(row.as_json()), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
