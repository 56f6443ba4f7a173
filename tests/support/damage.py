"""Reads damaged files one after the other in a process that may die, and says what came of each.

    python tests/support/damage.py FAMILY SEED          # one file again, with the traceback of what went wrong
    python tests/support/damage.py --serve              # a line "FAMILY SEED" in, a line of JSON out

A seed of -1 is the undamaged sample 0, -2 sample 1 and so on.
"""

from __future__ import annotations

import json
import logging
import os
import re
import resource
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import damage_dicom
import damage_labels
import damage_texts
import damage_volumes
import numpy as np
from damage_bytes import Damage, Expect, Family, Reading

from medseg.errors import MedsegError

FAMILIES: dict[str, Family] = {
    **damage_dicom.FAMILIES, **damage_texts.FAMILIES, **damage_volumes.FAMILIES, **damage_labels.FAMILIES,
}  # fmt: skip
EXPECTED = {
    "nifti": damage_volumes.expected, "itk": damage_volumes.expected, "rtstruct": damage_labels.expected_structures,
    "seg": damage_labels.expected_segments,
    **dict.fromkeys((*damage_dicom.FAMILIES, "zip"), damage_dicom.expected),
}  # fmt: skip
MEMORY = 3 << 30  # beyond what the process holds at the start; the largest right volume here has 9 kB
UID = re.compile(r"\d+(\.\d+){4,}")
CODEC_CHATTER = {
    "RuntimeError: ojph error"
}  # OpenJPH writes it from C++ where no Python can catch it; it shows nothing
WARD = "ward7"  # part of the folder above the data: must never be shown


def trial(family: str, seed: int) -> Damage:
    """The damage of a seed; the same on every machine."""
    samples = FAMILIES[family].samples()
    if seed < 0:
        return Damage(samples[-1 - seed], f"undamaged sample {-1 - seed}", Expect.SAME)
    rng = np.random.default_rng([zlib.crc32(family.encode()), seed])
    way = FAMILIES[family].ways[seed % len(FAMILIES[family].ways)]
    return way(samples[int(rng.integers(len(samples)))], rng)


def outcome(family: str, seed: int, root: Path) -> dict[str, Any]:
    """What came of one damaged file: `fault` is empty when it is right."""
    damage = trial(family, seed)
    folder = Path(tempfile.mkdtemp(dir=root)) / WARD / "study"
    path = damage.sample.write(folder)
    before = _listing(root)
    start = time.perf_counter()
    fault, told, reading = "", "", Reading()
    with _watched() as said:
        try:
            reading = FAMILIES[family].read(path)
        except MedsegError as error:
            told = str(error)
        except BaseException as error:  # whatever else it is, it is the fault that is looked for
            fault, told = f"{type(error).__name__}: {error}", traceback.format_exc()
    seconds = time.perf_counter() - start
    if not fault:
        fault = _bad_message(told) if told else _bad_reading(family, seed, damage, reading)
    if not fault and said:
        fault = f"said to the terminal: {said[0][:300]}"
    if not fault and (new := _listing(root) - before):
        fault = f"wrote {sorted(new)[:3]}"
    return {"family": family, "seed": seed, "what": damage.words, "fault": fault, "told": told, "seconds": seconds}


def _bad_message(message: str) -> str:
    secrets = [word for word in (*damage_dicom.PATIENT, WARD, damage_dicom.SERIES) if word in message]
    if secrets or UID.search(message):
        return f"the message shows {secrets or 'a UID'}: {message[:300]}"
    if "\n" in message or not message.isprintable():
        return f"the message is no one printable line: {message[:300]!r}"
    return f"the message has {len(message)} characters: {message[:200]}" if len(message) > 2000 else ""


def _bad_reading(family: str, seed: int, damage: Damage, reading: Reading) -> str:
    if damage.expect is Expect.REFUSE:
        return f"read without a word; expected an error. {_shown(reading)}"
    for name, array in reading.arrays.items():
        if array.ndim != 3 or not np.isfinite(array).all():
            return f"{name} is no finite volume: {array.shape}"
    if reading.affine is not None and not (
        np.isfinite(reading.affine).all() and abs(np.linalg.det(reading.affine[:3, :3])) > 1e-12
    ):
        return f"the affine is none: {reading.affine.tolist()}"
    if damage.expect is Expect.VALID:
        return ""
    right = EXPECTED[family]() if family in EXPECTED else _undamaged(family, seed)
    same_grid = right.affine is None or np.allclose(right.affine, np.asarray(reading.affine), atol=1e-4)
    shapes = {name: array.shape for name, array in right.arrays.items()}
    if not same_grid or shapes != {name: array.shape for name, array in reading.arrays.items()}:
        return f"another grid than that of the undamaged file: {_shown(reading)}"
    if damage.expect is Expect.SHAPE:
        return ""
    equal = all(np.array_equal(array, reading.arrays[name]) for name, array in right.arrays.items())
    return "" if equal and right.facts == reading.facts else "other values than those of the undamaged file"


def _undamaged(family: str, seed: int) -> Reading:
    with tempfile.TemporaryDirectory() as folder:
        return FAMILIES[family].read(FAMILIES[family].samples()[0].write(Path(folder)))


def _shown(reading: Reading) -> str:
    shapes = {name[:20]: array.shape for name, array in reading.arrays.items()}
    affine = "" if reading.affine is None else f", affine {np.round(reading.affine, 3).tolist()}"
    return f"got {shapes}{affine} {reading.facts[:200]}"


def _listing(root: Path) -> set[str]:
    return {str(path) for path in (*root.rglob("*"), *Path("/tmp").glob("escaped*"), *Path.cwd().glob("hacked*"))}


@contextmanager
def _watched() -> Iterator[list[str]]:
    """Whatever is warned of, logged, or printed meanwhile, also by C libraries."""
    said: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(f"log: {record.getMessage()}")

    ear = Ear(logging.WARNING)
    logging.getLogger().addHandler(ear)
    with tempfile.TemporaryFile() as heard, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        kept = [os.dup(1), os.dup(2)]
        sys.stdout.flush()
        os.dup2(heard.fileno(), 1)
        os.dup2(heard.fileno(), 2)
        try:
            yield said
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for place, copy in zip((1, 2), kept, strict=True):
                os.dup2(copy, place)
                os.close(copy)
            logging.getLogger().removeHandler(ear)
            heard.seek(0)
            lines = heard.read().decode(errors="replace").splitlines()
            said += [f"printed: {line}" for line in lines if line.strip() and line.strip() not in CODEC_CHATTER]
            said += [f"warning: {warning.message}" for warning in warned]


def limit_memory() -> None:
    """So that a bomb becomes a MemoryError here and no trouble for the machine; files of 256 MB at most."""
    size = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize"))
    held = int(size.split()[1]) * 1024
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def serve() -> None:
    limit_memory()
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    for line in sys.stdin:
        family, seed = line.split()
        with tempfile.TemporaryDirectory() as root:
            reply = outcome(family, int(seed), Path(root))
        print(json.dumps(reply), file=replies, flush=True)


def main() -> int:
    if sys.argv[1:] == ["--serve"]:
        serve()
        return 0
    family, seed = sys.argv[1], int(sys.argv[2])
    keep = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    if keep:  # a third argument keeps the damaged files there
        print(trial(family, seed).sample.write(keep))
    limit_memory()
    with tempfile.TemporaryDirectory() as root:
        reply = outcome(family, seed, Path(root))
    print(json.dumps({key: value for key, value in reply.items() if key != "told"}, indent=1), reply["told"], sep="\n")
    return bool(reply["fault"])


if __name__ == "__main__":
    sys.exit(main())
