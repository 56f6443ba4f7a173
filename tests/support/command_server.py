"""Runs `medseg` again and again without importing it anew: each command is a fork of a process that has it loaded.

A fork leads a group of its own, so that it can be killed with all that it starts. One line of JSON is one command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Command:
    """A command that runs, told by the server that forked it."""

    server: CommandServer
    pid: int

    @property
    def running(self) -> bool:
        """Whether it has not ended; a zombie has."""
        status = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        return status.rpartition(")")[2].split()[0] != "Z"

    def wait(self) -> int:
        """Its exit code, negative when it was killed."""
        return self.server.ask({"wait": self.pid})


class CommandServer:
    """The loaded process, seen from the test."""

    def __init__(self, log: Path, *, attempts: Path | None = None) -> None:
        """Starts it; with `attempts` its network is closed, see `closed_network`."""
        self.log = log
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.command_server", *([str(attempts)] if attempts else [])],
            cwd=Path(__file__).parents[2], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def start(self, *arguments: object) -> Command:
        return Command(self, self.ask({"start": [str(each) for each in arguments], "log": str(self.log)}))

    def run(self, *arguments: object) -> int:
        """The exit code of a command."""
        return self.start(*arguments).wait()

    def ask(self, question: object) -> int:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()


def serve() -> None:
    if len(sys.argv) > 1:
        from tests.support.closed_network import close

        close(Path(sys.argv[1]))
    import medseg.workflows.agreement
    import medseg.workflows.prediction  # what takes seconds, once
    import medseg.workflows.training  # noqa: F401
    from medseg.cli import main

    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            answer = os.waitstatus_to_exitcode(os.waitpid(question["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            os.setsid()
            log = os.open(question["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(log, stream)
            if question["start"][0] == "demo":
                make_demo_small()
            try:
                main(question["start"])
            except SystemExit as end:
                print(end="", flush=True)
                os._exit(int(end.code or 0))  # taking all libraries down takes longer than most commands
            finally:
                traceback.print_exc()
                os._exit(1)
        print(answer, flush=True)


def make_demo_small() -> None:
    """The demo takes minutes on a CPU; this one is as long as a test may be, and goes the same way."""
    from functools import partial

    from medseg.workflows import demonstration

    network = "model={name: unet, channels: [4, 4, 8], deep_supervision: 1}"
    grid = ("plan.spacing_mm=[12, 12, 14]", "plan.patch=[16, 16, 16]", "folds.count=2")
    overrides = (*grid, network, "training.steps=3", "training.schedule.warmup_steps=0")
    demonstration.phantom = partial(demonstration.phantom, spacing_mm=12.0)
    demonstration.demo = partial(demonstration.demo, train_cases=3, test_cases=2, overrides=overrides)


if __name__ == "__main__":
    serve()
