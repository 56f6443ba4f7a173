"""Every command does its work with the network closed, and tries to reach nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from medseg.cli import app
from tests.support.command_server import CommandServer

DATA = Path(__file__).parents[1] / "data"
RECIPE = """\
data: {data}
raters: soft
plan: {{spacing_mm: [12, 12, 14], patch: [16, 16, 16], window_hu: [-160, 240]}}
folds: {{count: 2, fold: 0}}
transforms: {{preset: none, steps: [{{name: affine, probability: 0.5}}]}}
model: {{name: unet, channels: [4, 4, 8], deep_supervision: 1}}
training: {{steps: 2, batch: 1, validate_every: 2, checkpoint_every: 2, log_every: 1, device: cpu}}
"""
CASES: dict[str, str] = {  # each command, in an order in which one finds what another made
    "phantom": "{root}/data --cases 5 --experts 2 --test 2 --seed 3 --spacing-mm 12",
    "check": "{root}/data --deep --html {root}/check.html",
    "convert": "{dicom}/small {root}/ct.nii.gz",
    "import": "dicom {dicom}/small --out {root}/imported",
    "plan": "{root}/data --out {root}/plan.yaml --vram 2G",
    "preprocess": "{root}/data {root}/plan.yaml --out {root}/store",
    "augment-preview": "{root}/data --out {root}/augment.html --samples 1 --steps noise",
    "train": "{root}/recipe.yaml --out {root}/run",
    "runs": "{root}/run --report",
    "validate": "{root}/run",
    "predict": "{root}/run {root}/data --split test --out {root}/out --format nifti,nrrd,png,viewer",
    "masks": "{root}/mask.nii.gz --study {root}/ct.nii.gz --labels liver=1 --format nrrd --out {root}/masks",
    "invariance": "{root}/run {root}/data --split test --transforms noise --doses noise=0.5 --out {root}/invariance",
    "export": "nnunet {root}/data --rater A --out {root}/nnunet",
    "evaluate": "{root}/data {root}/out --split test --out {root}/scores",
    "register": "{root}/agreement.yaml",
    "agree": "{root}/data {root}/out --split test --margin 0.05 --viewers 1 --out {root}/agreement",
    "figure": "{root}/agreement/agreement.json --out {root}/figure.svg",
}
BESIDES = [  # after these: what a command can do besides
    "predict {root}/run {dicom}/small --out {root}/objects --format dicom-seg,rtstruct",
    "predict {root}/run {dicom}/small {root}/ct.nii.gz --out {root}/spread --ray --jobs 1",
]
LONG = {"demo": "--out {root}/demo"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CommandServer]:
    found = CommandServer(tmp_path / "log", attempts=tmp_path / "attempts")
    yield found
    found.close()


def prepare(root: Path) -> None:
    import numpy as np

    from medseg.io.dicom import read_series
    from medseg.io.nifti import write_labels

    (root / "recipe.yaml").write_text(RECIPE.format(data=(root / "data").as_posix()))
    (root / "agreement.yaml").write_text("margin: 0.05\nprimary: liver:dice\n")
    geometry = read_series(DATA / "dicom" / "small").geometry
    write_labels(root / "mask.nii.gz", np.ones(geometry.shape, dtype=np.uint8), geometry)


def test_every_command_works_with_the_network_closed(server: CommandServer, tmp_path: Path) -> None:
    verbs = {command.name for command in app.registered_commands}
    assert set(CASES) | set(LONG) == verbs  # a new command needs a line here
    prepare(tmp_path)
    check_commands(server, tmp_path, CASES)
    for line in BESIDES if find_spec("ray") else BESIDES[:1]:
        verb, _, arguments = line.partition(" ")
        check_commands(server, tmp_path, {verb: arguments})
    assert len([*(tmp_path / "objects").glob("*/*.dcm")]) == 2


@pytest.mark.slow
def test_the_longer_commands_work_with_the_network_closed(server: CommandServer, tmp_path: Path) -> None:
    check_commands(server, tmp_path, LONG)


def check_commands(server: CommandServer, root: Path, cases: dict[str, str]) -> None:
    for verb, arguments in cases.items():
        code = server.run(verb, *arguments.format(root=root, dicom=DATA / "dicom").split())
        told = server.log.read_text().splitlines()
        assert code == 0, f"{verb}: {told[-3:]}"

    assert not (root / "attempts").exists(), (root / "attempts").read_text()


def closed(folder: Path, code: str) -> list[str]:
    """A Python that runs the code with its network closed."""
    closing = f"from pathlib import Path; from tests.support.closed_network import close; close(Path({str(folder)!r}"
    return [sys.executable, "-c", f"{closing}, 'attempts')); {code}"]


@pytest.mark.parametrize(
    "attempt",
    [
        "import urllib.request; urllib.request.urlopen('https://example.org', timeout=1)",
        "import socket; socket.create_connection(('192.0.2.1', 80), timeout=1)",
        "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('192.0.2.1', 53))",
        "import os, socket; os.fork() or socket.gethostbyname('example.org'); os.wait()",
    ],
)
def test_an_attempt_to_reach_somebody_is_refused_and_written_down(tmp_path: Path, attempt: str) -> None:
    done = subprocess.run(closed(tmp_path, attempt), cwd=DATA.parents[1], capture_output=True)

    assert b"the network is closed" in done.stderr
    assert len((tmp_path / "attempts").read_text().splitlines()) == 1


def test_what_stays_on_this_machine_is_let_through(tmp_path: Path) -> None:
    code = ("import socket as n; s = n.create_server(('127.0.0.1', 0)); "
            "n.create_connection(('localhost', s.getsockname()[1])); p = n.socketpair(); p[0].send(b'')")  # fmt: skip
    subprocess.run(closed(tmp_path, code), cwd=DATA.parents[1], check=True)
    assert not (tmp_path / "attempts").exists()
