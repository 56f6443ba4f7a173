"""What other tools give for small masks, and whether medseg in their definition gives the same.

    python benchmarks/evaluation_parity.py                                       # print the largest differences
    python benchmarks/evaluation_parity.py --out tests/data/parity/surfaces.json  # and store the tools' numbers

A tool that is not installed keeps the numbers that the file holds. The masks are the golden nodule with four readers
and noise on small grids, in which every way to cut a cell occurs.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path

import evaluation_peers as peers
import numpy as np

from medseg.evaluation.surface import measure_masks
from medseg.evaluation.surface_rules import PARITY
from medseg.shapes import BoolArray, Triple

GOLDEN = Path(__file__).parents[1] / "tests/data/golden"
Pair = tuple[str, BoolArray, BoolArray, Triple, float]
Peer = Callable[[BoolArray, BoolArray, Triple, float], peers.Numbers]
PEERS: dict[str, tuple[Peer, str]] = {
    "deepmind": (peers.surface_distance_pair, "surface-distance"),
    "monai": (lambda *args: peers.monai_pair(*args) | peers.monai_more(*args), "monai"),
    "metrics_reloaded": (peers.metrics_reloaded_pair, "Project-MONAI/MetricsReloaded cb38dfc"),
}


def noise(seed: int) -> Pair:
    """Two masks (X, Y, Z) that share most of their voxels, by drawing lots alone: the same everywhere."""
    rng = np.random.default_rng(seed)
    shape, spacing = rng.integers(5, 12, size=3), rng.uniform(0.5, 3.0, size=3).round(2)
    density, changed = rng.uniform(0.05, 0.8), rng.uniform(0.02, 0.3)
    a = rng.random(shape) < density
    b = a ^ (rng.random(shape) < changed)
    return f"noise_{seed}", a, b, (float(spacing[0]), float(spacing[1]), float(spacing[2])), float(rng.integers(0, 4))


def pairs() -> Iterator[Pair]:
    """Every pair that is compared."""
    entry = json.loads((GOLDEN / "golden.json").read_text())["multi_rater"]["L1_lidc_nodule_four_readers"]
    z, y, x = entry["spacing_zyx_mm"]
    with np.load(GOLDEN / "masks.npz") as masks:
        readers = {k: masks[f"lidc_L1/rater{k}"] for k in (1, 2, 3, 4)}
    for one, other in combinations(readers, 2):
        yield f"nodule_{one}{other}", readers[one], readers[other], (z, y, x), 1.0
    for seed in range(12):
        yield noise(seed)


def difference(name: str, theirs: peers.Numbers, pair: Pair) -> float:
    """Largest difference of medseg in the tool's definition, over the numbers that the tool gives."""
    _, a, b, spacing_mm, tolerance_mm = pair
    ours = measure_masks(a, b, spacing_mm, tolerance_mm=tolerance_mm, rule=PARITY[name])
    if "nsd_subvoxels" in theirs:
        by_area = measure_masks(a, b, spacing_mm, tolerance_mm=tolerance_mm, rule=PARITY["monai_subvoxels"])
        ours["nsd_subvoxels"] = by_area["nsd"]
    return max(abs(ours[key] - value) for key, value in theirs.items() if key in ours)


def known_version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(GitHub)"


def main() -> None:
    """Runs every tool that is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    stored = json.loads(options.out.read_text()) if options.out and options.out.exists() else {}
    found: dict[str, dict[str, object]] = {"tools": stored.get("tools", {}), "values": stored.get("values", {})}
    for name, (peer, package) in PEERS.items():
        try:
            values = {pair[0]: peer(*pair[1:]) for pair in pairs()}
        except ImportError as error:
            print(f"{name:<18} not run: {error}")
            continue
        worst = max(difference(name, values[pair[0]], pair) for pair in pairs())
        print(f"{name:<18} largest difference {worst:.2g} over {len(values)} pairs")
        found["tools"][name] = f"{package} {known_version(package)}"
        found["values"][name] = values
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
