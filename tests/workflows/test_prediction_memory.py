"""`medseg predict --ram`: the whole process keeps the promise that it names itself, told by the system that ran it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg.imaging.volume import Volume
from medseg.io.nifti import write_volume
from medseg.shapes import IntTriple
from tests.support.measured_process import Measured, measured
from tests.support.rtstruct_writer import write_ct

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="peak memory in kB is Linux's")


def prepare(folder: Path, shape: IntTriple, patch: int, *, dicom: bool) -> Path:
    """A run of 25 classes with random weights, and a study."""
    with pytest.MonkeyPatch.context() as patched:
        patched.syspath_prepend(str(BENCHMARKS))
        import inference_inputs as inputs

        inputs.write_untrained_run(folder / "run", 25, (1.5,) * 3, (patch,) * 3, (8, 8, 8), 0.0)
        found = inputs.study(shape, (0.8, 0.8, 1.0))
        inputs.study.cache_clear()
    study = Volume(np.rint(found.hu), found.geometry)
    if dicom:
        write_ct(folder / "ct", study)
        return folder / "ct"
    write_volume(folder / "ct.nii.gz", study)
    return folder / "ct.nii.gz"


def run(folder: Path, study: Path, ram_mb: int, *options: str, limit_mb: int | None = None) -> Measured:
    """The command under a promise; `limit_mb` is what the system grants it."""
    command = [sys.executable, "-m", "medseg", "predict", folder / "run", study, "--out", folder / "out", "--ram",
               f"{ram_mb}M", "--device", "cpu", *options]  # fmt: skip
    return measured(command, limit_mb)


def least_mb(folder: Path, study: Path, *options: str) -> int:
    """The smallest budget that the refusal names."""
    done = run(folder, study, 100, *options)
    assert done.code != 0
    found = re.search(r"at least (\d+)([MG])", " ".join(done.said.split()))
    assert found, done.said
    return int(found[1]) * (1024 if found[2] == "G" else 1)


@pytest.mark.parametrize(("dicom", "options"), [
    (True, ("--format", "nifti,dicom-seg,viewer,png")),
    pytest.param(False, (), marks=pytest.mark.slow),
    pytest.param(False, ("--probabilities", "--maps", "entropy"), marks=pytest.mark.slow),
], ids=["dicom and formats", "nifti", "maps"])  # fmt: skip
def test_the_smallest_promise_that_is_named_is_kept(tmp_path: Path, dicom: bool, options: tuple[str, ...]) -> None:
    study = prepare(tmp_path, (256, 256, 60), 64, dicom=dicom)

    least = least_mb(tmp_path, study, *options)
    found = run(tmp_path, study, least, *options, limit_mb=least)

    assert found.code == 0, found.said
    assert found.peak_mib <= least
    assert any((tmp_path / "out").glob("*.nii.gz"))


@pytest.mark.slow
@pytest.mark.parametrize("dicom", [False, True], ids=["nifti", "dicom"])
def test_800_slices_and_25_classes_are_predicted_in_2_gib(tmp_path: Path, dicom: bool) -> None:
    study = prepare(tmp_path, (512, 512, 800), 64, dicom=dicom)

    found = run(tmp_path, study, 2048, limit_mb=2048)

    assert found.code == 0, found.said
    assert found.peak_mib <= 2048
