"""How fast and how frugal medseg reads and resamples, beside the libraries that people use today.

    python benchmarks/io.py             # 250 slices of 512 x 512, a few minutes
    python benchmarks/io.py --quick     # 64 slices, under a minute on two cores, the same targets
    python benchmarks/io.py --json      # one JSON object a line: name, ours, peer, ratio, target, met

Both sides do the same work on the same files or arrays in one process, in turns; seconds are medians. `ratio` is
peer / ours and `target` the least that counts as met. Every row also compares the two results, and results that differ
do not meet the target. What is not equal about a pair stands at the peer's function in `io_peers.py`.
The exit code is 1 only when our own side failed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import io_inputs
import io_peers as peers
import numpy as np
from io_rows import FAILURES, HEADER, Comparison, Effort, Row, measure

from medseg.imaging import resample
from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io.dicom import read_series
from medseg.io.nifti import read_volume
from medseg.shapes import FloatArray, IntArray

GRID_MM = (1.5, 1.5, 1.5)
PEERS = ("SimpleITK", "monai", "nibabel", "dcm2niix", "nnunetv2", "numpy", "pydicom")


class Inputs:
    """Files and arrays, made when a row first asks for them."""

    def __init__(self, folder: Path, slices: int, size: int = 512) -> None:
        self.folder, self.slices, self.size = folder, slices, size
        self.series, self.volume = cache(self._series), cache(self._volume)
        self.nifti, self.labels = cache(self._nifti), cache(self._labels)

    def _series(self, syntax: str) -> Path:
        return io_inputs.write_dicom(self.folder / syntax, syntax, self.slices, self.size)

    def _volume(self) -> Volume:
        return io_inputs.ct_volume(self.slices, self.size)

    def _nifti(self) -> Path:
        return io_inputs.write_nifti(self.folder / "volume.nii.gz", self.volume())

    def _labels(self) -> IntArray:
        return io_inputs.tissue_labels(self.volume())


# ---- what agrees with what


def same_voxels(ours: FloatArray, theirs: FloatArray) -> str:
    """How two arrays (X, Y, Z) that must be equal differ; "" when no voxel does."""
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} against {theirs.shape}"
    wrong = int(np.count_nonzero(ours != theirs))
    return f"{wrong} of {ours.size} voxels differ" if wrong else ""


def close_inside(ours: FloatArray, theirs: FloatArray, *, within_hu: float) -> str:
    """As `same_voxels` for interpolated values, two voxels from the border on: libraries extend a grid differently."""
    if ours.shape != theirs.shape:
        return f"shape {ours.shape} against {theirs.shape}"
    inside = (slice(2, -2),) * 3
    most = float(np.abs(ours[inside] - theirs[inside]).max())
    return f"values differ by up to {most:.3g} HU" if most > within_hu else ""


# ---- the rows


def against_simpleitk(inputs: Inputs, syntax: str) -> Comparison:
    folder = inputs.series(syntax)
    return Comparison(
        lambda: read_series(folder),
        lambda: peers.simpleitk_series(folder),
        lambda a, b: same_voxels(a.hu, peers.array(b)),
    )


def against_monai(inputs: Inputs) -> Comparison:
    folder = inputs.series("uncompressed")
    return Comparison(
        lambda: read_series(folder), lambda: peers.monai_series(folder), lambda a, b: same_voxels(a.hu, peers.array(b))
    )


def against_dcm2niix(inputs: Inputs) -> Comparison:
    folder = inputs.series("uncompressed")
    return Comparison(
        lambda: read_series(folder),
        lambda: peers.dcm2niix_series(folder),
        lambda a, b: same_voxels(a.hu, peers.dcm2niix_hu(b)),
    )


def nifti_against(inputs: Inputs, peer: Callable[[Path], Any]) -> Comparison:
    path = inputs.nifti()
    return Comparison(
        lambda: read_volume(path),
        lambda: peer(path),
        lambda a, b: same_voxels(a.hu, peers.array(b)),
    )


def linear_against_simpleitk(inputs: Inputs) -> Comparison:
    volume = inputs.volume()
    target = volume.geometry.with_spacing(GRID_MM)
    peer = peers.SimpleitkResample(volume.hu, volume.geometry, target, linear=True)
    return Comparison(
        lambda: resample.resample_linear(volume.hu, volume.geometry, target),
        peer,
        lambda a, b: close_inside(a, peers.array(b), within_hu=0.1),
    )


def nearest_against_simpleitk(inputs: Inputs) -> Comparison:
    labels, source = inputs.labels(), inputs.volume().geometry
    target = source.with_spacing(GRID_MM)
    peer = peers.SimpleitkResample(labels, source, target, linear=False)
    return Comparison(
        lambda: resample.resample_nearest(labels, source, target), peer, lambda a, b: same_voxels(a, peers.array(b))
    )


def cubic_against_nnunet(inputs: Inputs) -> Comparison:
    volume = inputs.volume()
    source, target = volume.geometry, spanned(volume.geometry, volume.geometry.with_spacing(GRID_MM))

    def ours() -> FloatArray:
        cubic = resample.resample_cubic(volume.hu, source, target)
        return np.clip(cubic, volume.hu.min(), volume.hu.max(), out=cubic)  # as scikit-image does within nnU-Net

    return Comparison(
        ours,
        lambda: peers.nnunet_cubic(volume.hu, target.shape, source.spacing_mm, target.spacing_mm),
        lambda a, b: close_inside(a, b, within_hu=0.5),
    )


def spanned(source: Geometry, target: Geometry) -> Geometry:
    """`target`'s shape over exactly the field of view of `source`: the grid of nnU-Net, which knows shapes only."""
    spacing = np.array(source.shape) * source.spacing_mm / np.array(target.shape)
    affine = np.eye(4)
    affine[:3, :3] = source.direction * spacing
    affine[:3, 3] = source.world(np.array([(spacing / source.spacing_mm - 1) / 2]))[0]
    return Geometry(target.shape, affine)


