"""How fast medseg trains, beside nnU-Net v2 with the same network, patch, batch and data.

    python benchmarks/training.py             # patches of 48 x 48 x 48, some minutes
    python benchmarks/training.py --quick     # 32 x 32 x 32, fewer rounds, under a minute on two idle cores
    python benchmarks/training.py --json      # one JSON object a line: name, ours, peer, ratio, target, met

`step`: forward, backward and update on one batch in memory. nnU-Net's side is its PlainConvUNet, its Dice and
cross-entropy with deep supervision and its own `train_step`; ours is `unet` with the same weights (the logits are
compared), our loss and our loop's step; fp32, with one thread, in the full form with two as well. `end_to_end`: whole
iterations with loading and nnU-Net's set of augmentations, `medseg train` against nnU-Net's trainer with its own
loader, once with its processes and once in a single thread; the faster one counts. Both sides run in processes of their
own, in turns, whoever waits being stopped; `ratio` is the median over the rounds of peer / ours. The full form also
shows planning and preprocessing, the time to the first iteration and memory side by side, and promises nothing there.

With CUDA there are rows for the GPU. The exit code is 1 only when our own side failed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
STEP, LOOP, LOOP_PROCESSES, LOOP_SINGLE = "step", "end_to_end", "end_to_end_vs_processes", "end_to_end_vs_one_thread"
STEPS = (f"{STEP}_1t", f"{STEP}_2t")
LOOP_TARGETS = ((LOOP, 1.0), (LOOP_SINGLE, 0.0), (LOOP_PROCESSES, 0.0))
FRESH = ("first_iteration", "training_memory")
DATA = ("preprocessing_time", "preprocessing_memory", "preprocessing_disk")
NAMES = (*STEPS, *(name for name, _ in LOOP_TARGETS), *DATA, *FRESH, *gpu.NAMES)
LOGITS_CLOSE = 1e-4
OUR_WORKERS, PROCESSES = 2, "2"  # loader processes: one a core, which is nnU-Net's own choice on two cores


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Args:
        edge: of the patch.
        step_rounds: of steps on one batch.
        cases: phantom bodies to learn from.
        loop_rounds, iterations: rounds of whole iterations, and how many of them a round has.
        loop_enough_s: seconds after which three rounds of whole iterations are enough.
        step_target: the least ratio of a step that counts as met.
        threads: of the steps.
        side_by_side: whether rows that promise nothing are measured too.
    """

    edge: int
    step_rounds: int
    cases: int
    loop_rounds: int
    iterations: int
    loop_enough_s: float
    step_target: float
    threads: tuple[int, ...]
    side_by_side: bool


FULL = Effort(48, 31, 12, 15, 12, math.inf, 1 / 1.05, (1, 2), side_by_side=True)
QUICK = Effort(32, 15, 3, 5, 6, 6.0, 1 / 1.10, (1,), side_by_side=False)


@dataclass
class Pair:
    """Both sides, once started; each begins with steps on one batch and then trains as a whole."""

    ours: Side
    peer: Side | None
    peer_error: BaseException | None = None


def started(bench: Bench, effort: Effort, stack: ExitStack, *, prepare: bool) -> Pair:
    """Both sides, started at the same time, while the data for later are made if they are asked for."""
    edge = ("--edge", str(effort.edge))

    def peer() -> Side:
        left = bench.left_to_peer() if prepare else ()
        side = Side(("nnunet", *edge, *peer_loop("0", PROCESSES), *left), bench.environment)
        stack.enter_context(closing(side))
        if prepare:
            bench.prepare_peer()
        return side

    with ThreadPoolExecutor(3) as pool:
        ours = pool.submit(Side, ("ours", *edge, *our_loop(bench)), {})
        assert bench.data.exists()  # made while our side starts
        others = [pool.submit(peer), *([pool.submit(bench.prepare_ours)] if prepare else [])]
    if ours.exception() is None:
        stack.enter_context(closing(ours.result()))
    for failed in (ours.exception(), *(one.exception() for one in others[1:])):
        if failed is not None:
            raise failed
    error = others[0].exception()
    if error is not None and not isinstance(error, FAILURES):
        raise error
    return Pair(ours.result(), None if error else others[0].result(), error)


def our_loop(bench: Bench) -> tuple[str | Path, ...]:
    return ("--recipe", bench.recipe(OUR_WORKERS), "--out", bench.folder / "run")


def peer_loop(*processes: str) -> tuple[str, ...]:
    """Arguments of nnU-Net's side, with so many loader processes in each phase."""
    return ("--dataset", DATASET, "--processes", *processes)


