"""panoptica 2.1.7 in an environment of its own, because it pins other versions than ours.

`Elsewhere` makes the environment in a temporary folder and keeps a process there that holds the masks and scores them
each time a line comes in: what is timed is its scoring, not its start. The file is also that process:

    python benchmarks/evaluation_panoptica.py MASKS.npz
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import evaluation_peers as peers
import numpy as np

from medseg.shapes import Triple

REQUIREMENT = "panoptica==2.1.7"
INSTALL_S = 900


class Elsewhere:
    """A process in panoptica's environment; scores the masks of every label when it is called."""

    def __init__(self, masks: dict[str, Any], spacing_mm: Triple, tolerance_mm: float) -> None:
        self.masks, self.setting = masks, {"spacing_mm": list(spacing_mm), "tolerance_mm": tolerance_mm}

    def __enter__(self) -> Elsewhere:
        """Installs it and starts the process.

        Raises:
            subprocess.SubprocessError, OSError: it cannot be installed.
        """
        self.folder = TemporaryDirectory(prefix="medseg-panoptica-")  # goes with this object if the start fails
        root = Path(self.folder.name)
        venv.create(root / "env", with_pip=True)
        python = root / "env" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        subprocess.run([python, "-m", "pip", "install", "-q", REQUIREMENT], check=True, capture_output=True,
                       timeout=INSTALL_S)  # fmt: skip
        np.savez(root / "masks.npz", **self.masks)
        (root / "setting.json").write_text(json.dumps(self.setting), encoding="utf-8")
        self.process = subprocess.Popen([python, Path(__file__), root / "masks.npz"], text=True,
                                        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "process"):
            self.process.kill()
            self.process.communicate()
        self.folder.cleanup()

    def __call__(self) -> dict[str, peers.Numbers]:
        """The numbers by label."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("score\n")
        self.process.stdin.flush()
        if not (line := self.process.stdout.readline()):
            raise RuntimeError("panoptica's process ended")
        return json.loads(line)


def main() -> None:
    file = Path(sys.argv[1])
    setting = json.loads(file.with_name("setting.json").read_text(encoding="utf-8"))
    with np.load(file) as stored:
        masks = dict(stored)
    labels = sorted({name.split("/")[1] for name in masks})
    answers, sys.stdout = sys.stdout, sys.stderr  # the tool prints
    for _ in sys.stdin:
        found = {
            label: peers.panoptica_pair(
                masks[f"A/{label}"], masks[f"B/{label}"], tuple(setting["spacing_mm"]), setting["tolerance_mm"]
            )
            for label in labels
        }
        print(json.dumps(found), file=answers, flush=True)


if __name__ == "__main__":
    main()
