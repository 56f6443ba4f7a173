"""Rows of `training.py` for a CUDA device: whole iterations, its utilisation, and memory against the plan's count."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from statistics import fmean

from io_rows import FAILURES, Row
from training_data import DATASET, Bench
from training_sides import Side, in_turns, median_ratio

from medseg.losses.deep_supervision import DeepSupervision
from medseg.losses.dice_ce import DiceCEConfig
from medseg.models.unet import UNetConfig
from medseg.training.footprint import footprint
from medseg.training.real_step import step_memory

LOOP, UTILISATION, MEMORY = "gpu_end_to_end", "gpu_utilisation", "gpu_memory_vs_plan"
NAMES = (LOOP, UTILISATION, MEMORY)
LEAST_GAIN, MOST_OFF = 1.5, 15.0  # times nnU-Net's iterations; % that a count may be off
WORKERS, ROUNDS, ITERATIONS = 4, 15, 50
PROCESSES = str(min(12, os.cpu_count() or 1))  # as nnU-Net chooses
PATCH, CLASSES, BATCH = (128, 128, 128), 4, 2
QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits")


def rows(bench: Bench) -> Iterator[Row]:
    """All of them; what goes wrong is our own failure."""
    try:
        yield from _loop_rows(bench)
    except FAILURES as error:
        yield Row(LOOP, LEAST_GAIN, reason=f"medseg failed: {type(error).__name__}", failed=True)
    try:
        yield memory_row()
    except FAILURES as error:
        yield Row(MEMORY, 1.0, reason=f"medseg failed: {type(error).__name__}", failed=True)


def _loop_rows(bench: Bench) -> Iterator[Row]:
    """Seconds an iteration with augmentation and loading, nnU-Net with its own processes and torch.compile."""
    recipe = bench.recipe(WORKERS, "cuda", "device")
    learn = ("nnunet", "--dataset", DATASET, "--device", "cuda", "--processes", PROCESSES)
    bench.prepare_ours()
    bench.prepare_peer()
    with ExitStack() as stack:
        ours = stack.enter_context(closing(Side(("ours", "--recipe", recipe, "--out", bench.folder / "run-cuda"), {})))
        environment = bench.environment | {"nnUNet_compile": "t"}
        peer = stack.enter_context(closing(Side(learn, environment)))
        seconds, theirs, ratio = median_ratio(in_turns(ours, peer, ROUNDS, ITERATIONS))
        reason = "" if ratio >= LEAST_GAIN else f"the median ratio of single rounds is {ratio:.3g}"
        yield Row(LOOP, LEAST_GAIN, seconds, theirs, reason=reason)
        busy = [_busy(side) for side in (ours, peer)]
        yield Row(UTILISATION, 1.0, 100 / busy[0], 100 / busy[1], "s/s")  # seconds of the clock for one of work


def _busy(side: Side) -> float:
    """Mean utilisation of the device in % while a side iterates."""
    with sampled() as found:
        side.run(ITERATIONS)
    return fmean(found) if found else float("nan")


@contextmanager
def sampled() -> Iterator[list[float]]:
    """Utilisation in %, asked of the driver again and again while the block runs."""
    found: list[float] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(0.2):
            told = subprocess.run(QUERY, check=True, capture_output=True, text=True).stdout
            found.append(float(told.splitlines()[0]))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def memory_row() -> Row:
    """By how many percent the memory that a step takes is off what `medseg plan` counts for it; at most 15."""
    model = UNetConfig().build(1, CLASSES, PATCH)
    loss = DeepSupervision(DiceCEConfig().build())
    found = step_memory(model, loss, BATCH, (1, PATCH, CLASSES), bf16=True)
    counted = footprint(UNetConfig().build(1, CLASSES, PATCH), BATCH, 1, PATCH, activation_bytes=2).total
    return Row(MEMORY, 1.0, max(0.1, 100 * abs(found - counted) / counted), MOST_OFF, "%")
