"""Checks the house rules of CONTRIBUTING.md on every file of medseg and names the offending line.

Usage: python tools/floors.py
Standard library only; nothing of medseg is imported, the sources are parsed.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

FLOORS = {
    "errors": 1, "shapes": 1,
    "config": 2, "config_faults": 2, "files": 2, "imaging": 2,
    "io": 3, "phantom": 3, "preprocessing": 3, "transforms": 3,
    "models": 3, "losses": 3, "training": 3, "evaluation": 3,
    "data": 4, "inference": 4, "report": 4,
    "workflows": 5,
    "cli": 6, "__main__": 6,
}  # fmt: skip
LOWER = {"errors", "shapes", "config", "files", "imaging"}
TENSORS_ONLY = LOWER - {"imaging"}
MAY_IMPORT = {  # rooms whose list is not simply "every lower floor"
    "config": {"errors", "shapes", "files", "config_faults"},
    "models": TENSORS_ONLY,
    "losses": TENSORS_ONLY,
    "training": TENSORS_ONLY,
    "data": LOWER | {"io", "preprocessing", "transforms"},
    "inference": LOWER | {"preprocessing"},
    "report": LOWER | {"evaluation"},
    "cli": {"errors", "shapes", "workflows"},
    "__main__": {"cli"},
    "__init__": {"workflows"},  # when `medseg.Predictor` is asked for, and not before: see tests/test_light.py
}
NO_TORCH = {"errors", "shapes", "config", "config_faults", "files", "imaging", "io", "evaluation", "report", "cli"}
ONLY_IN = {  # library: beginnings of the paths that may import it
    "monai": ("medseg/transforms/", "medseg/models/", "medseg/losses/", "medseg/inference/"),
    "pydicom": ("medseg/io/dicom",),
    "highdicom": ("medseg/io/dicom",),
    "nibabel": ("medseg/io/nifti",),
}
NETWORK = {"requests", "urllib", "urllib3", "socket", "http", "httpx", "aiohttp", "ftplib", "smtplib", "xmlrpc"}
PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CATCH_ALL_NAMES = {"util", "utils", "common", "helper", "helpers", "misc"}
CATCH_ALL_CLASSES = ("Manager", "Handler", "Helper", "Processor", "Util", "Utils")
FILE_LINES, BODY_LINES = 400, 60

Import = tuple[int, str]  # line, dotted name


def faults(sources: Mapping[str, str]) -> list[str]:
    """Every broken rule as `path:line: what`, sorted; sources map a path such as `medseg/io/nifti.py` to its text."""
    found: list[tuple[str, int, str]] = []
    imports: dict[str, list[Import]] = {}
    for path, text in sources.items():
        tree = ast.parse(text, filename=path)
        imports[path] = list(_imports(tree, path, sources))
        for check in (_names, _sizes, _pickles, _excepts):
            found += [(path, line, what) for line, what in check(path, text, tree)]
        found += [(path, line, what) for line, what in _forbidden_imports(path, imports[path])]
    found += _circles(imports)
    return [f"{path}:{line}: {what}" for path, line, what in sorted(found)]


def room(path_or_module: str) -> str:
    """The room of a file or a dotted name of medseg.

    >>> room("medseg/io/nifti.py"), room("medseg.imaging.volume"), room("medseg/cli/judge.py"), room("medseg")
    ('io', 'imaging', 'cli', '__init__')
    """
    parts = path_or_module.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imports(tree: ast.Module, path: str, sources: Mapping[str, str]) -> Iterator[Import]:
    """Everything that a file imports, at its top or in a function; `from a import b` is `a.b` where that is a file."""
    modules = {_module(each) for each in sources}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, path)
            for alias in node.names:
                name = f"{base}.{alias.name}"
                yield node.lineno, name if name in modules or base == "medseg" else base
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from ((node.lineno, name.value) for name in node.args[:1]
                        if isinstance(name, ast.Constant) and isinstance(name.value, str))  # fmt: skip


def _absolute(node: ast.ImportFrom, path: str) -> str:
    if not node.level:
        return node.module or ""
    package = path.removesuffix(".py").split("/")[: -node.level]
    return ".".join([*package, node.module] if node.module else package)


def _forbidden_imports(path: str, imports: list[Import]) -> Iterator[tuple[int, str]]:
    here = room(path)
    if here not in FLOORS and here != "__init__":
        yield 1, f"'{here}' has no floor; give it one in tools/floors.py and CONTRIBUTING.md"
    for line, name in imports:
        library = name.split(".")[0]
        if library == "medseg":
            there = room(name)
            if there != here and there != "__init__" and there not in _reach(here):
                yield line, f"{here} must not import {there}"
        elif library == "torch" and here in NO_TORCH:
            yield line, f"{here} must not import torch"
        elif library in ONLY_IN and not path.startswith(ONLY_IN[library]):
            yield line, f"{library} is imported only in {', '.join(ONLY_IN[library])}"
        elif library in NETWORK or name.startswith("torch.hub"):
            yield line, f"{name} opens network connections"
        elif library in PICKLES:
            yield line, f"{name} loads pickles"


def _reach(here: str) -> set[str]:
    """The rooms that a room may import."""
    floor = FLOORS.get(here, 0)
    return MAY_IMPORT.get(here, {other for other, height in FLOORS.items() if height < floor})


def _names(path: str, _text: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for part in path.removesuffix(".py").split("/"):
        if part.strip("_") in CATCH_ALL_NAMES:
            yield 1, f"'{part}' says nothing; name what it holds"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith(CATCH_ALL_CLASSES):
            yield node.lineno, f"class {node.name}: name what it is"


def _sizes(_path: str, text: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    if (lines := len(text.splitlines())) > FILE_LINES:
        yield FILE_LINES + 1, f"{lines} lines, at most {FILE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body
            if body and (lines := (body[-1].end_lineno or 0) - body[0].lineno + 1) > BODY_LINES:
                yield node.lineno, f"the body of {node.name} has {lines} lines, at most {BODY_LINES}"


def _pickles(_path: str, _text: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "torch" and any(a.name == "load" for a in node.names):
            yield node.lineno, "call torch.load by its full name"
        if not isinstance(node, ast.Call):
            continue
        options = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
        if ast.unparse(node.func) == "torch.load" and options.get("weights_only") is not True:
            yield node.lineno, "torch.load without weights_only=True loads pickles"
        if "allow_pickle" in options and options["allow_pickle"] is not False:
            yield node.lineno, "allow_pickle loads pickles"


def _excepts(_path: str, _text: str, tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield node.lineno, "a bare except hides every fault"


def _circles(imports: Mapping[str, list[Import]]) -> list[tuple[str, int, str]]:
    """One fault per import that closes a circle, found by walking depth first from every module in turn."""
    paths = {_module(path): path for path in imports}
    found: list[tuple[str, int, str]] = []
    done: set[str] = set()

    def walk(module: str, trail: list[str]) -> None:
        for line, name in imports[paths[module]]:
            if name in trail:
                circle = [*trail[trail.index(name) :], name]
                found.append((paths[module], line, f"closes an import circle: {' -> '.join(circle)}"))
            elif name in paths and name not in done:
                walk(name, [*trail, name])
        done.add(module)

    for module in sorted(paths):
        if module not in done:
            walk(module, [module])
    return found


def read_sources(root: Path) -> dict[str, str]:
    """Every source file of the package below `root`, by its path relative to `root`."""
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in root.glob("medseg/**/*.py")}


if __name__ == "__main__":
    broken = faults(read_sources(Path(__file__).parents[1]))
    print("\n".join(broken) or "every rule holds")
    sys.exit(bool(broken))