@dataclass(frozen=True)
class Target:
    """A promise: a name, the least ratio peer / ours, and how to build its comparison."""

    name: str
    least: float
    build: Callable[[Inputs], Comparison]


TARGETS = (
    Target("dicom_vs_simpleitk", 1.0, partial(against_simpleitk, syntax="uncompressed")),
    Target("dicom_vs_monai", 5.0, against_monai),
    Target("dicom_vs_dcm2niix", 1 / 1.5, against_dcm2niix),
    Target("jpeg_ls_vs_simpleitk", 1.8, partial(against_simpleitk, syntax="jpeg_ls")),
    Target("rle_vs_simpleitk", 3.0, partial(against_simpleitk, syntax="rle")),
    Target("nii_gz_vs_simpleitk", 1 / 1.2, partial(nifti_against, peer=peers.simpleitk_nifti)),
    Target("nii_gz_vs_nibabel", 2.2, partial(nifti_against, peer=peers.nibabel_nifti)),
    Target("nii_gz_vs_monai", 6.0, partial(nifti_against, peer=peers.monai_nifti)),
    Target("resample_linear_vs_simpleitk", 2.0, linear_against_simpleitk),
    Target("resample_cubic_vs_nnunet", 3.0, cubic_against_nnunet),
    Target("resample_nearest_vs_simpleitk", 3.0, nearest_against_simpleitk),
)
MEMORY = "dicom_peak_memory"


def measure_memory(inputs: Inputs) -> Row:
    """Peak MB of reading the series in a fresh process against the limit of 1.2 volumes and 100 MB."""
    script = Path(__file__).with_name("io_memory.py")
    try:
        command = [sys.executable, str(script), str(inputs.series("uncompressed"))]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        found = json.loads(done.stdout)
    except FAILURES as error:
        return Row(MEMORY, 1.0, unit="MB", reason=f"medseg failed: {type(error).__name__}", failed=True)
    return Row(MEMORY, 1.0, found["above"], 1.2 * found["volume"] + 100, unit="MB")


def rows(inputs: Inputs, names: set[str], effort: Effort) -> Iterator[Row]:
    """Every row, or those named."""
    for target in TARGETS:
        if not names or target.name in names:
            yield measure(target.name, target.least, partial(target.build, inputs), effort)
    if not names or MEMORY in names:
        yield measure_memory(inputs)


def setting(slices: int) -> str:
    """What the figures depend on, in one line."""

    def found(name: str) -> str:
        try:
            return f"{name} {version(name)}"
        except PackageNotFoundError:
            return f"no {name}"

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{slices} slices of 512 x 512; {cores} cores; {', '.join(map(found, PEERS))}"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="64 slices instead of 250, fewer runs")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on stdout, all else on stderr")
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", choices=[*(t.name for t in TARGETS), MEMORY],
                        help="these rows alone")  # fmt: skip
    parser.add_argument("--folder", type=Path, help="where the inputs are written and removed again")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    slices, effort = (64, Effort(runs=3, least_s=0.5, most_s=2)) if options.quick else (250, Effort(5, 3, 60))
    log = sys.stderr if options.json else sys.stdout
    print(setting(slices), HEADER, sep="\n", file=log, flush=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="medseg-io-", dir=options.folder) as folder:
        for row in rows(Inputs(Path(folder), slices), set(options.only), effort):
            failed |= row.failed
            print(row.as_text(), file=log, flush=True)
            if options.json:
                print(json.dumps(row.as_json()), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
