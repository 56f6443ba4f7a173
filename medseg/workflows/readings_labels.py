"""What a model calls the structures: `--model-labels map.yaml`, from its values or names to the readers' labels.

```yaml
labels: {5: liver, kidney_left: kidney, kidney_right: kidney}   # two of them may become one label
ignore: [1, stomach]                                            # or `rest`: everything that is not listed
```
A file name such as `kidney_left.nii.gz` stands for the structure that it holds. The keys may also stand without
`labels:`. Whatever is neither listed nor ignored is refused by name. A label that nothing becomes was not looked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from medseg.config import Config, build_config, nearest, read_yaml
from medseg.errors import ConfigError, LabelError
from medseg.imaging.labels import BACKGROUND
from medseg.io.label_files import is_label_file, label_stem

LISTED = 10
REST = "rest"


class ModelLabels(Config):
    """The model's value or name to label; `ignore` names those that are left out.

    >>> ModelLabels(labels={"5": "liver"}, ignore=("1",)).resolve(["1", "5"])
    {'5': 'liver'}
    """

    labels: dict[str, str]
    ignore: tuple[str, ...] | Literal["rest"] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The labels that something becomes, in order."""
        return tuple(dict.fromkeys(self.labels.values()))

    def resolve(self, names: Sequence[str], *, where: str = "") -> dict[str, str]:
        """The label of every name that is not ignored.

        Raises:
            LabelError: names that are neither listed nor ignored.
        """
        unknown = [name for name in names if name not in self.labels and not self._ignores(name)]
        if unknown:
            more = f" and {len(unknown) - LISTED} more" if len(unknown) > LISTED else ""
            raise LabelError(
                "structures or values that the map of the model's labels does not know",
                where=where,
                expected=", ".join(list(self.labels)[:LISTED]),
                got=", ".join(unknown[:LISTED]) + more,
                do="Add them to --model-labels, under `ignore:` if they are not to be compared (`ignore: rest`: all).",
            )
        return {name: self.labels[name] for name in names if name in self.labels}

    def sources(self, label: str) -> tuple[str, ...]:
        """The model's own values or names that become a label."""
        return tuple(name for name, target in self.labels.items() if target == label)

    def check_targets(self, labels: Sequence[str]) -> None:
        """Raises LabelError when a target is no label of the readers."""
        for target in self.targets:
            if target not in labels:
                raise LabelError(f"the map of the model's labels leads to an unknown label '{target}'"
                                 + nearest(target, labels), where="--model-labels",
                                 expected="one of " + ", ".join(labels))  # fmt: skip

    def _ignores(self, name: str) -> bool:
        return self.ignore == REST or name in self.ignore


ModelLabelsSource = ModelLabels | str | Path | None


def read_model_labels(source: ModelLabelsSource) -> ModelLabels | None:
    """The map itself, or read from its file.

    Raises:
        FileReadError, ConfigError: no such file, no YAML, or no such map; a name that is listed and ignored.
    """
    if source is None or isinstance(source, ModelLabels):
        return source
    path = Path(source)
    data = read_yaml(path)
    if not isinstance(data.get("labels"), Mapping):
        data = {"labels": {k: v for k, v in data.items() if k != "ignore"}, "ignore": data.get("ignore", [])}
    if unknown := [str(key) for key in data if key not in ("labels", "ignore")]:
        raise ConfigError(f"unknown key '{unknown[0][:64]}'", where=path.name, expected="labels, ignore")
    ignore = data.get("ignore") or []
    if ignore != REST and not isinstance(ignore, list):
        raise ConfigError("`ignore` is no list", where=path.name, expected=f"[1, stomach] or `{REST}`")
    labels = _by_name([(key, "" if value is None else str(value).strip()) for key, value in data["labels"].items()],
                      path.name)  # fmt: skip
    found: dict[str, object] = {"labels": labels, "ignore": ignore if ignore == REST else [*map(_name, ignore)]}
    for name, target in labels.items():
        if not target or target == BACKGROUND:
            raise ConfigError(f"'{name}' becomes no label", where=path.name, expected="the name of a structure",
                              do="List it under `ignore:` if it is not to be compared.")  # fmt: skip
        if ignore != REST and name in found["ignore"]:  # type: ignore[operator]
            raise ConfigError(f"'{name}' has a label and is ignored", where=path.name, expected="one of the two")
    if not labels:
        raise ConfigError("no label", where=path.name, expected="lines such as `5: liver`")
    return build_config(ModelLabels, found, source=path.name)


def _by_name(pairs: Sequence[tuple[object, str]], where: str) -> dict[str, str]:
    labels: dict[str, str] = {}
    for key, target in pairs:
        if labels.setdefault(_name(key), target) != target:
            raise ConfigError(f"'{_name(key)}' stands twice", where=where, expected="one label for each name")
    return labels


def _name(key: object) -> str:
    """A value or a structure's name as text; a file name is that of its structure."""
    text = str(key).strip()
    return label_stem(text) if is_label_file(text) else text
