"""`plan`: a data set in, a file with decisions and their reasons out."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import InputError, OutputExistsError, UsageError
from medseg.shapes import IntTriple
from medseg.workflows import phantom
from medseg.workflows.plan_file import read_plan
from medseg.workflows.planning import plan, read_gib
from medseg.workflows.planning_stages import NETWORKS


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return phantom(tmp_path_factory.mktemp("planning") / "ph", cases=4, experts=2, test=1, spacing_mm=8.0)


def test_the_file_holds_what_was_decided(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, out=tmp_path / "plan.yaml", vram="3G")
    assert read_plan(tmp_path / "plan.yaml") == made
    assert made.cases == 3  # the test case was not measured
    assert set(made.reasons) == {
        "spacing_mm",
        "preprocessing",
        "window_hu",
        "patch",
        "batch",
        "network",
        "memory",
        "low_resolution",
    }
    assert "not measured: no GPU" in made.reasons["memory"]
    assert made.stage.measured_gib is None
    assert all(made.decision(name) for name in made.reasons)
    assert made.stage.estimate_gib <= 3
    assert all(n % step == 0 for n, step in zip(made.stage.patch, made.stage.model.downsampling, strict=True))


def test_the_file_says_what_the_cases_are_like(dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, out=tmp_path / "plan.yaml", vram="3G")
    found = made.fingerprint
    assert found is not None and 0 < found.kept_of_image <= 1
    assert found.spacing_mm.median == pytest.approx(made.stage.spacing_mm, abs=1e-4)  # the median, of thin slices
    assert found.spacing_mm.least <= found.spacing_mm.most
    assert (found.labelled_hu["p0.5"], found.labelled_hu["p99.5"]) == pytest.approx(made.window_hu)


@pytest.mark.parametrize("network, gib", [("unet", 10), ("resenc-m", 9), ("resenc-l", 24)])
def test_without_a_wish_the_memory_is_what_the_network_was_made_for(
    network: str, gib: float, dataset: Path, tmp_path: Path
) -> None:
    assert plan(dataset, out=tmp_path / "plan.yaml", network=network).vram_gib == gib


@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_can_be_planned(network: str, dataset: Path, tmp_path: Path) -> None:
    made = plan(dataset, out=tmp_path / "plan.yaml", vram="40G", network=network)
    assert made.stage.model.name == network
    assert made.stage.batch >= 2


def test_a_real_step_that_takes_more_than_was_counted_makes_the_patch_smaller(dataset: Path, tmp_path: Path) -> None:
    counted = plan(dataset, out=tmp_path / "a.yaml", vram="2200M", network="mednext")
    voxels = prod(counted.stage.patch) * counted.stage.batch
    mib = 1500.0 / voxels  # per voxel: what was planned first takes 1500 MiB, the limit is 1520

    def twice(settings: dict[str, Any], patch: IntTriple, batch: int) -> float:
        return 2 * mib * prod(patch) * batch

    made = plan(dataset, out=tmp_path / "b.yaml", vram="2200M", network="mednext", meter=twice)

    assert prod(made.stage.patch) < prod(counted.stage.patch)
    assert made.stage.measured_gib is not None and made.stage.measured_gib <= 2200 / 1024
    assert "smaller than first planned" in made.reasons["memory"]


def test_the_network_stands_first_in_its_part_of_the_file(dataset: Path, tmp_path: Path) -> None:
    plan(dataset, out=tmp_path / "plan.yaml", vram="3G")
    lines = (tmp_path / "plan.yaml").read_text().splitlines()
    assert lines[lines.index("  model:") + 1] == "    name: unet"


def test_less_memory_gives_smaller_patches(dataset: Path, tmp_path: Path) -> None:
    small, large = (
        plan(dataset, out=tmp_path / f"{vram}.yaml", vram=vram, network="mednext") for vram in ("1400M", "8G")
    )
    assert prod(small.stage.patch) < prod(large.stage.patch)


def test_too_little_memory_says_what_would_fit(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"too little for the smallest patch.*at least"):
        plan(dataset, out=tmp_path / "plan.yaml", vram="1G", network="unetr")
    assert not (tmp_path / "plan.yaml").exists()


def test_a_plan_is_not_replaced_in_silence(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("mine")
    with pytest.raises(OutputExistsError):
        plan(dataset, out=tmp_path / "plan.yaml")


def test_an_unknown_network_is_answered_with_the_known_ones(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resenc-m"):
        plan(dataset, out=tmp_path / "plan.yaml", network="resnet")


@pytest.mark.parametrize("text", ["", "ten", "0G", "-3G", "10T"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="10G"):
        read_gib(text)
