"""The processes of a training: a world of one, what torchrun tells, and one voice for errors."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from medseg.errors import TrainingError
from medseg.training.distributed import TORCHRUN, World, is_first, open_world


def test_a_process_by_itself_is_a_world_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in TORCHRUN:
        monkeypatch.delenv(name, raising=False)

    with open_world() as opened:
        world = opened.on("cpu")
        model = torch.nn.Linear(2, 2)

        assert (world.rank, world.size, world.first, world.device.type) == (0, 1, True, "cpu")
        assert (world.share([1, 2, 3]), world.gathered("a"), world.summed(1, 2.5)) == ([1, 2, 3], ["a"], [1, 2.5])
        assert world.wrapped(model) is model
        world.wait()
    assert is_first()


def test_processes_share_items_without_a_rest() -> None:
    items = list(range(7))

    shares = [World(rank, 3).share(items) for rank in range(3)]

    assert sorted(item for share in shares for item in share) == items
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("rank, first", [("0", True), ("1", False)])
def test_what_torchrun_says_decides_who_speaks(monkeypatch: pytest.MonkeyPatch, rank: str, first: bool) -> None:
    for name in TORCHRUN:
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("RANK", rank)

    assert is_first() == first


def run_two(task: str) -> tuple[int, list[str]]:
    """Exit code, and the lines that two processes of this file printed."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, task]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300, env=environment)
    return done.returncode, [line for line in done.stdout.splitlines() if line.startswith("told: ")]


def test_two_processes_exchange_what_they_have() -> None:
    code, told = run_two("exchange")

    assert code == 0
    assert sorted(told) == ["told: 0 of 2, gathered [0, 10], summed [1.0, 3.0]",
                            "told: 1 of 2, gathered [0, 10], summed [1.0, 3.0]"]  # fmt: skip


def test_an_error_in_the_second_process_alone_is_told_once_and_ends_the_first() -> None:
    code, told = run_two("fail")

    assert code != 0
    assert told == ["told: the second process has failed"]


def main(task: str) -> None:
    """One of two processes."""
    try:
        with open_world() as opened:
            world = opened.on("cpu")
            if task == "fail" and world.rank == 1:
                raise TrainingError("the second process has failed")
            gathered, summed = world.gathered(10 * world.rank), world.summed(world.rank, 1 + world.rank)
            tell(f"{world.rank} of {world.size}, gathered {gathered}, summed {summed}")
    except TrainingError as error:
        tell(str(error))
        sys.exit(error.exit_code)


def tell(text: str) -> None:
    """Writes a line at once: the processes share the output, and `print` may write text and line's end apart."""
    os.write(sys.stdout.fileno(), f"told: {text}\n".encode())


if __name__ == "__main__":
    main(sys.argv[1])
