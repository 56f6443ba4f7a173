"""Peak memory, each in a process of its own.

    python benchmarks/inference_memory.py restore CLASSES X Y Z STUDY_X STUDY_Y STUDY_Z     # our way back
    python benchmarks/inference_memory.py nnunet CLASSES X Y Z STUDY_X STUDY_Y STUDY_Z      # nnU-Net's export
    python benchmarks/inference_memory.py study RUN STUDY.nii OUT.nii.gz RAM                # a whole prediction

The first two print JSON with `above`: the most MB that the process held during the call beyond what it held before it,
the scores included in the latter, the labels in the former. The third prints `peak`, the most MB that the whole process
ever held, imports and the study included, and `seconds`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from io_memory import memory_mb

SPACING_MM = 1.5


def main() -> None:
    if sys.argv[1] == "study":
        print(json.dumps(predict_study(*sys.argv[2:])))
    else:
        print(json.dumps({"above": restore_scores(sys.argv[1], [int(n) for n in sys.argv[2:]])}))


def restore_scores(side: str, numbers: list[int]) -> float:
    import inference_inputs
    import inference_peers

    from medseg.imaging.geometry import Geometry
    from medseg.preprocessing.restore import restore

    classes, (x, y, z), (a, b, c) = numbers[0], numbers[1:4], numbers[4:]
    fine = (SPACING_MM * x / a, SPACING_MM * y / b, SPACING_MM * z / c)
    standard = Geometry((x, y, z), np.diag([SPACING_MM] * 3 + [1]))
    scores = inference_inputs.scores(classes, (z, y, x))
    peer = inference_peers.NNUNet(classes, (SPACING_MM,) * 3)

    def call(scores: Any, part: int = 1) -> None:
        """Our labels or theirs; `part` of the slices for warming up."""
        if side == "restore":
            target = standard.with_spacing(fine)
            restore(scores.transpose(0, 3, 2, 1), standard.cropped((0, 0, 0), (x, y, scores.shape[1])), target)
        else:
            peer.export(scores, (c // part, b, a), fine[::-1])

    call(scores[:, : max(1, z // 25)].copy(), 25)
    before = memory_mb("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
    call(scores)
    return memory_mb("VmHWM") - before


def predict_study(run: str, source: str, out: str, ram: str) -> dict[str, float]:
    from medseg.io.nifti import read_volume, write_labels
    from medseg.workflows.run import Predictor

    begin = time.perf_counter()
    predictor = Predictor.from_run(run, ram=ram, device="cpu")
    study = predictor.standardise(read_volume(source))
    prediction = predictor.predict(study)
    write_labels(out, prediction.labels, prediction.geometry, like=source)
    return {"peak": memory_mb("VmHWM"), "seconds": time.perf_counter() - begin}


if __name__ == "__main__":
    main()
