"""The whole command killed in the middle, again and again: each run goes on where the last one was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from medseg.imaging.geometry import Geometry
from medseg.io.nifti import write_labels
from medseg.workflows.agreement import agree

GRID = Geometry((96, 96, 48), np.diag([1.0, 1.0, 2.0, 1.0]))
COMMAND = """
import sys
from pathlib import Path
from medseg.workflows.agreement import agree
if __name__ == "__main__":
    root = Path(sys.argv[1])
    agree(raters=root / "raters", model=root / "net", out=root / "out", draws=100, jobs=int(sys.argv[2]))
"""
PATIENCE_S = 120.0


def write_study(root: Path, cases: int) -> None:
    """Blocks whose borders differ from reader to reader; as label maps of three structures."""
    rng = np.random.default_rng(0)
    for k in range(cases):
        for reader in ("raters/A", "raters/B", "net"):
            labels = np.zeros(GRID.shape, dtype=np.uint8)
            for value in (1, 2, 3):
                low, high = rng.integers(2, 6), rng.integers(86, 92)
                labels[low:high, 30 * value - 24 : 30 * value, 4:40] = value
            write_labels(root / reader / f"c{k:02}.nii.gz", labels, GRID)


def start(root: Path, jobs: int) -> subprocess.Popen[bytes]:
    """The command in a group of its own, so that its workers can be killed with it."""
    script = root / "command.py"
    script.write_text(COMMAND, encoding="utf-8")
    return subprocess.Popen([sys.executable, str(script), str(root), str(jobs)], cwd=Path(__file__).parents[2],
                            env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.getcwd()},
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
    write_study(root, 3 * kills + 3)
    for _ in range(kills):
        before = scored(root)
        kill_when_one_more_is_scored(root, jobs)
        after = scored(root)
        assert len(after) > len(before) and before.items() <= after.items()
        assert not (root / "out/agreement.json").exists()
    before = scored(root)
    assert 0 < len(before) < 3 * kills + 3  # the kills did hit the middle
    last = start(root, jobs)
    assert last.wait(PATIENCE_S) == 0, (last.communicate()[1] or b"").decode()
    assert len(scored(root)) == 3 * kills + 3 and before.items() <= scored(root).items()
    fresh = agree(raters=root / "raters", model=root / "net", out=root / "fresh", draws=100)
    assert (root / "out/agreement.json").read_text() == (root / "fresh/agreement.json").read_text()
    assert fresh["design"]["n_cases"] == 3 * kills + 3


def test_three_kills_cost_no_finished_case(tmp_path):
    check_kills(tmp_path, 3, jobs=1)


@pytest.mark.slow
def test_twenty_kills_with_two_workers_cost_no_finished_case(tmp_path):
    check_kills(tmp_path, 20, jobs=2)
