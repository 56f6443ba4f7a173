"""Do our augmentations make of an image what the libraries that people use today make of it?

    python benchmarks/augmentation_parity.py ../shared/data             # 500 draws of nnU-Net's set, a few minutes
    python benchmarks/augmentation_parity.py ../shared/data --draws 60
    python benchmarks/augmentation_parity.py ../shared/data --json      # one JSON object a line

First part: the same parameters given to us and to MONAI, the results compared voxel by voxel (noise: by its
distribution). Second part: the `nnunet` preset and nnU-Net's own pipeline by batchgeneratorsv2, each drawing its own
parameters on the same patch of a real CT; compared are statistics of the augmented patches. The exit code is 1 when a
row differs by more than its tolerance.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import augmentation_parity_draws as draws
import augmentation_parity_monai as monai
import torch
from augmentation_parity_rows import HEADER, Row

CASE, SPACING_MM = "sts_nifti/STS_014", 2.0


def rows(data: Path, count: int) -> Iterator[Row]:
    """Both parts on one case of the shared data."""
    image, labels = draws.read_raw(data / CASE, SPACING_MM)
    yield from monai.rows(image, labels)
    yield from draws.rows(image, labels, count)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds sts_nifti/")
    parser.add_argument("--draws", type=int, default=500, help="of each side in the second part")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout, all else on stderr")
    options = parser.parse_args(arguments)
    torch.set_num_threads(2)
    log = sys.stderr if options.json else sys.stdout
    print(HEADER, file=log, flush=True)
    equal = True
    for row in rows(options.data, options.draws):
        equal &= row.equal
        print(row.as_markdown(), file=log, flush=True)
        if options.json:
            print(json.dumps(row.as_json()), flush=True)
    return int(not equal)


if __name__ == "__main__":
    sys.exit(main())
