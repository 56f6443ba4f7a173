"""Writes requirements.txt with the hash of every wheel in a folder, for `pip install --require-hashes`.

Usage: python tools/wheelhouse.py FOLDER [--extras test,dev]
Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path


def requirement(wheel: Path) -> str:
    """One line `name==version --hash=sha256:...` of a wheel; name and version stand in its file name (PEP 427)."""
    name, version, *_ = wheel.name.split("-")
    with wheel.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{name.replace('_', '-')}=={version} --hash=sha256:{digest}"


def requirements(folder: Path, extras: str = "") -> str:
    """The whole requirements file of a folder of wheels, sorted by name.

    Raises:
        ValueError: the folder holds no wheel, no wheel of medseg, or two versions of one package.
    """
    lines = sorted((requirement(wheel) for wheel in folder.glob("*.whl")), key=str.lower)
    names = [line.split("==")[0].lower() for line in lines]
    if "medseg" not in names:
        raise ValueError(f"{folder.name}: {len(lines)} wheels, none of them medseg's; run `make wheelhouse`")
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{folder.name}: more than one wheel of {', '.join(double)}; empty the folder and run again")
    return "\n".join(
        ["# Wheels of medseg and all that it needs, with their hashes.", f"# extras: {extras}", *lines, ""]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Hash the wheels of a folder.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--extras", default="")
    arguments = parser.parse_args()
    try:
        text = requirements(arguments.folder, arguments.extras)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    (arguments.folder / "requirements.txt").write_text(text, encoding="utf-8")
    print(f"{text.count('--hash=')} wheels with their hashes are in {arguments.folder}/requirements.txt")
    return 0


if __name__ == "__main__":
    sys.exit(main())
