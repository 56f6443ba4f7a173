"""What a study costs `medseg predict`, and so a thousand of them: seconds, memory and disk, by size and format.

    python benchmarks/scale.py             # five minutes on two cores
    python benchmarks/scale.py --quick     # the smaller sizes, about a minute
    python benchmarks/scale.py --json      # one JSON object a line: name, value, unit
    python benchmarks/scale.py --markdown  # the tables of docs/scale.md

Real CT: sarcoma STS_005 (`../shared/data`), as it is and mirrored at its edges to larger images; without it a phantom,
and the first row says so. Every figure is of a process of its own with one worker; peak memory is what the operating
system says of it. The network is small (see NETWORK) and has learned nothing, which costs as much as one that has.
`seconds` are those of the second study of a process, after libraries are loaded and kernels compiled; `tiles` are those
that the network computed in them, so that the time of another network can be put in: seconds + tiles x (its - ours).
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from medseg.imaging.geometry import Geometry
from medseg.imaging.volume import Volume
from medseg.io.nifti import read_volume, write_volume
from medseg.shapes import IntTriple, Triple
from medseg.workflows import phantom, predict, train

DATA = Path(__file__).parents[2] / "shared" / "data"
CT, SERIES = DATA / "sts_nifti/STS_005/CT_image.nii.gz", DATA / "sts_dicom/STS_008/image"
THROUGHPUT, COPIES = "throughput", 8
FORMATS = ("nifti", "nrrd", "png", "viewer", "dicom-seg", "rtstruct")
NETWORK = "{name: unet, channels: [16, 32, 64, 64], deep_supervision: 1}"
RECIPE = """\
data: {data}
raters: soft
plan: {{spacing_mm: [2.5, 2.5, 3], patch: [48, 48, 48], window_hu: [-160, 240]}}
folds: {{count: 2, fold: 0}}
transforms: {{preset: none}}
model: {network}
training: {{steps: 1, batch: 1, validate_every: 1, checkpoint_every: 1, log_every: 1, device: cpu}}
"""


@dataclass(frozen=True)
class Size:
    """Voxels of an image and their size."""

    shape: IntTriple
    spacing_mm: Triple


SIZES: dict[str, Size | None] = {
    "162 x 199 x 79 of 1 x 1 x 3.3 mm": None,
    "256 x 256 x 160 of 1.5 x 1.5 x 2.5 mm": Size((256, 256, 160), (1.5, 1.5, 2.5)),
    "512 x 512 x 250 of 0.8 x 0.8 x 2 mm": Size((512, 512, 250), (0.8, 0.8, 2.0)),
}
SMALLEST, *_, LARGEST = SIZES


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    value: float
    unit: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for flag in ("--quick", "--json", "--markdown"):
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(*given.child)))
        return 0
    with tempfile.TemporaryDirectory(prefix="medseg-scale-") as folder:
        for row in rows(Path(folder), quick=given.quick):
            print(told(row, as_json=given.json, as_markdown=given.markdown), flush=True)
    return 0


def told(row: Row, *, as_json: bool, as_markdown: bool) -> str:
    if as_json:
        return json.dumps(asdict(row))
    value = f"{row.value:.3g}" if row.value < 100 else f"{row.value:,.0f}"
    return f"| {row.name} | {value} {row.unit} |" if as_markdown else f"{row.name:60} {value:>10} {row.unit}"


def rows(root: Path, *, quick: bool) -> Iterator[Row]:
    run = make_run(root)
    image = CT if CT.exists() else next((root / "data" / "images").glob("*.nii.gz"))
    yield Row("real CT" if CT.exists() else "no real CT here: a phantom", float(CT.exists()), "")
    for number, (name, size) in enumerate(SIZES.items()):
        if quick and name == LARGEST:
            continue
        found = measured(root, run, sized(image, size, root / f"study{number}.nii.gz"), "nifti", 1)
        yield Row(f"{name}: seconds", found["seconds"], "s")
        yield Row(f"{name}: of these the network and restoration", found["network"], "s")
        yield Row(f"{name}: tiles", found["tiles"], "")
        yield Row(f"{name}: peak memory of a worker", found["peak_mb"], "MB")
        yield Row(f"{name}: disk", found["disk_mb"], "MB")
    yield from formats_rows(root, run, quick=quick)
    if not quick:
        yield from workers_rows(root, run, sized(image, SIZES[SMALLEST], root / "one.nii.gz"))


def formats_rows(root: Path, run: Path, *, quick: bool) -> Iterator[Row]:
    """What each format adds to NIfTI, of a series of 141 x 137 x 51."""
    if not SERIES.exists():
        return
    plain = measured(root, run, SERIES, "nifti", 1)
    yield Row("start of a worker until its first study", plain["start"], "s")
    for name in FORMATS[1:] if not quick else FORMATS[-2:]:
        found = measured(root, run, SERIES, f"nifti,{name}", 1)
        yield Row(f"{name}: seconds more", max(0.0, found["seconds"] - plain["seconds"]), "s")
        yield Row(f"{name}: disk more", max(0.0, found["disk_mb"] - plain["disk_mb"]), "MB")


def workers_rows(root: Path, run: Path, study: Path) -> Iterator[Row]:
    """Studies in a minute with one and two workers, their start left out."""
    one, two = (measured(root, run, study, THROUGHPUT, jobs)["per_minute"] for jobs in (1, 2))
    yield Row("studies in a minute, one worker", one, "")
    yield Row("studies in a minute, two workers", two, "")


def make_run(root: Path) -> Path:
    phantom(root / "data", cases=3, experts=1, test=1, seed=0, spacing_mm=6.0)
    (root / "recipe.yaml").write_text(RECIPE.format(data=(root / "data").as_posix(), network=NETWORK), encoding="utf-8")
    train(root / "recipe.yaml", out=root / "run")
    return root / "run"


def sized(image: Path, size: Size | None, path: Path) -> Path:
    """The CT mirrored at its edges until it fills the size: body everywhere, so that no tile can be left out."""
    volume = read_volume(image)
    hu, geometry = volume.hu, volume.geometry
    if size is not None:
        hu = np.pad(hu, [(0, max(0, n - m)) for n, m in zip(size.shape, hu.shape, strict=True)], mode="reflect")
        hu = np.ascontiguousarray(hu[tuple(slice(n) for n in size.shape)])
        geometry = Geometry(size.shape, np.diag([*size.spacing_mm, 1.0]))
    write_volume(path, Volume(hu, geometry))
    return path


def measured(root: Path, run: Path, study: Path, formats: str, jobs: int) -> dict[str, float]:
    out = Path(tempfile.mkdtemp(dir=root)) / "out"
    command = [sys.executable, __file__, "--child", str(run), str(study), str(out), formats, str(jobs)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def child(run: str, study: str, out: str, formats: str, jobs: str) -> dict[str, Any]:
    """What the second of two predictions of the study cost; with several workers, how many they do in a minute."""
    if int(jobs) > 1 or formats == THROUGHPUT:
        return {"per_minute": per_minute(run, Path(study), Path(out), int(jobs))}
    found: dict[str, Any] = {}
    for turn in ("first", "second"):
        tiles: list[tuple[float, int]] = []
        outcomes: list[Any] = []
        predict(run, study, Path(out) / turn, formats=formats.split(","), on_done=outcomes.extend,
                progress=partial(note_tiles, tiles))  # fmt: skip
        if turn == "first":
            alive_s = time.time() - psutil.Process().create_time()
            found["start"] = alive_s - outcomes[0].result.seconds
    files = [path for path in (Path(out) / "second").rglob("*") if path.is_file()]
    found |= {"seconds": outcomes[0].result.seconds, "network": tiles[-1][0] - tiles[0][0], "tiles": tiles[-1][1],
              "disk_mb": sum(path.stat().st_size for path in files) / 1e6,
              "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3}  # fmt: skip
    return found


def note_tiles(tiles: list[tuple[float, int]], what: str, done: int, _total: int, _note: str) -> None:
    if what.startswith("Tiles"):
        tiles.append((time.perf_counter(), done))


def per_minute(run: str, study: Path, out: Path, jobs: int) -> float:
    """Studies in a minute from when every worker has done one to the last."""
    copies = [Path(shutil.copy(study, out.parent / f"copy{k}.nii.gz")) for k in range(COPIES)]
    times: list[float] = []

    def look(what: str, done: int, _total: int, _note: str) -> None:
        if what == "Predicting" and done > len(times):
            times.append(time.perf_counter())

    predict(run, copies, out, jobs=jobs, ram="8G", progress=look)
    return 60 * (COPIES - jobs) / (times[-1] - times[jobs - 1])


if __name__ == "__main__":
    sys.exit(main())
