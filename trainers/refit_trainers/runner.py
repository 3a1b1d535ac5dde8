"""What every trainer shares: reading the data, writing the results whole, and an error that ends in one clear line.

SIGTERM keeps its default action: the process ends at once, also in native code, and leaves no result behind, because
results appear by a rename at the end.
"""

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .data import Encoding, Rows, learn_encoding, read_table, to_rows
from .folds import cross_validate
from .spec import InputError, Spec, read_spec


class Metrics:
    """metrics.jsonl: each line is flushed, since progress and early stopping read it as it grows."""

    def __init__(self, path: Path):
        self._file = path.open("w", encoding="utf-8")
        self._last_step = 0

    def write(self, step: int, name: str, value: float) -> None:
        self._last_step = max(self._last_step, step)
        # NaN is not JSON; a metric that is not defined is left out.
        if np.isfinite(value):
            self._file.write(json.dumps({"step": step, "name": name, "value": float(value)}) + "\n")
            self._file.flush()

    def write_last(self, values: dict[str, float]) -> None:
        """What is known once training is over, at the step that it reached."""
        for name, value in values.items():
            self.write(max(1, self._last_step), name, value)


class NoMetrics(Metrics):
    """For models that only cross-validation sees."""

    def __init__(self) -> None:
        pass

    def write(self, step: int, name: str, value: float) -> None:
        pass


@dataclass(frozen=True)
class Trained:
    onnx: bytes
    # The model's own answers for the validation rows, [rows, classes] or [rows], not by way of the ONNX file.
    predictions: np.ndarray


Trainer = Callable[[Spec, Encoding, Rows, Rows, Metrics], Trained]


def main(trainer: Trainer) -> None:
    try:
        _run(trainer)
    except InputError as error:
        print(f"refit trainer: {error}", file=sys.stderr)
        sys.exit(2)
    except Exception as error:  # the last line of the log is what a person reads first
        traceback.print_exc()
        text = str(error).strip().replace("\n", " ")
        print(f"refit trainer: training failed: {type(error).__name__}: {text}", file=sys.stderr)
        sys.exit(1)


def _run(trainer: Trainer) -> None:
    spec = read_spec()
    spec.output.mkdir(parents=True, exist_ok=True)
    train_table = read_table(spec.train, spec)
    if train_table.num_rows == 0:
        raise InputError(f"{spec.train} has no rows")
    encoding = learn_encoding(train_table, spec)
    train = to_rows(train_table, spec, encoding)
    if spec.is_classification and len(np.unique(train.labels)) < 2:
        raise InputError(f"the label {spec.label!r} has only one class in the train rows")
    validation_table = read_table(spec.validation, spec)
    validation = to_rows(validation_table, spec, encoding)
    metrics = Metrics(spec.output / "metrics.jsonl")
    trained = trainer(spec, encoding, train, validation, metrics)
    if not np.isfinite(trained.predictions).all():
        raise InputError("the model's predictions are not all finite")
    if spec.folds:
        metrics.write_last(_cross_validated(spec, trainer, pa.concat_tables([train_table, validation_table])))
    _write_predictions(spec, trained.predictions)
    _write_whole(spec.output / "model.onnx", lambda path: path.write_bytes(trained.onnx))


def _cross_validated(spec: Spec, trainer: Trainer, table: pa.Table) -> dict[str, float]:
    def fit(rest: pa.Table, part: pa.Table) -> np.ndarray:
        encoding = learn_encoding(rest, spec)
        rows, held = to_rows(rest, spec, encoding), to_rows(part, spec, encoding)
        if spec.is_classification and len(np.unique(rows.labels)) < 2:
            raise InputError("cross-validation: the rows outside of a fold have only one class; take fewer folds")
        return trainer(spec, encoding, rows, held, NoMetrics()).predictions

    return cross_validate(spec, table, fit)


def _write_predictions(spec: Spec, predictions: np.ndarray) -> None:
    if spec.is_classification:
        columns = {f"p{index}": predictions[:, index] for index in range(len(spec.classes))}
    else:
        columns = {"prediction": predictions}
    table = pa.table({name: pa.array(values, pa.float64()) for name, values in columns.items()})
    _write_whole(spec.output / "predictions.parquet", lambda path: pq.write_table(table, path))


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(path.name + ".partial")
    write(partial)
    partial.replace(path)
