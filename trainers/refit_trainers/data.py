"""Rows as the served model will see them: floats rounded to float32, strings as codes of what training knew."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from .spec import FOLD, Column, InputError, Spec

UNKNOWN_CODE = -1.0


@dataclass(frozen=True)
class Encoding:
    """The categories of each string feature, sorted; a category's code is its place, an unknown one's is -1."""

    categories: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Rows:
    values: np.ndarray  # float64, one column a feature
    labels: np.ndarray  # float64: the class's index, or the target


def read_table(path: Path, spec: Spec) -> pa.Table:
    names = [feature.name for feature in spec.features] + [spec.label] + ([FOLD] if spec.folds else [])
    try:
        table = pq.read_table(path, columns=names)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    missing = [name for name in names if name not in table.column_names]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}")
    return table


def learn_encoding(train: pa.Table, spec: Spec) -> Encoding:
    return Encoding(
        {
            feature.name: tuple(sorted(pc.unique(_strings(train, feature)).to_pylist()))
            for feature in spec.features
            if feature.type == "string"
        }
    )


def to_rows(table: pa.Table, spec: Spec, encoding: Encoding) -> Rows:
    columns = [_feature_values(table, feature, encoding) for feature in spec.features]
    return Rows(np.column_stack(columns), _labels(table, spec))


def _feature_values(table: pa.Table, feature: Column, encoding: Encoding) -> np.ndarray:
    if feature.type == "string":
        known = pa.array(encoding.categories[feature.name], pa.string())
        codes = pc.index_in(_strings(table, feature), value_set=known)
        return pc.fill_null(pc.cast(codes, pa.float64()), UNKNOWN_CODE).to_numpy()
    column = table.column(feature.name)
    if feature.type != "float64" and column.null_count > 0:
        raise InputError(f"feature {feature.name!r} is {feature.type} but has nulls; nullable numbers come as float64")
    try:
        values = pc.cast(column, pa.bool_() if feature.type == "bool" else pa.float64())
    except pa.ArrowException as error:
        raise InputError(f"feature {feature.name!r} is not {feature.type}: {error}") from error
    if feature.type == "bool":
        return pc.cast(values, pa.int8()).to_numpy().astype(np.float64)
    numbers = values.to_numpy().astype(np.float64)
    # Served tensors are float32: trained on the same rounding, no row falls on another side of a threshold.
    return numbers.astype(np.float32).astype(np.float64) if feature.type == "float64" else numbers


def _strings(table: pa.Table, feature: Column) -> pa.ChunkedArray:
    try:
        return pc.fill_null(pc.cast(table.column(feature.name), pa.string()), "")
    except pa.ArrowException as error:
        raise InputError(f"feature {feature.name!r} is not string: {error}") from error


def _labels(table: pa.Table, spec: Spec) -> np.ndarray:
    """Numbers for regression; for classification the index of each row's class in `spec.classes`."""
    column = table.column(spec.label)
    if column.null_count > 0:
        raise InputError(f"the label {spec.label!r} has {column.null_count} nulls")
    if not spec.is_classification:
        try:
            labels = pc.cast(column, pa.float64()).to_numpy().astype(np.float64)
        except pa.ArrowException as error:
            raise InputError(f"the label {spec.label!r} is not a number: {error}") from error
        if not np.isfinite(labels).all():
            raise InputError(f"the label {spec.label!r} has values that are not finite")
        return labels
    try:
        indices = pc.cast(column, pa.int64()).to_numpy().astype(np.float64)
    except pa.ArrowException as error:
        raise InputError(f"the label {spec.label!r} is not an index into spec.classes: {error}") from error
    if len(indices) > 0 and not (0 <= indices.min() and indices.max() < len(spec.classes)):
        raise InputError(
            f"the label {spec.label!r} has the index {indices.min():.0f} or {indices.max():.0f}, "
            f"which spec.classes ({len(spec.classes)} of them) does not name"
        )
    return indices
