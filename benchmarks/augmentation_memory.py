"""Peak memory of augmenting one patch, in a process of its own.

    python benchmarks/augmentation_memory.py EDGE

Prints JSON: `above`, the most MB that the process held during nnU-Net's set with every transform acting beyond what it
held before it (raw sample, imports and compiled loops included in the latter), over five draws, and `patch`, the MB of
an image and its label map. It is to be run with MALLOC_MMAP_THRESHOLD_ small, so that glibc gives every large buffer
back as soon as it is free; else buffers of one draw serve the next and hide its peak.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path

import augmentation_inputs as inputs
import torch
from io_memory import MB, memory_mb


def main() -> None:
    torch.set_num_threads(1)
    small, sample = inputs.Sample(16), inputs.Sample(int(sys.argv[1]))
    config = inputs.nnunet_forced()
    warm, side = inputs.pipeline_side(small, config), inputs.pipeline_side(sample, config)
    for draw in range(3):
        warm.result(draw)  # compiles, and fills the pools of small things
    peaks = []
    for draw in range(5):
        given = side.prepare(draw)
        gc.collect()
        before = memory_mb("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the high-water mark starts anew
        image, labels = side.run(given)
        peaks.append(memory_mb("VmHWM") - before)
        patch = (image.nbytes + labels.nbytes) / MB
        del image, labels, given
    print(json.dumps({"above": max(peaks), "patch": patch}))


if __name__ == "__main__":
    main()
