"""Peak memory of reading one DICOM series, in a process of its own.

    python benchmarks/io_memory.py FOLDER

Prints JSON: `above`, the most MB that the process held during the call beyond what it held before it, and `volume`, the
MB of the voxels that came back. What it held before is without the imports of the reader's libraries only where the
reader imports them at its own import.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path

from medseg.io.dicom import read_series

MB = 1e6


def memory_mb(field: str) -> float:
    """A field of /proc/self/status, for example VmRSS (held now) or VmHWM (the most so far)."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024 / MB


def main() -> None:
    before = memory_mb("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
    except OSError:
        print("the peak of the imports cannot be cleared and counts as ours", file=sys.stderr)
    volume = read_series(sys.argv[1])
    above = memory_mb("VmHWM") - before
    # Worker processes, were there any, would hold memory that is not in our own high-water mark
    above += resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / MB
    print(json.dumps({"above": above, "volume": volume.hu.nbytes / MB}))


if __name__ == "__main__":
    main()
