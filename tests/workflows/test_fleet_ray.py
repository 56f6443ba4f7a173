"""`evaluate` on Ray with two local workers: one is killed, one case is poisoned, and nobody leaves this machine.

Ray is started once, in some ten seconds, with fewer CPUs than workers are asked for: the third one never begins.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from medseg.errors import GeometryError, UsageError
from medseg.imaging.geometry import Geometry
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset, LabelFile
from medseg.io.nifti import write_labels
from medseg.workflows import fleet_ray
from medseg.workflows.evaluation import evaluate
from medseg.workflows.fleet_ray_address import check_cluster

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: the extra `ray`")
GRID = Geometry((12, 8, 8), np.diag([1.0, 1.0, 3.0, 1.0]))
OTHER = Geometry(GRID.shape, np.diag([2.0, 1.0, 3.0, 1.0]))
start_here = fleet_ray._start_here
CASES, POISONED = 6, "c4"


@dataclass
class Seen:
    """What one evaluation on Ray left, and what was seen while it ran."""

    dataset: Dataset
    root: Path
    error: str = ""
    scored: dict[str, int] = field(default_factory=dict)
    addresses: set[str] = field(default_factory=set)
    killed: int = 0
    refusal: str = "not asked"


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    root = tmp_path_factory.mktemp("ray")
    found = Seen(write_study(root), root)

    def look(done: int, _total: int) -> None:
        found.addresses |= set(addresses())
        if done == 1:
            found.killed += kill_one_worker()
        if done == CASES:
            found.refusal = refusal_of_a_stranger()

    with pytest.MonkeyPatch.context() as patch, pytest.raises(GeometryError) as caught:
        patch.delenv("RAY_AUTH_MODE", raising=False)
        patch.setattr(fleet_ray, "_start_here", lambda workers, opening: start_here(workers - 1, opening))
        evaluate(found.dataset, root / "net", root / "out", jobs=3, ray="local", on_case=look)
    found.error = str(caught.value)
    found.scored = {path.name: path.stat().st_mtime_ns for path in (root / "out/scored").iterdir()}
    return found


def write_study(root: Path) -> Dataset:
    rng = np.random.default_rng(0)
    cases = []
    for k in range(CASES):
        for reader in ("data/A", "net"):
            grid = OTHER if reader == "net" and f"c{k}" == POISONED else GRID
            write_labels(root / reader / f"c{k}.nii.gz", (rng.random(GRID.shape) < 0.4).astype(np.uint8), grid)
        cases.append(CaseEntry(f"c{k}", root / "i.nii.gz", {"A": LabelFile(root / f"data/A/c{k}.nii.gz")}))
    return Dataset(root / "data", LabelSet({"background": 0, "liver": 1}), ("A",), tuple(cases))


def family() -> Iterator[psutil.Process]:
    """This process and all that it started."""
    me = psutil.Process()
    yield from (me, *me.children(recursive=True))


def addresses() -> Iterator[str]:
    """Local and remote addresses of all their sockets."""
    for process in family():
        try:
            for connection in process.net_connections(kind="inet"):
                yield from (end.ip for end in (connection.laddr, connection.raddr) if end)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


def kill_one_worker() -> int:
    for process in family():
        try:
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Actor"):
                process.kill()
                return 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return 0


def refusal_of_a_stranger() -> str:
    """The cluster that runs here, asked as a cluster elsewhere is: "" when it turns strangers away."""
    import ray

    try:
        check_cluster(ray.get_runtime_context().gcs_address, insecure=False, environment=os.environ)
    except UsageError as error:
        return str(error)
    return ""


def test_a_poisoned_case_is_told_and_the_others_are_scored(seen):
    assert seen.error.startswith(f"case {POISONED}, net: another grid than A")
    assert len(seen.scored) == CASES - 1


def test_a_killed_worker_loses_nothing_and_the_numbers_are_those_of_one_process(seen, tmp_path):
    assert seen.killed == 1
    rng = np.random.default_rng(1)
    write_labels(seen.root / f"net/{POISONED}.nii.gz", (rng.random(GRID.shape) < 0.4).astype(np.uint8), GRID)
    fresh: dict[str, Any] = evaluate(seen.dataset, seen.root / "net", tmp_path / "fresh")
    assert evaluate(seen.dataset, seen.root / "net", seen.root / "out") == fresh
    kept = {path.name: path.stat().st_mtime_ns for path in (seen.root / "out/scored").iterdir()}
    assert len(kept) == CASES and seen.scored.items() <= kept.items()


def test_no_socket_leaves_this_machine(seen):
    ends = [ipaddress.ip_address(address) for address in seen.addresses]
    assert len(ends) > 0
    assert [end for end in ends if not (getattr(end, "ipv4_mapped", None) or end).is_loopback] == []


def test_a_stranger_without_the_token_is_turned_away(seen):
    assert seen.refusal == ""
