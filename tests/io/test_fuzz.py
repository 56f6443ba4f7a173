"""Damaged and hostile files: each ends in a MedsegError or a right volume, never a crash, a hang or a guess.

The files are made and read in a process of their own (`tests/support/damage.py`), with bounded memory and time, so that
a crash of a C library costs one reply and is blamed on its file.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "damage.py"
SECONDS = 60  # for one file; a right one takes a fiftieth of a second, the slowest YAML 5 on a busy machine
SAMPLES = {"dicom": 3, "dicom_compressed": 6, "dicom_enhanced": 3, "dicomdir": 1, "zip": 2, "nifti": 2, "itk": 6,
           "rtstruct": 1, "seg": 2, "lidc": 1, "manifest": 1, "rois": 1}  # fmt: skip
FEW = {"dicom": 30, "dicom_compressed": 30, "dicom_enhanced": 20, "dicomdir": 10, "zip": 15, "nifti": 20, "itk": 20,
       "rtstruct": 15, "seg": 15, "lidc": 10, "manifest": 7, "rois": 8}  # fmt: skip
MANY = {name: 10 * count for name, count in FEW.items()}


class Worker:
    """The process that reads damaged files; a new one takes over where one has died or hung."""

    def __init__(self) -> None:
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(SCRIPT), "--serve"], stdin=subprocess.PIPE,
                                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip

    def ask(self, family: str, seed: int) -> dict[str, Any]:
        """What came of one file, or `fault` saying how the process ended."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(f"{family} {seed}\n".encode())
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], SECONDS)
        line = self.process.stdout.readline() if ready else b""
        if line:
            return json.loads(line)
        fault = f"no answer within {SECONDS} s" if not ready else f"the process died: {self._end()}"
        self.close()
        self.process = self._start()
        return {"family": family, "seed": seed, "what": "", "fault": fault, "told": ""}

    def _end(self) -> str:
        code = self.process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()


@pytest.fixture(scope="module")
def worker() -> Iterator[Worker]:
    worker = Worker()
    yield worker
    worker.close()


def faults(worker: Worker, family: str, seeds: Sequence[int]) -> list[str]:
    """Everything that went wrong, each with the command that shows it again."""
    replies = [worker.ask(family, seed) for seed in seeds]
    script = os.path.relpath(SCRIPT)
    return [f"{reply['fault'].splitlines()[0]} | {reply['what']} | python {script} {family} {reply['seed']}"
            for reply in replies if reply["fault"]]  # fmt: skip


@pytest.mark.parametrize("family", SAMPLES)
def test_the_undamaged_files_are_read_right(worker: Worker, family: str) -> None:
    assert faults(worker, family, [-1 - sample for sample in range(SAMPLES[family])]) == []


@pytest.mark.parametrize("family", FEW)
def test_damaged_files_end_in_an_error_or_a_right_volume(worker: Worker, family: str) -> None:
    assert faults(worker, family, range(FEW[family])) == []


@pytest.mark.slow
@pytest.mark.parametrize("family", MANY)
def test_two_thousand_damaged_files_end_in_an_error_or_a_right_volume(worker: Worker, family: str) -> None:
    assert sum(MANY.values()) == 2000
    assert faults(worker, family, range(MANY[family])) == []


def test_a_crash_and_a_hang_are_seen_and_the_next_file_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker()
    worker.process.kill()
    worker.process.wait()
    worker.process.stdin = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL).stdin
    died = worker.ask("lidc", -1)
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 0)
    hung = worker.ask("lidc", -1)
    monkeypatch.undo()
    well = worker.ask("lidc", -1)
    worker.close()

    assert "SIGKILL" in died["fault"] and "no answer" in hung["fault"] and not well["fault"]
