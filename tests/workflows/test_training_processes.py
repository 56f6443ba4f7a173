"""Training in two processes by torchrun: the same curve as in one, exact resume, and one voice for errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from medseg.training.checkpoint import read_checkpoint
from medseg.training.logbook import read_log

SETTINGS = ("training.steps=6", "training.batch=2", "training.validate_every=3", "training.checkpoint_every=1",
            "training.ema=0.9", "training.log_every=1")  # fmt: skip
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def start(recipe: Path, out: Path, *more: str, processes: int = 2) -> subprocess.Popen[str]:
    module = ["-m", "medseg", "train", str(recipe), *SETTINGS, "--out", str(out), *more]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *(launch if processes > 1 else []), *module]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT)


def finished(process: subprocess.Popen[str]) -> str:
    text, _ = process.communicate(timeout=300)
    assert process.returncode == 0, text
    return text


def digest(run: Path) -> str:
    return read_checkpoint(run / "checkpoints" / "last.safetensors").facts["sha256"]


@pytest.fixture(scope="module")
def together(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run of two processes, and what they said."""
    out = tmp_path_factory.mktemp("two") / "run"
    return out, finished(start(recipe_file, out))


@pytest.fixture(scope="module")
def alone(recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in one process."""
    out = tmp_path_factory.mktemp("one") / "run"
    finished(start(recipe_file, out, processes=1))
    return out


def test_two_processes_learn_the_same_from_the_same_batch_as_one(alone: Path, together: tuple[Path, str]) -> None:
    ours, theirs = read_log(together[0] / "log.jsonl"), read_log(alone / "log.jsonl")

    assert [row["step"] for row in ours] == [row["step"] for row in theirs]
    for mine, other in zip(ours, theirs, strict=True):
        if "loss" in mine:
            assert mine["loss"] == pytest.approx(other["loss"], abs=2e-5)  # logged with five digits
            assert mine["gradient_norm"] == pytest.approx(other["gradient_norm"], abs=2e-4)
        else:
            assert mine["cases"] == other["cases"]  # which the processes share
    mine, other = (read_checkpoint(run / "checkpoints" / "last.safetensors") for run in (together[0], alone))
    for name, tensor in other.tensors.items():
        if name.startswith(("model.", "ema.")):
            torch.testing.assert_close(mine.tensors[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_one_process_speaks_and_writes(together: tuple[Path, str]) -> None:
    out, text = together

    assert text.count("million weights on 2 x cpu") == 1
    assert text.count("6 steps, best mean validation Dice") == 1
    assert [row["step"] for row in read_log(out / "log.jsonl") if "loss" in row] == [1, 2, 3, 4, 5, 6]
    assert [path.name for path in out.rglob(".*")] == [".medseg"]


@pytest.mark.slow
@pytest.mark.parametrize("sign, step", [(signal.SIGTERM, 2), (signal.SIGKILL, 3)])
def test_two_processes_that_are_stopped_resume_to_bit_identical_weights(
    recipe_file: Path, tmp_path: Path, together: tuple[Path, str], sign: signal.Signals,
    step: int,
) -> None:  # fmt: skip
    out = tmp_path / "run"
    process = start(recipe_file, out)
    log = out / "log.jsonl"
    while process.poll() is None and not (log.exists() and any(row["step"] >= step for row in read_log(log))):
        time.sleep(0.01)
    process.send_signal(sign)  # torchrun passes SIGTERM on; of SIGKILL its processes learn by their connections
    process.communicate(timeout=300)

    for _ in range(600):  # the lock on the folder is given back when the last process is gone
        resumed = start(recipe_file, out, "--resume")
        text, _ = resumed.communicate(timeout=300)
        if "another training is writing" not in text:
            break
    assert resumed.returncode == 0, text
    assert digest(out) == digest(together[0])


@pytest.mark.parametrize(
    "wish, sentence",
    [
        pytest.param("training.batch=3", "the batch cannot be shared out evenly; expected a multiple of 2",
                     marks=pytest.mark.slow),
        ("training.optimizer={name: sgd, learning_rate: 1.0e+30}", "is not finite"),
        pytest.param("data=nowhere", "no such file", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_an_error_ends_all_processes_with_one_sentence(
    recipe_file: Path, tmp_path: Path, wish: str, sentence: str
) -> None:
    process = start(recipe_file, tmp_path / "run", wish)
    text, _ = process.communicate(timeout=300)

    told = [line for line in text.splitlines() if line.startswith("medseg: ")]
    assert process.returncode != 0
    assert len(told) == 1, text
    assert sentence in told[0]
