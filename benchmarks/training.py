"""How fast medseg trains, beside nnU-Net v2 with the same network, patch, batch and data.

    python benchmarks/training.py             # patches of 48 x 48 x 48, some minutes
    python benchmarks/training.py --quick     # 32 x 32 x 32, fewer rounds, under a minute on two idle cores
    python benchmarks/training.py --json      # one JSON object a line: name, ours, peer, ratio, target, met

`step`: forward, backward and update on one batch in memory. nnU-Net's side is its PlainConvUNet, its Dice and
cross-entropy with deep supervision and its own `train_step`; ours is `unet` with the same weights (the logits are
compared), our loss and our loop's step; fp32, with one thread and with two. `end_to_end`: whole iterations with
loading and nnU-Net's set of augmentations, `medseg train` against nnU-Net's trainer with its own loader, once with
its processes and once in a single thread; the faster one counts. Both sides run in processes of their own, in turns,
whoever waits being stopped; `ratio` is the median over the rounds of peer / ours. The rows below them (time to the
first iteration, preprocessing, memory, disk) are shown side by side and promise nothing.

With CUDA there are rows for the GPU. The exit code is 1 only when our own side failed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
import training_gpu as gpu
from augmentation_rows import PairedRow
from io_rows import FAILURES, HEADER, Row
from training_data import DATASET, Bench
from training_sides import Side, in_turns, median_ratio

PACKAGES = ("nnunetv2", "batchgeneratorsv2", "dynamic_network_architectures", "torch", "numba")
THREADS = (1, 2)
STEP, LOOP, LOOP_PROCESSES, LOOP_SINGLE = "step", "end_to_end", "end_to_end_vs_processes", "end_to_end_vs_one_thread"
SIDE_BY_SIDE = ("first_iteration", "training_memory", "preprocessing_time", "preprocessing_memory",
                "preprocessing_disk")  # fmt: skip
NAMES = (*(f"{STEP}_{n}t" for n in THREADS), LOOP, LOOP_PROCESSES, LOOP_SINGLE, *SIDE_BY_SIDE, *gpu.NAMES)
LOGITS_CLOSE = 1e-4
OUR_WORKERS = 0  # loader processes on two cores, see docs/training.md


@dataclass(frozen=True)
class Effort:
    """Edge of the patch, rounds of a step, cases, rounds of whole iterations and how many iterations each has, and the
    least ratio of a step that counts as met."""

    edge: int
    step_rounds: int
    cases: int
    loop_rounds: int
    iterations: int
    step_target: float


FULL = Effort(48, 31, 12, 15, 12, 1 / 1.05)
QUICK = Effort(32, 15, 3, 5, 4, 1 / 1.10)


def step_rows(effort: Effort) -> Iterator[Row]:
    """Same work, same network."""
    names = [f"{STEP}_{threads}t" for threads in THREADS]
    with ExitStack() as stack:
        try:
            ours = stack.enter_context(closing(Side(("step", "ours", str(effort.edge)), {})))
        except FAILURES as error:
            yield from (_ours_failed(name, effort.step_target, error) for name in names)
            return
        try:
            peer = stack.enter_context(closing(Side(("step", "nnunet", str(effort.edge)), {})))
        except FAILURES as error:
            yield from (_peer_failed(name, effort.step_target, ours.run(effort.step_rounds), error) for name in names)
            return
        differ = max(abs(a - b) for a, b in zip(ours.facts["logits"], peer.facts["logits"], strict=True))
        reason = f"logits differ by {differ:.2g}" if differ > LOGITS_CLOSE else ""
        for name, threads in zip(names, THREADS, strict=True):
            pairs = [(a, b) for a, b in in_turns((ours, peer), effort.step_rounds, 1, threads)]
            yield _paired(name, effort.step_target, pairs, reason)


def loop_rows(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Whole iterations per second, time to the first one and memory."""
    with ExitStack() as stack:
        try:
            out = bench.folder / "run"
            ours = stack.enter_context(closing(Side(("loop", "ours", bench.recipe(OUR_WORKERS), out), {})))
        except FAILURES as error:
            yield from (_ours_failed(name, least, error) for name, least in _loop_targets())
            return
        try:
            assert bench.peer
            sides = [stack.enter_context(closing(_peer_loop(bench, processes))) for processes in THREADS[::-1]]
        except FAILURES as error:
            alone = ours.run(effort.iterations * effort.loop_rounds)
            yield from (_peer_failed(name, least, alone, error) for name, least in _loop_targets())
            return
        rounds = in_turns((ours, *sides), effort.loop_rounds, effort.iterations)
        with_processes = _paired(LOOP_PROCESSES, 0.0, [(a, b) for a, b, _ in rounds])
        single = _paired(LOOP_SINGLE, 0.0, [(a, c) for a, _, c in rounds])
        faster, side = min((with_processes, sides[0]), (single, sides[1]), key=lambda pair: pair[0].ratio or 0.0)
        yield PairedRow(LOOP, 1.0, faster.ours, faster.peer, "s", paired=faster.ratio)
        yield with_processes
        yield single
        yield Row("first_iteration", 0.0, ours.ready_s, side.ready_s)
        yield Row("training_memory", 0.0, ours.peak_mb, side.peak_mb, "MB")


