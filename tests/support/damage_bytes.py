"""What damage is: a sample of files, ways to harm them, and what may come of it; and the ways for every format."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

Files = Mapping[str, bytes]  # relative name to content


class Expect(enum.Enum):
    """What is right after the damage; a MedsegError always is, and with REFUSE nothing else is."""

    REFUSE = "an error"
    SAME = "an error, or what the undamaged file gives"
    SHAPE = "an error, or finite voxels of the same shape on the same grid"
    VALID = "an error, or finite voxels on a valid grid"


@dataclass(frozen=True)
class Reading:
    """What a reader gave: arrays by name, the affine of their grid, and whatever else is compared as text."""

    arrays: Mapping[str, Any] = field(default_factory=dict)
    affine: Any = None
    facts: str = ""


@dataclass(frozen=True)
class Sample:
    """Whole, right files in memory.

    Args:
        files: all of them.
        main: the one that is read, relative; "" for the folder itself.
        victims: names of those that damage may hit.
        pixels: for a victim, where its voxels lie in it: first byte and end.
        prepare: something beyond bytes (a named pipe, a link) that is made in the folder.
    """

    files: Files
    main: str
    victims: tuple[str, ...]
    pixels: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    prepare: Callable[[Path], None] | None = None

    def with_file(self, name: str, content: bytes) -> Sample:
        return replace(self, files={**self.files, name: content})

    def without(self, name: str) -> Sample:
        return replace(self, files={key: value for key, value in self.files.items() if key != name})

    def write(self, folder: Path) -> Path:
        """Writes the files and returns the path to read."""
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        folder.mkdir(parents=True, exist_ok=True)
        if self.prepare:
            self.prepare(folder)
        return folder / self.main


@dataclass(frozen=True)
class Damage:
    """A harmed sample, what was done to it, and what may come of it."""

    sample: Sample
    words: str
    expect: Expect


Way = Callable[[Sample, np.random.Generator], Damage]


@dataclass(frozen=True)
class Family:
    """A kind of input: its samples (one is drawn for each seed), the reader, and the ways to harm it."""

    samples: Callable[[], tuple[Sample, ...]]
    read: Callable[[Path], Reading]
    ways: tuple[Way, ...]


def pick(rng: np.random.Generator, choices: Any) -> Any:
    """One of the choices, as it is (numpy's own choice would turn it into an array)."""
    choices = list(choices)
    return choices[int(rng.integers(len(choices)))]


def victim(sample: Sample, rng: np.random.Generator) -> str:
    return pick(rng, sample.victims)


# ---- ways that need no knowledge of the format


def truncated(sample: Sample, rng: np.random.Generator) -> Damage:
    """Cut within the voxels when it is known where they lie, else anywhere."""
    name = victim(sample, rng)
    content = sample.files[name]
    first, end = sample.pixels.get(name, (0, len(content)))
    known = name in sample.pixels
    at = int(rng.integers(first, end - 1)) if known else int(rng.integers(0, len(content)))
    expect = Expect.REFUSE if known else Expect.VALID
    return Damage(sample.with_file(name, content[:at]), f"{name} cut at byte {at} of {len(content)}", expect)


def flipped_anywhere(sample: Sample, rng: np.random.Generator) -> Damage:
    name = victim(sample, rng)
    content, words = _flipped(sample.files[name], rng, 0, len(sample.files[name]))
    return Damage(sample.with_file(name, content), f"{name}: {words}", Expect.VALID)


def flipped_head(sample: Sample, rng: np.random.Generator) -> Damage:
    """Flips where headers lie: in the first 1,200 bytes."""
    name = victim(sample, rng)
    content, words = _flipped(sample.files[name], rng, 0, min(1200, len(sample.files[name])))
    return Damage(sample.with_file(name, content), f"{name}: {words}", Expect.VALID)


def flipped_pixels(sample: Sample, rng: np.random.Generator) -> Damage:
    if not sample.pixels:
        return flipped_anywhere(sample, rng)
    name = pick(rng, sample.pixels)
    content, words = _flipped(sample.files[name], rng, *sample.pixels[name])
    return Damage(sample.with_file(name, content), f"{name}, voxels: {words}", Expect.SHAPE)


def _flipped(content: bytes, rng: np.random.Generator, first: int, end: int) -> tuple[bytes, str]:
    harmed = bytearray(content)
    if not harmed:
        return content, "nothing to flip"
    places = rng.integers(first, max(end, first + 1), size=int(pick(rng, (1, 1, 2, 8, 64))))
    for place in places:
        harmed[place] ^= int(rng.integers(1, 256))
    return bytes(harmed), f"{len(places)} bytes flipped from {places.min()} on"


def overwritten(sample: Sample, rng: np.random.Generator) -> Damage:
    """A run of zeros, of 255, or of noise somewhere: a bad sector."""
    name = victim(sample, rng)
    content = bytearray(sample.files[name])
    length = int(rng.integers(1, 600))
    at = int(rng.integers(0, max(1, len(content) - length)))
    run = pick(rng, (bytes(length), b"\xff" * length, rng.bytes(length)))
    content[at : at + length] = run[: len(content) - at]
    return Damage(sample.with_file(name, bytes(content)), f"{name}: {length} bytes from {at} overwritten", Expect.VALID)


def spliced(sample: Sample, rng: np.random.Generator) -> Damage:
    """Bytes taken out, or put in, so that everything after them shifts."""
    name = victim(sample, rng)
    content = sample.files[name]
    at, length = int(rng.integers(0, len(content) + 1)), int(pick(rng, (1, 2, 7, 128, 1000)))
    if rng.random() < 0.5:
        harmed, words = content[:at] + content[at + length :], "taken out"
    else:
        harmed, words = content[:at] + rng.bytes(length) + content[at:], "put in"
    return Damage(sample.with_file(name, harmed), f"{name}: {length} bytes {words} at {at}", Expect.VALID)


def emptied(sample: Sample, rng: np.random.Generator) -> Damage:
    """A file of no bytes, of zeros, or of noise, as a failed copy leaves it."""
    name = victim(sample, rng)
    content = pick(rng, (b"", bytes(512), bytes(len(sample.files[name])), rng.bytes(2000)))
    # In a folder of many files such a one may be passed over, and then the others must tell that one is missing
    return Damage(sample.with_file(name, content), f"{name} replaced by {len(content)} bytes", Expect.VALID)


def random_with_magic(sample: Sample, rng: np.random.Generator) -> Damage:
    """The first bytes of the format, then noise."""
    name = victim(sample, rng)
    kept = int(pick(rng, (4, 16, 140, 352)))
    return Damage(sample.with_file(name, sample.files[name][:kept] + rng.bytes(3000)),
                  f"{name}: noise after {kept} bytes", Expect.VALID)  # fmt: skip


EVERY_FORMAT: tuple[Way, ...] = (
    truncated, flipped_anywhere, flipped_head, flipped_pixels, overwritten, spliced, emptied, random_with_magic,
)  # fmt: skip
