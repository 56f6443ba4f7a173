"""Peak memory, each in a process of its own.

    python benchmarks/inference_memory.py restore CLASSES X Y Z STUDY_X STUDY_Y STUDY_Z [nnunet]
    python benchmarks/inference_memory.py study RUN STUDY.nii OUT.nii.gz RAM|none

The first prints JSON with `ours`, our way back, and on request `peer`, nnU-Net's export: the most MB that the process
held during the call beyond what it held before it, the scores included in the latter, the labels in the former; or
`reason`, why nnU-Net did not run. The
second is a whole prediction and prints `peak`, the most MB that the whole process
ever held, imports and the study included, and `seconds`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from io_memory import memory_mb
from io_rows import FAILURES, told

SPACING_MM = 1.5


def main() -> None:
    if sys.argv[1] == "study":
        print(json.dumps(predict_study(*sys.argv[2:])))
    else:
        both = sys.argv[-1] == "nnunet"
        print(json.dumps(restore_scores([int(n) for n in sys.argv[2:9]], both=both)))


def restore_scores(numbers: list[int], *, both: bool) -> dict[str, float | str]:
    import inference_inputs

    from medseg.imaging.geometry import Geometry
    from medseg.preprocessing.restore import restore

    classes, (x, y, z), (a, b, c) = numbers[0], numbers[1:4], numbers[4:]
    fine = (SPACING_MM * x / a, SPACING_MM * y / b, SPACING_MM * z / c)
    scores = inference_inputs.scores(classes, (z, y, x))

    def ours(scores: Any) -> None:
        standard = Geometry((x, y, scores.shape[1]), np.diag([SPACING_MM] * 3 + [1]))
        restore(scores.transpose(0, 3, 2, 1), standard, standard.with_spacing(fine))

    ours(scores[:, :4].copy())  # the compiled code is loaded
    found: dict[str, float | str] = {"ours": above(lambda: ours(scores))}
    if both:
        try:
            import inference_peers

            peer = inference_peers.NNUNet(classes, (SPACING_MM,) * 3)
            peer.export(scores[:, :4].copy(), (4, b, a), fine[::-1])
            found["peer"] = above(lambda: peer.export(scores, (c, b, a), fine[::-1]))
        except FAILURES as error:
            found["reason"] = f"the peer failed: {told(error)}"
    return found


def above(call: Callable[[], Any]) -> float:
    """The most MB held during a call beyond what was held before it."""
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
    call()
    return memory_mb("VmHWM") - before


def predict_study(run: str, source: str, out: str, ram: str) -> dict[str, float]:
    from medseg.io.nifti import read_volume, write_labels
    from medseg.workflows.run import Predictor

    begin = time.perf_counter()
    predictor = Predictor.from_run(run, ram=None if ram == "none" else ram, device="cpu")
    study = predictor.standardise(read_volume(source))
    prediction = predictor.predict(study)
    write_labels(out, prediction.labels, prediction.geometry, like=source)
    return {"peak": memory_mb("VmHWM"), "seconds": time.perf_counter() - begin}


if __name__ == "__main__":
    main()
