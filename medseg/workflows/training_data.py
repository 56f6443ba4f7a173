"""Where training cases come from: a data set, standardised on the way in, or a store that `preprocess` wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from medseg.config import Config
from medseg.data.folds import SplitCase, check_test_set
from medseg.data.store import Majority, RaterMode, StoredCase, majority_places, store_case
from medseg.errors import ConfigError, InputError
from medseg.imaging.labels import LabelSet
from medseg.io.manifest import CaseEntry, Dataset, read_case, read_dataset, read_image_grid
from medseg.preprocessing.plan import (
    Fingerprint,
    Plan,
    PlanConfig,
    PreprocessingConfig,
    fingerprint,
    fit_plan,
    median_spacing,
    normalised_by,
    whole_patch,
)
from medseg.shapes import Triple
from medseg.workflows.plan_data import case_codes, check_plan
from medseg.workflows.plan_file import PlanFile, read_plan
from medseg.workflows.preprocessing import PLAN_FILE, Store, StoreEntry, is_store, open_store, readers_of
from medseg.workflows.telling import Say
from medseg.workflows.training_raters import staple_consensus

if TYPE_CHECKING:
    from medseg.workflows.recipe import Recipe  # brings MONAI, for which `medseg plan` need not wait

OnCase = Callable[[int, int], None]
Case = TypeVar("Case", CaseEntry, StoreEntry)


class TrainingData(Protocol):
    """Cases that can be learned from."""

    @property
    def labels(self) -> LabelSet: ...

    @property
    def entries(self) -> Mapping[str, SplitCase]: ...

    def fit(self, case_ids: Sequence[str], recipe: Recipe, on_case: OnCase) -> Plan:
        """The plan of these cases; `on_case` is called with (done, total) where they have to be measured."""
        ...

    def grid(self, recipe: Recipe) -> Triple:
        """Voxel size in mm of the grid that all folds share, from the headers of all cases; no voxel is read."""
        ...

    @property
    def anonymous(self) -> bool:
        """Whether a rater's name is another person in every case."""
        ...

    def readers(self, case_id: str) -> tuple[str, ...]:
        """Who read a case, in the data set's order."""
        ...

    def read(self, case_id: str, plan: Plan, mode: RaterMode) -> StoredCase:
        """A case on the plan's grid, with the labels that the rater mode learns from."""
        ...


@dataclass(frozen=True)
class FromDataset:
    """The cases of a data set, read and standardised when training begins."""

    dataset: Dataset
    entries: Mapping[str, CaseEntry]

    @property
    def labels(self) -> LabelSet:
        return self.dataset.labels

    def measure(
        self, case_ids: Sequence[str], preprocessing: PreprocessingConfig, on_case: OnCase
    ) -> list[Fingerprint]:
        """What a plan needs to know of these cases; `on_case` is called with (done, total)."""
        prints = []
        for done, case_id in enumerate(case_ids, 1):
            prints.append(fingerprint(read_case(self.dataset, self.entries[case_id]), preprocessing))
            on_case(done, len(case_ids))
        return prints

    def fit(self, case_ids: Sequence[str], recipe: Recipe, on_case: OnCase) -> Plan:
        prints = self.measure(case_ids, recipe.preprocessing, on_case)
        return fit_plan(prints, recipe.plan, recipe.preprocessing, recipe.model.downsampling)

    def grid(self, recipe: Recipe) -> Triple:
        grids = (read_image_grid(self.dataset, entry).canonical() for entry in self.entries.values())
        return recipe.plan.spacing_mm or median_spacing([grid.spacing_mm for grid in grids])

    @property
    def anonymous(self) -> bool:
        return self.dataset.anonymous

    def readers(self, case_id: str) -> tuple[str, ...]:
        return readers_of(self.entries[case_id])

    def read(self, case_id: str, plan: Plan, mode: RaterMode) -> StoredCase:
        case = store_case(read_case(self.dataset, self.entries[case_id]), plan, mode)
        return staple_consensus(case, self.labels, plan) if mode == "staple" else case


@dataclass(frozen=True)
class FromStore:
    """The cases of a store, read patch by patch."""

    store: Store
    entries: Mapping[str, StoreEntry]

    @property
    def labels(self) -> LabelSet:
        return self.store.labels

    def fit(self, case_ids: Sequence[str], recipe: Recipe, on_case: OnCase) -> Plan:
        patch = whole_patch(recipe.plan.patch, recipe.model.downsampling)
        plan = self.store.plan.model_copy(update={"patch": patch})
        measured = [found for case_id in case_ids if (found := self.store.labelled_hu(case_id)) is not None]
        # a store of an older version knows the mean and deviation of all its cases alone
        return normalised_by(plan, measured) if len(measured) == len(case_ids) else plan

    def grid(self, recipe: Recipe) -> Triple:
        return self.store.plan.spacing_mm

    @property
    def anonymous(self) -> bool:
        return self.store.anonymous

    def readers(self, case_id: str) -> tuple[str, ...]:
        return self.store.readers(case_id)

    def read(self, case_id: str, plan: Plan, mode: RaterMode) -> StoredCase:
        case = self.store.read(case_id)
        if mode == "staple":
            return staple_consensus(case, self.labels, plan)
        if mode != "majority":
            return case
        classes = len(self.labels.names)
        places = majority_places(case, classes) if case.voted is None else case.voted
        return case.fused(Majority(case.labels, classes, case.known), places)


