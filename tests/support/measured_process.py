"""A command in a process of its own, and the most memory that the system saw it hold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

MB = 2**20
# Linux counts what a process held before it became the command: the tests' own memory, if they started it themselves.
LAUNCHER = """
import json, os, resource, subprocess, sys
limit, *command = json.loads(sys.argv[1])
limited = (lambda: resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))) if limit else None
child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, preexec_fn=limited, text=True)
said = child.stdout.read()
_, status, usage = os.wait4(child.pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), said, usage.ru_maxrss / 1024]))
"""


@dataclass(frozen=True)
class Measured:
    """Exit code, what was said on both streams, and the most MiB that the process held."""

    code: int
    said: str
    peak_mib: float


def measured(command: Sequence[object], limit_mib: int | None = None) -> Measured:
    """Runs a command to its end; `limit_mib` is what the system grants it (RLIMIT_DATA)."""
    given = [limit_mib * MB if limit_mib is not None else None, *map(str, command)]
    done = subprocess.run(
        [sys.executable, "-c", LAUNCHER, json.dumps(given)], capture_output=True, text=True, check=True
    )
    return Measured(*json.loads(done.stdout))
