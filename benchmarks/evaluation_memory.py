"""Peak memory of scoring one case, in a process of its own.

    python benchmarks/evaluation_memory.py X Y Z

Prints JSON: `above`, the most MB that the process held during the call beyond what it held before it, label volumes and
imports included in the latter, and `labels`, the MB of the label volumes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import evaluation_inputs
from io_memory import MB, memory_mb

from medseg.evaluation.scoring import score_case


def main() -> None:
    x, y, z = map(int, sys.argv[1:])
    readings = evaluation_inputs.readings(evaluation_inputs.NAMES, (x, y, z))
    before = memory_mb("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
    except OSError:
        print("the peak of drawing the inputs cannot be cleared and counts as ours", file=sys.stderr)
    score_case(readings)
    held = sum(reading.labels.nbytes for reading in readings.values()) / MB
    print(json.dumps({"above": memory_mb("VmHWM") - before, "labels": held}))


if __name__ == "__main__":
    main()
