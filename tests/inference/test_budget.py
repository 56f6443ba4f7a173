"""Promises of memory: what is chosen, what is refused, and what is counted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from medseg.errors import UsageError
from medseg.inference.budget import Budget, Work, choose, read_size, tell_size
from medseg.inference.footprint import forward_bytes
from medseg.inference.slabs import Layout

CPU, GPU = torch.device("cpu"), torch.device("cuda")
AXES = ((2, 1, 0), (1, 2, 0), (0, 2, 1))
WORK = Work((273, 273, 427), (96, 96, 96), 25, 512 * 512 * 800, 1, 300 * 2**20, 2**20)


@pytest.mark.parametrize(("text", "size"), [("8G", 2**33), ("512m", 2**29), ("1.5 GiB", 3 * 2**29), (1000, 1000)])
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert read_size(text, where="--ram") == size


@pytest.mark.parametrize("text", ["", "G", "-1G", "8X", "0", "1e9"])
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="--ram: no size of a memory; expected such as 8G"):
        read_size(text, where="--ram")


@pytest.mark.parametrize("size", [1, 2**20, 2**30, 2**30 + 1, 1_234_567_890])
def test_a_told_size_is_never_smaller(size: int) -> None:
    told = read_size(tell_size(size), where="")
    assert told is not None and size <= told < size + 2**20


def test_without_a_budget_the_first_order_and_full_precision_are_chosen() -> None:
    assert choose(WORK, Budget(), AXES, CPU, 1, held=0).layout == Layout(AXES[0])


def test_a_tight_budget_is_kept_by_half_precision() -> None:
    full = WORK.host_bytes(Layout(AXES[0]), 1, on_device=False)
    chosen = choose(WORK, Budget(ram=full - 1), AXES[:1], CPU, 1, held=0)

    assert chosen.layout.half
    assert WORK.host_bytes(chosen.layout, 1, on_device=False) < full


def test_a_budget_that_is_too_small_names_the_smallest_that_works() -> None:
    with pytest.raises(UsageError, match=r"--ram: .*expected at least (\d+)M, got 100M") as caught:
        choose(WORK, Budget(ram=100 * 2**20), AXES, CPU, 4, held=2**29)
    least = read_size(caught.value.args[0].split("at least ")[1].split(",")[0], where="")

    assert least is not None
    assert choose(WORK, Budget(ram=least), AXES, CPU, 4, held=2**29).batch == 1
    with pytest.raises(UsageError):
        choose(WORK, Budget(ram=least - 2**20), AXES, CPU, 4, held=2**29)


def test_fewer_tiles_at_a_time_and_sums_on_the_host_keep_a_promise_of_the_device() -> None:
    tight = WORK.device_bytes(Layout(AXES[0]), 1)
    chosen = choose(WORK, Budget(vram=tight), AXES, GPU, 8, held=0)

    assert WORK.device_bytes(chosen.layout, chosen.batch) <= tight
    with pytest.raises(UsageError, match="--vram"):
        choose(WORK, Budget(vram=2**20), AXES, GPU, 8, held=0)


def test_the_footprint_is_what_lives_at_the_same_time() -> None:
    network = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv3d(4, 2, 3, padding=1))
    voxels = 16**3 * 4

    # image, 4 features and their rectified copy; before the last layer the first features are gone
    assert forward_bytes(network, 1, (16, 16, 16)) == (1 + 4 + 4) * voxels


def test_the_footprint_leaves_the_network_as_it_is() -> None:
    network = nn.Conv3d(1, 2, 3)
    forward_bytes(network, 2, (8, 8, 8))

    assert network.weight.device.type == "cpu"