def open_training(recipe: Recipe, say: Say = lambda text: None) -> tuple[Recipe, TrainingData]:
    """The cases that may be learned from, and the recipe with what its plan file (or the store's) says filled in.

    Args:
        say: called with a sentence where the plan is of another data set, or may be.

    Raises:
        ConfigError: a plan of another data set, a store of another plan, or a wish that contradicts the store's grid.
        InputError: no case of the split.
        FileReadError: see the readers.
    """
    if is_store(recipe.data):
        return _from_store(recipe, open_store(recipe.data))
    data = open_cases(read_dataset(recipe.data), recipe.split)
    if recipe.plan.file is None:
        if recipe.plan.stage != "full":
            raise ConfigError("a stage of no plan", where="plan.stage", got=recipe.plan.stage,
                              do="Name the plan too: plan: {file: plan.yaml, stage: low}.")  # fmt: skip
        return recipe, data
    plan = read_plan(recipe.plan.file)
    codes = case_codes(data.dataset, data.entries.values())
    check_plan(plan, data.labels, codes, other_data=recipe.plan.other_data, flag="plan.other_data=true", say=say)
    return planned(recipe, plan), data


def open_cases(dataset: Dataset, split: str | None) -> FromDataset:
    """The cases of a data set that may be learned from: those of `split`, or without one all that are no test cases.

    Raises:
        InputError: there is none, or a patient of them is in the test set too.
    """
    return FromDataset(dataset, _selected(dataset.cases, split))


def planned(recipe: Recipe, plan: PlanFile) -> Recipe:
    """The recipe with patch, grid, window, crop, network and batch of the plan's stage where it names none itself."""
    stage = plan.planned(recipe.plan.stage)
    wishes = {"patch": stage.patch, "spacing_mm": stage.spacing_mm, "window_hu": plan.window_hu}
    own = {name: getattr(recipe.plan, name) for name in recipe.plan.model_fields_set - {"file", "stage", "other_data"}}
    crop = {name: getattr(recipe.preprocessing, name) for name in recipe.preprocessing.model_fields_set}
    changed: dict[str, object] = {"plan": PlanConfig(**{**wishes, **own}),
                                  "preprocessing": plan.preprocessing.model_copy(update=crop)}  # fmt: skip
    if "model" not in recipe.model_fields_set:
        changed["model"] = stage.model
    if "batch" not in recipe.training.model_fields_set:
        changed["training"] = recipe.training.model_copy(update={"batch": stage.batch})
    return recipe.model_copy(update=changed)


def _from_store(recipe: Recipe, store: Store) -> tuple[Recipe, TrainingData]:
    own = store.folder / PLAN_FILE
    plan = read_plan(recipe.plan.file or own)
    if "stage" in recipe.plan.model_fields_set and recipe.plan.stage != store.stage:
        raise ConfigError("a store of another stage", where="plan.stage", expected=store.stage, got=recipe.plan.stage,
                          do=f"Run `medseg preprocess --stage {recipe.plan.stage}` into another folder.")  # fmt: skip
    recipe = recipe.model_copy(update={"plan": recipe.plan.model_copy(update={"stage": store.stage})})
    if plan.plan(store.stage) != store.plan:
        raise ConfigError("a store of another plan", where="data",
                          expected=f"grid and normalisation of {Path(recipe.plan.file or own).name}",
                          do="Preprocess with this plan into another folder, or leave plan out.")  # fmt: skip
    filled = planned(recipe, plan)
    _check_wishes("plan", filled.plan, store.plan, ("spacing_mm", "window_hu"))
    _check_wishes("preprocessing", filled.preprocessing, store.plan.preprocessing, PreprocessingConfig.model_fields)
    return filled, FromStore(store, _selected(store.cases, recipe.split))


def _check_wishes(where: str, wishes: Config, store: Config, names: Iterable[str]) -> None:
    """Refuses wishes of the recipe that the voxels of a store cannot serve any more."""
    for name in names:
        wish, there = getattr(wishes, name), getattr(store, name)
        if wish != there:
            raise ConfigError(f"{name} is not the store's", where=f"{where}.{name}", expected=str(there), got=str(wish),
                              do="Leave it out, or preprocess anew.")  # fmt: skip


def _selected(cases: Iterable[Case], split: str | None) -> dict[str, Case]:
    """The cases of a split by id; without one all that are not the test set, of which none may be a patient's."""
    cases = tuple(cases)
    found = {case.id: case for case in cases if (case.split == split if split else case.split != "test")}
    if not found:
        raise InputError("no case to train on", where="dataset.yaml", expected=f"cases of split '{split or 'train'}'",
                         do="Check `split:` in the recipe and in dataset.yaml.")  # fmt: skip
    check_test_set(cases, found)
    return found
