"""The folder of a run until `run.json` makes it one: what may be begun there, made complete, or replaced."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from medseg.data.folds import FILE
from medseg.errors import ConfigError, MedsegError, OutputExistsError, WriteError
from medseg.files import LEFTOVER, MARKER, SIGNATURE, check_output_folder, open_output_folder
from medseg.workflows.recipe import Recipe
from medseg.workflows.run import LOW, Run, open_run, recorded
from medseg.workflows.run_lock import in_use, is_locked
from medseg.workflows.telling import Say
from medseg.workflows.training_init import NNUNET

KIND, FOLDS_KIND = "run", "run of folds"
FACTS = "run.json"
REPLACED = "replaced.json"  # what FACTS is called while an old run is removed, so that nobody takes the rest for a run
BEGINNINGS = frozenset({"recipe.yaml", FILE, LOW})  # written before FACTS


def check_target(folder: Path, *, resume: bool, overwrite: bool, say: Say = lambda text: None) -> bool:
    """Whether there is a run to go on with; refuses a folder that cannot be written to, before anything is made.

    A folder in which a training was killed before it had begun is as good as an empty one.

    Raises:
        UsageError: another training writes there; OutputExistsError; FileReadError: it is to be resumed, and holds
            something that is no run.
    """
    if is_locked(folder):
        raise in_use(folder)
    if not resume:
        _check_free(folder, overwrite)
        return False
    if (folder / FACTS).exists() or not _is_free(folder):
        open_run(folder)
        return True
    say(f"No training has begun in {folder.name} yet, so this one begins at its first step.")
    return False


def check_sources(recipe: Recipe, folder: Path) -> None:
    """Refuses to replace a run by one that needs it.

    Raises:
        ConfigError: names the key.
    """
    target = folder.resolve()
    named = {"init": recipe.init, "cascade": recipe.cascade, "data": recipe.data, "folds.file": recipe.folds.file}
    for key, value in named.items():
        if value is None or not folder.exists():
            continue
        source = Path(value.removeprefix(NNUNET)).resolve()
        if source.is_relative_to(target) or (key in ("init", "cascade") and target.is_relative_to(source)):
            raise ConfigError("the run that is to be replaced is needed for the new one", where=key, got=folder.name,
                              do="Choose another --out.")  # fmt: skip


def check_root(root: Path) -> None:
    """Refuses a folder of folds that is something else.

    Raises:
        OutputExistsError: see above.
    """
    if (root / FACTS).exists():
        raise OutputExistsError("this folder holds a run of its own, not of folds", where=root.name,
                                do="Choose another --out for --fold, or leave --fold out.")  # fmt: skip
    if not (root / FILE).is_file() and not is_half_made(root, FOLDS_KIND):
        check_output_folder(root, kind=FOLDS_KIND)


def is_half_made(folder: Path, kind: str = KIND) -> bool:
    """Whether a training was killed here before it had written what makes the folder a run (or a run of folds)."""
    try:
        ours = (folder / MARKER).read_text(encoding="utf-8").strip() == f"{SIGNATURE}{kind}"
    except (OSError, UnicodeDecodeError):
        return False
    if not ours or (folder / FACTS).exists():
        return False
    names = {entry.name for entry in folder.iterdir() if not LEFTOVER.fullmatch(entry.name)} - {MARKER}
    return (kind == KIND and REPLACED in names) or names <= (BEGINNINGS if kind == KIND else frozenset())


def make_room(folder: Path, *, overwrite: bool) -> None:
    """Empties the folder for a new run; killed half way it leaves one that `is_half_made`.

    Raises:
        OutputExistsError: it holds something that may not be replaced.
        WriteError: it cannot be emptied.
    """
    _check_free(folder, overwrite)
    try:
        if (folder / FACTS).exists():
            os.replace(folder / FACTS, folder / REPLACED)
        if folder.is_dir():
            _remove_all_but(folder, (MARKER, REPLACED))
    except OSError as error:
        raise WriteError(f"could not empty the folder: {error.strerror}", where=folder.name) from error
    open_output_folder(folder, kind=KIND, overwrite=True)


@contextmanager
def nothing_left(run: Run) -> Iterator[None]:
    """Empties the folder of a new run again if it is refused before the first step."""
    try:
        yield
    except MedsegError:
        if "state" not in recorded(run.folder):
            open_output_folder(run.folder, kind=KIND, overwrite=True)
        raise


def _check_free(folder: Path, overwrite: bool) -> None:
    if not overwrite and (folder / FACTS).exists():
        raise OutputExistsError(
            "a run is there already",
            where=folder.name,
            do="Go on with --resume, replace it with --overwrite, or choose another --out.",
        )
    if not is_half_made(folder):
        check_output_folder(folder, kind=KIND, overwrite=overwrite)


def _is_free(folder: Path) -> bool:
    if not folder.exists() or is_half_made(folder):
        return True
    return folder.is_dir() and all(entry.name == MARKER for entry in folder.iterdir())


def _remove_all_but(folder: Path, kept: Collection[str]) -> None:
    for entry in folder.iterdir():
        if entry.name in kept:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
