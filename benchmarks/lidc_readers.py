"""Each of four radiologists in turn plays the model: agreement must come out as "one reader among others".

    python benchmarks/lidc_readers.py SOURCE --out DIR [--margin 0.05] [--metric dice]

SOURCE holds `<nodule>/reader{1..4}.nii.gz`, the layout of the LIDC-IDRI nodule set. For reader k the other three are
the raters, the folders are made under DIR/reader<k>/, and one line of a
Markdown table is printed per reader.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from medseg.workflows import agree

READERS = ("reader1", "reader2", "reader3", "reader4")
COLUMNS = ("model", "cases", "human-human", "model-human", "D", "95 % CI", "Williams", "class")


def main() -> None:
    """Makes the folders, runs `agree` four times and prints the table."""
    parser = argparse.ArgumentParser(description="Each of four radiologists in turn plays the model.")
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--margin", type=float, default=0.05)
    parser.add_argument("--metric", default="dice")
    options = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    sentences = []
    for reader in READERS:
        folder = make_folders(options.source, options.out / reader, reader)
        result = agree(
            raters=folder / "raters",
            model=folder / reader,
            out=folder / "agreement",
            metric=options.metric,
            margin=options.margin,
            overwrite=True,
        )
        print(line(result, reader, options.metric), flush=True)
        sentences += [f"- {reader}: {result['verdict'][reader]['sentence']}"]
    print("\n" + "\n".join(sentences))


def make_folders(source: Path, out: Path, model: str) -> Path:
    """`out/raters/<reader>/<nodule>.nii.gz` for the three others and `out/<model>/<nodule>.nii.gz`; returns `out`."""
    for nodule in sorted(path for path in source.iterdir() if path.is_dir()):
        for reader in READERS:
            target = out / (reader if reader == model else f"raters/{reader}") / f"{nodule.name}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(nodule / f"{reader}.nii.gz", target)
    return out


def line(result: dict[str, Any], model: str, metric: str) -> str:
    """One row of the table."""
    (label,) = result["labels"].values()
    ours = label["models"][model]
    human, difference = label["human_human"][metric], ours["difference"][metric]
    low, high = difference["ci95"]
    cells = [
        model,
        str(human["n"]),
        f"{human['mean']:.3f}",
        f"{ours['model_human'][metric]['mean']:.3f}",
        f"{difference['mean']:+.3f}",
        f"{low:+.3f} to {high:+.3f}",
        f"{ours['williams'][metric]['value']:.3f}" if metric in ours["williams"] else "–",
        difference["class"],
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
