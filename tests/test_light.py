"""The light installation: everything but training and prediction works without PyTorch and MONAI."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from medseg.cli import NOT_LIGHT

ROOT = Path(__file__).parents[1]
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
from medseg.cli import main
main(sys.argv[1:])
"""


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`medseg` in a Python that has none of the packages."""
    code = WITHOUT.format(absent=set(NOT_LIGHT))
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light") / "data"
    assert run("phantom", folder, "--cases", 3, "--experts", 2, "--spacing-mm", 12).returncode == 0
    return folder


@pytest.mark.parametrize(
    "command",
    [
        "check {data} --deep",
        "evaluate {data} {data}/truth --out {out}",
        "agree {data} {data}/truth --out {out}",
        "agree --raters {data}/labels --out {out}",
        "export nnunet {data} --raters majority --out {out}",
    ],
)
def test_judging_needs_no_pytorch(study: Path, tmp_path: Path, command: str) -> None:
    done = run(*command.format(data=study, out=tmp_path / "out").split())

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["train recipe.yaml --out out", "predict run image.nii.gz --out out"])
def test_training_says_what_is_missing(command: str) -> None:
    done = run(*command.split())

    assert done.returncode == 2
    assert re.fullmatch(r"medseg: usage error: this command needs \w+, which the light installation.*\n", done.stderr)


def test_the_light_list_is_the_project_s_without_what_it_leaves_out() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    full = {re.split("[<>=]", line)[0] for line in project}
    lines = (ROOT / "requirements-light.txt").read_text(encoding="utf-8").splitlines()

    assert {line for line in lines if line and not line.startswith("#")} == full - set(NOT_LIGHT)


def test_the_predictor_is_at_the_top_and_loads_nothing_before_it_is_asked_for() -> None:
    code = """
import sys, medseg
assert "torch" not in sys.modules and "medseg.workflows" not in sys.modules
from medseg import Predictor
from medseg.workflows.run import Predictor as own
assert Predictor is own and "Predictor" in dir(medseg)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr


def test_a_name_that_medseg_does_not_have_is_an_ordinary_error() -> None:
    import medseg

    with pytest.raises(AttributeError, match="module 'medseg' has no attribute 'predictor'"):
        _ = medseg.predictor  # type: ignore[attr-defined]
