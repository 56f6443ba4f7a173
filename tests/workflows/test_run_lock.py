"""One writer per folder; the operating system lets go when the writer dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from medseg.errors import UsageError, WriteError
from medseg.workflows.run_lock import is_locked, locked_folder

HOLD = """
import multiprocessing, sys, time
from pathlib import Path
from medseg.workflows.run_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(300,))
    if sys.argv[2] == "with a child":
        child.start()
    print(child.pid or 0, flush=True)
    time.sleep(300)
"""


@pytest.fixture
def holder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds `tmp_path / "run"`, perhaps with a child, whose number it has printed."""
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run"), getattr(request, "param", "alone")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def first_line(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_a_folder_that_somebody_writes_to_is_refused(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    first_line(holder)

    assert is_locked(tmp_path / "run")
    with (
        pytest.raises(UsageError, match=r"^run: another training is writing into this folder\. Wait"),
        locked_folder(tmp_path / "run"),
    ):
        pass


@pytest.mark.parametrize("holder", ["alone", "with a child"], indirect=True)
def test_a_killed_process_holds_nothing_even_if_its_child_lives_on(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    child = first_line(holder)

    holder.kill()
    holder.wait()

    try:
        with locked_folder(tmp_path / "run"):
            assert is_locked(tmp_path / "run")
    finally:
        if child:
            os.kill(child, signal.SIGKILL)


def test_a_folder_is_free_after_its_block(tmp_path: Path) -> None:
    with locked_folder(tmp_path / "run"):
        (tmp_path / "run" / "run.json").touch()

    assert not is_locked(tmp_path / "run")
    with locked_folder(tmp_path / "run"):
        pass


def test_a_folder_that_was_made_in_vain_is_taken_away_again(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()

    for name in ("run", "own"):
        with locked_folder(tmp_path / name):
            pass

    assert not (tmp_path / "run").exists() and (tmp_path / "own").exists()


def test_a_folder_inside_a_file_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(WriteError, match="run: could not make the folder"), locked_folder(tmp_path / "file" / "run"):
        pass


def test_what_is_not_there_is_not_locked(tmp_path: Path) -> None:
    assert not is_locked(tmp_path / "nowhere")
