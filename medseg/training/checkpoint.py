"""Checkpoints: tensors in safetensors, everything else as JSON in the same file's header; never a pickle.

One file is one atomic write, so a checkpoint is whole or not there. The `.json` beside it repeats the header for
people; the program reads only the header.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from medseg.errors import CheckpointError, FileReadError
from medseg.files import atomic_path, write_text

SCHEMA = "medseg.checkpoint/1"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Named tensors and JSON-able facts."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors under `prefix.`, with the prefix taken off."""
        head = prefix + "."
        return {name.removeprefix(head): tensor for name, tensor in self.tensors.items() if name.startswith(head)}


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Writes `path` (.safetensors) atomically, and its facts to the .json beside it.

    Raises:
        WriteError: the disk refused; an older checkpoint at `path` is untouched.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
    facts = {"schema": SCHEMA, **checkpoint.facts, "sha256": digest(tensors)}
    with atomic_path(path) as temporary:
        temporary.touch()  # safetensors would make the file readable by its owner alone, which a shared run must not be
        mode = temporary.stat().st_mode
        try:
            header = json.dumps(facts)
            save_file(tensors, temporary, metadata={"medseg": header, "medseg_sha256": _sha256(header)})
        except SafetensorError as error:  # safetensors wraps the operating system's refusal
            raise OSError(str(error)) from error
        temporary.chmod(mode)
    write_text(path.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")


def read_checkpoint(path: Path, *, first_of: Sequence[str] = ()) -> Checkpoint:
    """Reads and verifies a checkpoint.

    All of it is compared with its checksum, tensor by tensor, whichever are wanted.

    Args:
        first_of: prefixes, of which the first that the file has is all that is kept in memory; everything where empty.

    Raises:
        FileReadError: there is none.
        CheckpointError: it is truncated, altered, or not ours.
    """
    if not path.exists():
        raise FileReadError("no such checkpoint", where=path.name, do="Check the run folder, or train first.")
    try:
        with safe_open(path, framework="pt") as stream:
            metadata, names = stream.metadata() or {}, list(stream.keys())
        header = metadata.get("medseg", "")
        facts = json.loads(header) if header else {}
        if facts.get("schema") != SCHEMA:
            raise CheckpointError("not a medseg checkpoint", where=path.name, expected=SCHEMA,
                                  got=str(facts.get("schema")))  # fmt: skip
        tensors: dict[str, Tensor] = {}
        own = digest(_each(path, names, _wanted(names, first_of), tensors))
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise _corrupted(path, str(error).split("\n")[0][:80]) from error
    if own != facts.get("sha256") or metadata.get("medseg_sha256") != _sha256(header):
        raise _corrupted(path, "its content does not match its checksum")
    return Checkpoint(tensors, facts)


def _wanted(names: Sequence[str], first_of: Sequence[str]) -> str:
    """What the names of the wanted tensors begin with."""
    heads = (f"{prefix}." for prefix in first_of)
    return next((head for head in heads if any(name.startswith(head) for name in names)), "")


def _each(path: Path, names: Sequence[str], head: str, kept: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """All tensors by name; those that begin with `head` are put into `kept`.

    The file is opened anew for each: what was read of an open one counts as memory of the process until it is closed.
    """
    for name in sorted(names):
        with safe_open(path, framework="pt") as stream:
            tensor = stream.get_tensor(name)
        if name.startswith(head):
            tensor = kept[name] = tensor.clone()
        yield name, tensor


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _corrupted(path: Path, found: str) -> CheckpointError:
    return CheckpointError(
        "the checkpoint is corrupted",
        where=path.name,
        got=found,
        do="Use the other checkpoint of the run (best or last), or train again.",
    )


def digest(tensors: Mapping[str, Tensor] | Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 over names, types, shapes and bytes; equal exactly when the tensors are bit-identical.

    Args:
        tensors: by name, or pairs in the order of the names.
    """
    total = hashlib.sha256()
    for name, each in sorted(tensors.items()) if isinstance(tensors, Mapping) else tensors:
        tensor = each.detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return total.hexdigest()


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state as named tensors `parameter.key`."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{key}": torch.as_tensor(value) for index, entry in state.items() for key, value in entry.items()}


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Puts packed state back; the groups (learning rate and so on) stay as configured."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
