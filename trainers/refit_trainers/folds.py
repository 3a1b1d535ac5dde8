"""Cross-validation over the folds that the split gave: each fold is predicted by a model that never saw it.

Its categories are learned without the fold too, so that no fold knows more than a new row would.
"""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score, root_mean_squared_error

from .data import learn_encoding, to_rows
from .spec import FOLD, InputError, Spec

# Predictions for the second table by a model of the first.
Fit = Callable[[pa.Table, pa.Table], np.ndarray]


def cross_validate(spec: Spec, table: pa.Table, fit: Fit) -> dict[str, float]:
    """Means and standard deviations by name of the metric; a metric that is undefined on some fold is left out."""
    folds = table.column(FOLD).to_numpy()
    scores: dict[str, list[float]] = {}
    fitted = 0
    for fold in range(spec.folds):
        held = folds == fold
        if not held.any() or held.all():
            continue
        rest = table.filter(pa.array(~held))
        part = table.filter(pa.array(held))
        labels = to_rows(part, spec, learn_encoding(rest, spec)).labels
        for name, value in _scores(spec, labels, fit(rest, part)).items():
            scores.setdefault(name, []).append(value)
        fitted += 1
    if fitted < 2:
        raise InputError(f"spec.folds is {spec.folds}, but the rows are in {fitted} of them: there are too few groups or rows")
    found = {}
    for name, values in scores.items():
        if len(values) == fitted:
            found[f"cv_{name}_mean"] = float(np.mean(values))
            found[f"cv_{name}_std"] = float(np.std(values))
    return found


def _scores(spec: Spec, labels: np.ndarray, predictions: np.ndarray) -> dict[str, float]:
    if not spec.is_classification:
        return {
            "rmse": root_mean_squared_error(labels, predictions),
            "mae": mean_absolute_error(labels, predictions),
        }
    found = {"log_loss": log_loss(labels, predictions, labels=list(range(len(spec.classes))))}
    if len(spec.classes) == 2 and len(np.unique(labels)) == 2:
        found["roc_auc"] = roc_auc_score(labels, predictions[:, 1])
    return found
