"""`predict` killed, a worker of it or the whole command at any moment: nothing is lost and nothing half written."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest

from medseg.files import MARKER
from medseg.workflows import predict
from tests.support.command_server import CommandServer

FORMATS = ("nifti", "nrrd", "png", "viewer")
STUDIES = 5
PATIENCE_S = 300.0
LOOK_S = 0.02
WORKED_S = 0.03  # the clock of a process ticks every 0.01 s
ATTEMPTS = 5


def files(out: Path) -> list[Path]:
    """What whoever looks into the folder sees."""
    return [path for path in out.rglob("*") if path.is_file() and not path.name.startswith(".")]


def contents(out: Path) -> dict[str, str]:
    """The SHA-256 of every file, by name."""
    return {str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files(out)}


def stamps(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in files(out)}


def finished(out: Path) -> dict[str, int]:
    """The files of the studies whose record names them all."""
    records = [path for path in out.glob("*.json") if not path.name.startswith(".")]  # not one that is half written
    formats = {path.stem: json.loads(path.read_text())["formats"] for path in records}
    whole = [name for name, found in formats.items() if len(found) == len(FORMATS) + 1]  # the probabilities besides
    return {name: at for name, at in stamps(out).items() if Path(name).name.partition(".")[0] in whole}


@pytest.fixture(scope="module")
def uninterrupted(run_folder: Path, phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """All files of one undisturbed call, by name."""
    out = tmp_path_factory.mktemp("whole") / "out"
    predict(run_folder, phantoms, out, formats=FORMATS, probabilities=True)
    found = contents(out)
    assert len(found) == STUDIES * (len(FORMATS) + 2) + 1
    return found


class Death(threading.Thread):
    """Kills the first worker that works from now on, while the command goes on."""

    def __init__(self, is_worker: Callable[[psutil.Process], bool]) -> None:
        super().__init__(daemon=True)
        self.is_worker = is_worker
        self.over = threading.Event()

    def run(self) -> None:
        spent: dict[int, float] = {}
        while not self.over.wait(LOOK_S):
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):  # it has just ended
                    now = sum(process.cpu_times()[:2])
                    if self.is_worker(process) and now - spent.setdefault(process.pid, now) >= WORKED_S:
                        process.kill()
                        return


def is_spawned(process: psutil.Process) -> bool:
    return "spawn_main" in " ".join(process.cmdline())


def is_actor(process: psutil.Process) -> bool:
    return " ".join(process.cmdline()).startswith("ray::Actor")


def predict_with_a_death(
    run: Path, data: Path, out: Path, is_worker: Callable[[psutil.Process], bool], **fleet: Any
) -> tuple[list[int], dict[str, int]]:
    """How often each study was begun, and the files that were there when a worker was killed.

    A worker that had just finished its study costs no second try; then all begins anew.
    """
    for _ in range(ATTEMPTS):
        tries, seen = _with_a_death(run, data, out, is_worker, **fleet)
        if sum(tries) > STUDIES:
            return tries, seen
        shutil.rmtree(out)
    pytest.fail(f"in {ATTEMPTS} commands no worker was killed in the middle of a study")


def _with_a_death(
    run: Path, data: Path, out: Path, is_worker: Callable[[psutil.Process], bool], **fleet: Any
) -> tuple[list[int], dict[str, int]]:
    seen: dict[str, int] = {}
    outcomes: list[Any] = []
    death = Death(is_worker)

    def look(_what: str, done: int, _total: int, _note: str) -> None:
        if done == 1 and not seen:
            seen.update(finished(out))
            death.start()

    predict(run, data, out, formats=FORMATS, probabilities=True, progress=look, on_done=outcomes.extend, **fleet)
    death.over.set()
    return [outcome.tries for outcome in outcomes], seen


def check_death(out: Path, tries: list[int], seen: dict[str, int], whole: dict[str, str]) -> None:
    assert sum(tries) == STUDIES + 1 and max(tries) == 2  # one study, and it alone, was begun again
    assert contents(out) == whole
    assert seen and seen.items() <= stamps(out).items()
    assert [path.name for path in out.rglob(".*")] == [MARKER]


def test_a_worker_killed_in_the_middle_loses_nothing_and_writes_nothing_twice(
    run_folder: Path, phantoms: Path, tmp_path: Path, uninterrupted: dict[str, str]
) -> None:
    tries, seen = predict_with_a_death(run_folder, phantoms, tmp_path / "out", is_spawned, jobs=2)

    check_death(tmp_path / "out", tries, seen, uninterrupted)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: the extra `ray`")
def test_a_ray_worker_killed_in_the_middle_loses_nothing_and_writes_nothing_twice(
    run_folder: Path, phantoms: Path, tmp_path: Path, uninterrupted: dict[str, str]
) -> None:
    tries, seen = predict_with_a_death(run_folder, phantoms, tmp_path / "out", is_actor, jobs=2, ray="local")

    check_death(tmp_path / "out", tries, seen, uninterrupted)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandServer]:
    found = CommandServer(tmp_path_factory.mktemp("server") / "log")
    yield found
    found.close()


def command(run: Path, data: Path, out: Path) -> list[object]:
    return ["predict", run, data, "--out", out, "--format", ",".join(FORMATS), "--probabilities"]


def is_killed(server: CommandServer, arguments: list[object], out: Path, dice: random.Random) -> bool:
    """Kills the command when so many files are there, and a moment later; it may have ended by then."""
    wanted, moment_s = dice.randrange(STUDIES * 5), dice.uniform(0, 0.1)
    running, patience = server.start(*arguments), time.monotonic() + PATIENCE_S
    while running.running and len(files(out)) < wanted:
        assert time.monotonic() < patience
        time.sleep(0.001)
    time.sleep(moment_s)
    if running.running:
        os.killpg(running.pid, signal.SIGKILL)
    code = running.wait()
    assert code in (-signal.SIGKILL, 0), server.log.read_text()
    return code != 0


def kill_in_the_middle(server: CommandServer, arguments: list[object], out: Path, seed: int) -> None:
    """A test that stood still while the command ran on has missed the middle, and tries another moment."""
    dice = random.Random(seed)
    for _ in range(ATTEMPTS):
        if is_killed(server, arguments, out, dice):
            return
        shutil.rmtree(out)
    pytest.fail(f"{ATTEMPTS} commands ended before they could be killed")


def check_kill(server: CommandServer, arguments: list[object], out: Path, whole: dict[str, str], seed: int) -> None:
    kill_in_the_middle(server, arguments, out, seed)
    there = contents(out)
    assert len(there) < len(whole)  # it was the middle
    assert all(each == whole[name] for name, each in there.items() if not name.endswith(".json"))  # none half written
    before = finished(out)

    assert server.start(*arguments).wait() == 0, server.log.read_text()
    assert contents(out) == whole
    assert before.items() <= stamps(out).items()
    assert [path.name for path in out.rglob(".*")] == [MARKER]


@pytest.mark.parametrize("seed", [*range(3), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 20))])
def test_a_killed_command_given_again_leaves_the_files_of_an_uninterrupted_one(
    run_folder: Path, phantoms: Path, tmp_path: Path, uninterrupted: dict[str, str], server: CommandServer, seed: int
) -> None:
    out = tmp_path / "out"

    check_kill(server, command(run_folder, phantoms, out), out, uninterrupted, seed)