def _peer_loop(bench: Bench, processes: int) -> Side:
    """nnU-Net's trainer; with one process it loads in its own."""
    count = {"nnUNet_n_proc_DA": str(processes if processes > 1 else 0)}
    return Side(("loop", "nnunet", DATASET), bench.environment | count)


def _loop_targets() -> tuple[tuple[str, float], ...]:
    return ((LOOP, 1.0), *((name, 0.0) for name in (LOOP_PROCESSES, LOOP_SINGLE, *SIDE_BY_SIDE[:2])))


def data_rows(bench: Bench) -> Iterator[Row]:
    """Planning and preprocessing: seconds, peak memory and disk."""
    kinds = (("time", "seconds", "s"), ("memory", "peak_mb", "MB"), ("disk", "disk_mb", "MB"))
    try:
        ours = bench.ours
    except FAILURES as error:
        yield from (_ours_failed(f"preprocessing_{name}", 0.0, error) for name, _, _ in kinds)
        return
    for name, attribute, unit in kinds:
        try:
            yield Row(f"preprocessing_{name}", 0.0, getattr(ours, attribute), getattr(bench.peer, attribute), unit)
        except FAILURES as error:
            yield _peer_failed(f"preprocessing_{name}", 0.0, getattr(ours, attribute), error)


def _paired(name: str, target: float, pairs: Sequence[tuple[float, float]], reason: str = "") -> PairedRow:
    ours, peer, ratio = median_ratio(pairs)
    return PairedRow(name, target, ours, peer, "s", reason, paired=ratio)


def _ours_failed(name: str, target: float, error: BaseException) -> Row:
    return Row(name, target, reason=f"medseg failed: {_told(error)}", failed=True)


def _peer_failed(name: str, target: float, ours: float, error: BaseException) -> Row:
    return Row(name, target, ours=ours, reason=f"the peer failed: {_told(error)}")


def _told(error: BaseException) -> str:
    """One line without a path of this machine."""
    first = str(error).splitlines()[0] if str(error) else ""
    return type(error).__name__ if os.sep in first else f"{type(error).__name__}: {first}".rstrip(": ")


def rows(effort: Effort, names: set[str]) -> Iterator[Row]:
    """Every row, or those named."""

    def asked(*group: str) -> bool:
        return not names or bool(names & set(group))

    def chosen(found: Iterator[Row]) -> Iterator[Row]:
        return (row for row in found if asked(row.name))

    if asked(*NAMES[: len(THREADS)]):
        yield from chosen(step_rows(effort))
    with tempfile.TemporaryDirectory(prefix="medseg-training-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), effort.edge, effort.cases)
        if asked(LOOP, LOOP_PROCESSES, LOOP_SINGLE, *SIDE_BY_SIDE[:2]):
            yield from chosen(loop_rows(bench, effort))
        if asked(*SIDE_BY_SIDE[2:]):
            yield from chosen(data_rows(bench))
        if torch.cuda.is_available():
            yield from chosen(gpu.rows(bench))


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
    return f"patch {shape}, batch 2; {cores} cores; {device}; {', '.join(map(found, PACKAGES))}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a patch of 32 voxels a side instead of 48, fewer rounds")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout, all else on stderr")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", choices=NAMES, help="these rows alone")
    options = parser.parse_args(arguments)
    effort = QUICK if options.quick else FULL
    log = sys.stderr if options.json else sys.stdout
    print(setting(effort), HEADER, sep="\n", file=log, flush=True)
    failed = False
    for row in rows(effort, set(options.only)):
        failed |= row.failed
        print(row.as_text(), file=log, flush=True)
        if options.json:
            print(json.dumps(row.as_json()), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
