"""The trainer contract: what REFIT_SPEC says, checked, with errors that name the field."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TASKS = ("binary-classification", "multiclass-classification", "regression")
FEATURE_TYPES = ("float64", "int64", "string", "bool")
OUTPUT_NAMES = ("probabilities", "prediction")
FOLD = "__fold"


class InputError(Exception):
    """The spec or the data cannot be used: trying again does not help."""


@dataclass(frozen=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True)
class Spec:
    task: str
    label: str
    features: tuple[Column, ...]
    classes: tuple[str, ...]
    train: Path
    validation: Path
    params: dict[str, Any]
    seed: int
    threads: int
    output: Path
    checkpoint: Path | None
    # Folds of cross-validation, 0 without: column FOLD of both files says in which a row is.
    folds: int = 0

    @property
    def is_classification(self) -> bool:
        return self.task != "regression"


def canonical_label(value: Any) -> str:
    """One text for one class, however JSON, Parquet or SQL happen to write it: true, 1 and 1.0 keep their usual text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def read_spec() -> Spec:
    path = os.environ.get("REFIT_SPEC")
    if not path:
        raise InputError("REFIT_SPEC is not set; it must be the path of the training spec")
    try:
        raw = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"REFIT_SPEC {path} cannot be read as JSON: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"REFIT_SPEC {path} must hold a JSON object")
    return parse_spec(raw)


def parse_spec(raw: dict[str, Any]) -> Spec:
    task = _field(raw, "task", str)
    if task not in TASKS:
        raise InputError(f"spec.task is {task!r}; it must be one of {', '.join(TASKS)}")
    columns = _field(raw, "columns", list)
    features = tuple(_feature(column) for column in columns if column.get("role") == "feature")
    if not features:
        raise InputError("spec.columns has no column with the role feature")
    names = [feature.name for feature in features]
    for name in names:
        if names.count(name) > 1 or name in OUTPUT_NAMES:
            raise InputError(f"spec.columns: {name!r} is repeated, or the name of an output")
    label = _field(raw, "label", str)
    if label in names:
        raise InputError(f"spec.label {label!r} is also a feature")
    classes = tuple(canonical_label(value) for value in raw.get("classes") or [])
    _check_classes(task, classes)
    checkpoint = raw.get("checkpoint")
    threads = raw.get("threads", 1)
    return Spec(
        task=task,
        label=label,
        features=features,
        classes=classes,
        train=Path(_field(raw, "train", str)),
        validation=Path(_field(raw, "validation", str)),
        params=dict(raw.get("params") or {}),
        seed=int(raw.get("seed", 0)),
        threads=max(1, int(threads)),
        output=Path(_field(raw, "output", str)),
        checkpoint=Path(checkpoint) if checkpoint else None,
        folds=_folds(raw),
    )


def _folds(raw: dict[str, Any]) -> int:
    folds = raw.get("folds")
    if folds is None:
        return 0
    if isinstance(folds, bool) or not isinstance(folds, int) or folds < 2:
        raise InputError(f"spec.folds is {folds!r}; it must be a whole number of at least 2")
    return folds


def _check_classes(task: str, classes: tuple[str, ...]) -> None:
    if len(set(classes)) != len(classes):
        raise InputError("spec.classes repeats a class")
    if task == "binary-classification" and len(classes) != 2:
        raise InputError(f"spec.classes must have two classes for {task}; it has {len(classes)}")
    if task == "multiclass-classification" and len(classes) < 2:
        raise InputError(f"spec.classes must have at least two classes for {task}; it has {len(classes)}")


def _feature(column: dict[str, Any]) -> Column:
    name = _field(column, "name", str)
    kind = _field(column, "type", str)
    if kind not in FEATURE_TYPES:
        raise InputError(f"spec.columns: {name!r} has type {kind!r}; it must be one of {', '.join(FEATURE_TYPES)}")
    return Column(name, kind)


def _field(raw: dict[str, Any], name: str, kind: type) -> Any:
    value = raw.get(name)
    if not isinstance(value, kind):
        raise InputError(f"spec.{name} is missing, or not a {kind.__name__}")
    return value
