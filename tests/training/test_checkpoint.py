"""Checkpoints: whole or not there, verified when read, and silent about where they were made."""

from __future__ import annotations

import getpass
import json
import platform
import re
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from medseg.errors import CheckpointError, FileReadError, WriteError
from medseg.training.checkpoint import Checkpoint, digest, read_checkpoint, write_checkpoint


def checkpoint(value: float = 1.0, size: int = 100) -> Checkpoint:
    tensors = {
        "model.weight": torch.full((size, 2), value),
        "model.count": torch.tensor(3),
        "random.torch": torch.ones(4, dtype=torch.uint8),
        "model.none": torch.zeros(0),
    }
    return Checkpoint(tensors, {"step": 7, "best": None, "labels": ["background", "liver"]})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "last.safetensors"
    write_checkpoint(path, checkpoint())
    return path


def test_tensors_and_facts_come_back(path: Path) -> None:
    found = read_checkpoint(path)

    assert found.tensors.keys() == checkpoint().tensors.keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in checkpoint().tensors.items())
    assert (found.facts["step"], found.facts["best"]) == (7, None)


def test_a_part_is_found_by_its_prefix(path: Path) -> None:
    assert sorted(read_checkpoint(path).part("model")) == ["count", "none", "weight"]


def test_the_first_part_that_there_is_comes_alone(path: Path) -> None:
    found = read_checkpoint(path, first_of=("ema", "model"))

    assert found.tensors.keys() == {name for name in checkpoint().tensors if name.startswith("model.")}
    assert len(found.tensors) < len(checkpoint().tensors)
    assert found.facts == read_checkpoint(path).facts


def test_a_flipped_bit_in_a_part_that_is_not_wanted_is_noticed(path: Path) -> None:
    content = path.read_bytes()
    at = content.index(checkpoint().tensors["random.torch"].numpy().tobytes())
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])

    with pytest.raises(CheckpointError, match="the checkpoint is corrupted"):
        read_checkpoint(path, first_of=("model",))


def test_the_facts_lie_beside_the_checkpoint_for_people(path: Path) -> None:
    assert json.loads(path.with_suffix(".json").read_text()) == read_checkpoint(path).facts


def test_the_file_names_no_folder_user_or_machine(path: Path) -> None:
    content = path.read_bytes() + path.with_suffix(".json").read_bytes()
    words = re.findall(r"[\w.-]+", path.with_suffix(".json").read_text())

    assert str(path.parent).encode() not in content
    assert not {getpass.getuser(), platform.node()} & set(words)


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 0.999])
def test_one_flipped_bit_anywhere_is_noticed(path: Path, place: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 0b100
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match=r"last\.safetensors: .*(corrupted|not a medseg checkpoint)"):
        read_checkpoint(path)


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_truncated_file_is_noticed(path: Path, kept: int) -> None:
    path.write_bytes(path.read_bytes()[:kept])

    with pytest.raises(CheckpointError, match="the checkpoint is corrupted"):
        read_checkpoint(path)


def test_facts_that_were_altered_are_noticed(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'\\"step\\": 7', b'\\"step\\": 9'))

    with pytest.raises(CheckpointError, match="the checkpoint is corrupted"):
        read_checkpoint(path)


def test_weights_of_another_program_are_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(3)}, tmp_path / "other.safetensors")

    with pytest.raises(CheckpointError, match=r"not a medseg checkpoint; expected medseg\.checkpoint/1"):
        read_checkpoint(tmp_path / "other.safetensors")


def test_a_missing_checkpoint_is_an_error_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(FileReadError, match=r"^best\.safetensors: no such checkpoint"):
        read_checkpoint(tmp_path / "best.safetensors")


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The operating system refuses to write more than this into one file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def test_when_the_disk_is_full_the_old_checkpoint_survives(path: Path) -> None:
    with files_of_at_most(10_000), pytest.raises(WriteError, match=r"last\.safetensors: could not write"):
        write_checkpoint(path, checkpoint(2.0, size=100_000))

    assert read_checkpoint(path).tensors["model.weight"][0, 0] == 1
    assert sorted(file.name for file in path.parent.iterdir()) == ["last.json", "last.safetensors"]


def test_the_digest_is_equal_exactly_for_equal_tensors() -> None:
    one = {"a": torch.tensor([0.0, 1.0])}

    assert digest(one) == digest({"a": torch.tensor([0.0, 1.0])})
    for other in ({"a": torch.tensor([-0.0, 1.0])}, {"b": one["a"]}, {"a": one["a"].double()}, {"a": one["a"][None]}):
        assert digest(one) != digest(other)
