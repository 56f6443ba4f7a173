"""`--ram` is kept by the whole process when its labels are postprocessed, told by the system that ran it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.measured_process import measured

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PREPARE = """
import sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
import inference_inputs as inputs
from medseg.io.nifti import write_volume
place = Path({place!r})
inputs.write_untrained_run(place / "run", 25, (1.5,) * 3, (32,) * 3, (8, 8, 8), 0.0)
write_volume(place / "ct.nii", inputs.study((256, 256, 120), (0.8, 0.8, 1.0)))
"""
STEPS = "- {{name: keep_largest, of: [organ_{k}]}}\n- {{name: fill_cavities, of: [organ_{k}]}}\n"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory in kB is Linux's")
def test_a_promise_is_kept_with_forty_eight_steps_on_labels_in_many_pieces(tmp_path: Path) -> None:
    code = PREPARE.format(benchmarks=str(BENCHMARKS), place=str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True)
    steps = "".join(STEPS.format(k=k) for k in range(1, 25))
    (tmp_path / "run" / "postprocessing.yaml").write_text(f"steps:\n{steps}")
    arguments = ["study", tmp_path / "run", tmp_path / "ct.nii", tmp_path / "labels.nii.gz", "1100M"]

    found = measured([sys.executable, BENCHMARKS / "inference_memory.py", *arguments])

    assert found.code == 0, found.said
    assert found.peak_mib <= 1100