def step_rows(pair: Pair, effort: Effort) -> Iterator[Row]:
    """Same work, same network."""
    names = _step_names(effort)
    if pair.peer is None:
        alone = pair.ours.run(effort.step_rounds)
        yield from (_peer_failed(name, effort.step_target, alone, pair.peer_error) for name in names)
        return
    pairs_of = zip(pair.ours.facts["logits"], pair.peer.facts["logits"], strict=True)
    differ = max(abs(a - b) for a, b in pairs_of)
    reason = f"logits differ by {differ:.2g}" if differ > LOGITS_CLOSE else ""
    for name, threads in zip(names, effort.threads, strict=True):
        yield _paired(name, effort.step_target, in_turns(pair.ours, pair.peer, effort.step_rounds, 1, threads), reason)


def _step_names(effort: Effort) -> list[str]:
    return [f"{STEP}_{threads}t" for threads in effort.threads]


def loop_rows(pair: Pair, effort: Effort) -> Iterator[Row]:
    """Seconds of whole iterations."""
    found: list[PairedRow] = []
    try:
        pair.ours.go_on()
    except FAILURES as error:
        yield from (_ours_failed(name, least, error) for name, least in LOOP_TARGETS)
        return
    try:
        if pair.peer is None:
            raise pair.peer_error or RuntimeError("not started")
        for name in (LOOP_SINGLE, LOOP_PROCESSES):
            pair.peer.go_on()
            pairs = in_turns(pair.ours, pair.peer, effort.loop_rounds, effort.iterations, enough_s=effort.loop_enough_s)
            found.append(_paired(name, 0.0, pairs))
    except FAILURES as error:
        alone = pair.ours.run(effort.iterations * effort.loop_rounds)
        yield from (_peer_failed(name, least, alone, error) for name, least in LOOP_TARGETS)
        return
    faster = min(found, key=lambda row: row.ratio or 0.0)
    yield PairedRow(LOOP, 1.0, faster.ours, faster.peer, "s", paired=faster.ratio)
    yield from found


def fresh_rows(bench: Bench, effort: Effort) -> Iterator[Row]:
    """Time to the first iteration and memory, of each side alone in a fresh process; nnU-Net loads in its own."""
    commands = (("ours", *our_loop(bench)), {}), (("nnunet", *peer_loop("0")), bench.environment)
    seconds, memory = [], []
    try:
        bench.prepare_ours()
        bench.prepare_peer()
        for command, environment in commands:
            with closing(Side(command, environment)) as side:
                side.run(effort.iterations)
                seconds.append(side.ready_s)
                memory.append(side.peak_mb)
    except FAILURES as error:
        failed = _peer_failed if seconds else _ours_failed
        yield from (failed(name, 0.0, error=error) for name in FRESH)
        return
    yield Row("first_iteration", 0.0, seconds[0], seconds[1])
    yield Row("training_memory", 0.0, memory[0], memory[1], "MB")


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


def _peer_failed(name: str, target: float, ours: float | None = None, error: BaseException | None = None) -> Row:
    return Row(name, target, ours=ours, reason=f"the peer failed: {_told(error)}")


def _told(error: BaseException | None) -> str:
    """One line without a path of this machine."""
    if error is None:
        return "not started"
    first = str(error).splitlines()[0] if str(error) else ""
    return type(error).__name__ if os.sep in first else f"{type(error).__name__}: {first}".rstrip(": ")


def rows(effort: Effort, names: set[str]) -> Iterator[Row]:
    """Every row, or those named."""
    with tempfile.TemporaryDirectory(prefix="medseg-training-", ignore_cleanup_errors=True) as folder:
        bench = Bench(Path(folder), effort.edge, effort.cases)
        for row in _all_rows(bench, effort, names):
            if not names or row.name in names:
                yield row


def _all_rows(bench: Bench, effort: Effort, names: set[str]) -> Iterator[Row]:
    def asked(*group: str) -> bool:
        return not names or bool(names & set(group))

    steps, loops = asked(*STEPS), asked(*(name for name, _ in LOOP_TARGETS))
    if effort.side_by_side and asked(*DATA):
        yield from data_rows(bench)
    if steps or loops:
        with ExitStack() as stack:
            try:
                pair = started(bench, effort, stack, prepare=loops)
            except FAILURES as error:
                yield from (_ours_failed(name, effort.step_target, error) for name in _step_names(effort))
                yield from (_ours_failed(name, least, error) for name, least in LOOP_TARGETS)
                return
            if steps:
                yield from step_rows(pair, effort)
            if loops:
                yield from loop_rows(pair, effort)
    if effort.side_by_side and asked(*FRESH):
        yield from fresh_rows(bench, effort)
    if torch.cuda.is_available() and asked(*gpu.NAMES):
        yield from gpu.rows(bench)


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
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # so that both sides are ended too
    sys.exit(main())
