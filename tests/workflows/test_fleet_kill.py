"""The whole command killed in the middle, again and again: each run goes on where the last one was."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset, LabelFile, write_dataset
from medseg.io.nifti import write_labels
from medseg.workflows.evaluation import evaluate

GRID = Geometry((80, 80, 40), np.diag([1.0, 1.0, 2.0, 1.0]))
NAMES = LabelSet({"background": 0, "liver": 1, "spleen": 2, "kidney": 3})
COMMAND = """
import sys
from pathlib import Path
from medseg.workflows import evaluate
if __name__ == "__main__":
    root = Path(sys.argv[1])
    evaluate(root / "data", root / "net", root / "out", jobs=int(sys.argv[2]))
"""
PATIENCE_S = 300.0


def write_study(root: Path, cases: int) -> None:
    """Blocks of three structures whose ends differ from reader to reader."""
    rng = np.random.default_rng(0)
    entries = []
    for k in range(cases):
        for reader in ("data/A", "data/B", "net"):
            labels = np.zeros(GRID.shape, dtype=np.uint8)
            for value in (1, 2, 3):
                labels[rng.integers(2, 6) : rng.integers(70, 76), 24 * value - 20 : 24 * value, 4:36] = value
            write_labels(root / reader / f"c{k:02}.nii.gz", labels, GRID)
        files = {reader: LabelFile(root / f"data/{reader}/c{k:02}.nii.gz") for reader in "AB"}
        entries.append(CaseEntry(f"c{k:02}", root / "data/image.nii.gz", files))
    write_dataset(Dataset(root / "data", NAMES, ("A", "B"), tuple(entries)))
    (root / "command.py").write_text(COMMAND, encoding="utf-8")


def start(root: Path, jobs: int) -> subprocess.Popen[bytes]:
    """The command in a group of its own, so that its workers can be killed with it."""
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, str(root / "command.py"), str(root), str(jobs)],
                            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths},
                            stderr=subprocess.PIPE, start_new_session=True)  # fmt: skip


def scored(root: Path) -> dict[str, int]:
    """The finished cases and when they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (root / "out/scored").glob("[!.]*.json")}


def kill_when_one_more_is_scored(root: Path, jobs: int) -> None:
    before, patience = len(scored(root)), time.monotonic() + PATIENCE_S
    command = start(root, jobs)
    while command.poll() is None and len(scored(root)) <= before:
        assert time.monotonic() < patience
        time.sleep(0.001)
    os.killpg(command.pid, signal.SIGKILL)
    command.communicate()


def check_kills(root: Path, kills: int, jobs: int) -> None:
    count = 6 * kills
    write_study(root, count)
    for _ in range(kills):
        before = scored(root)
        kill_when_one_more_is_scored(root, jobs)
        assert len(scored(root)) > len(before) and before.items() <= scored(root).items()
    before = scored(root)
    assert 0 < len(before) < count and not (root / "out/evaluation.json").exists()  # it was the middle
    last = start(root, jobs)
    told = last.communicate(timeout=PATIENCE_S)[1]
    assert last.returncode == 0, told.decode()
    assert len(scored(root)) == count and before.items() <= scored(root).items()
    fresh = evaluate(root / "data", root / "net", root / "fresh")
    assert json.loads((root / "out/evaluation.json").read_text()) == fresh


def test_three_kills_cost_no_finished_case(tmp_path):
    check_kills(tmp_path, 3, jobs=1)


@pytest.mark.slow
def test_twenty_kills_with_two_workers_cost_no_finished_case(tmp_path):
    check_kills(tmp_path, 20, jobs=2)
