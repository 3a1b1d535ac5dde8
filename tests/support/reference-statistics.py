"""Reference values of scikit-learn and SciPy for tests/unit/statistics.test.ts.

Writes tests/unit/fixtures/statistics.json; run it again only when a case is added:
    python tests/support/reference-statistics.py
"""

import json
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.spatial.distance import jensenshannon
from sklearn import metrics as m

OUT = Path(__file__).parent.parent / "unit" / "fixtures" / "statistics.json"
rng = np.random.default_rng(20130701)


def binary(name: str, truth: np.ndarray, positive: np.ndarray) -> dict:
    predicted = (positive > 0.5).astype(int)
    both = np.column_stack([1 - positive, positive])
    return {
        "name": name,
        "task": "binary-classification",
        "width": 2,
        "truth": truth.tolist(),
        "values": both.ravel().tolist(),
        "expected": {
            "roc_auc": m.roc_auc_score(truth, positive),
            "log_loss": m.log_loss(truth, both, labels=[0, 1]),
            "brier": m.brier_score_loss(truth, positive),
            "accuracy": m.accuracy_score(truth, predicted),
            "f1": m.f1_score(truth, predicted, zero_division=0),
            "precision": m.precision_score(truth, predicted, zero_division=0),
            "recall": m.recall_score(truth, predicted, zero_division=0),
        },
    }


def multiclass(name: str, truth: np.ndarray, values: np.ndarray) -> dict:
    labels = list(range(values.shape[1]))
    predicted = values.argmax(axis=1)
    one_hot = np.eye(len(labels))[truth]
    return {
        "name": name,
        "task": "multiclass-classification",
        "width": len(labels),
        "truth": truth.tolist(),
        "values": values.ravel().tolist(),
        "expected": {
            "roc_auc": m.roc_auc_score(truth, values, multi_class="ovr", average="macro"),
            "log_loss": m.log_loss(truth, values, labels=labels),
            "brier": float(((values - one_hot) ** 2).sum(axis=1).mean()),
            "accuracy": m.accuracy_score(truth, predicted),
            "f1": m.f1_score(truth, predicted, average="macro", zero_division=0),
            "precision": m.precision_score(truth, predicted, average="macro", zero_division=0),
            "recall": m.recall_score(truth, predicted, average="macro", zero_division=0),
        },
    }


def regression(name: str, truth: np.ndarray, values: np.ndarray) -> dict:
    return {
        "name": name,
        "task": "regression",
        "width": 1,
        "truth": truth.tolist(),
        "values": values.tolist(),
        "expected": {
            "rmse": m.root_mean_squared_error(truth, values),
            "mae": m.mean_absolute_error(truth, values),
            "r2": m.r2_score(truth, values),
        },
    }


truth = rng.integers(0, 2, 200)
noisy = np.clip(truth * 0.3 + rng.normal(0.35, 0.2, 200), 0.001, 0.999)
three = rng.integers(0, 3, 150)
raw = rng.random((150, 3)) + np.eye(3)[three] * 0.7
number = rng.normal(10, 4, 120)
cases = [
    binary("distinct scores", truth, noisy),
    binary("many ties", truth, np.round(noisy, 1)),
    binary("all scores equal", truth, np.full(200, 0.4)),
    binary("certain and wrong", truth, np.where(rng.random(200) < 0.1, 1 - truth, truth).astype(float)),
    multiclass("three classes", three, raw / raw.sum(axis=1, keepdims=True)),
    multiclass("a class never predicted", three, np.column_stack([raw[:, 0] * 2, raw[:, 1], raw[:, 2] * 0.05]) / (raw[:, [0]] * 2 + raw[:, [1]] + raw[:, [2]] * 0.05)),
    regression("noise", number, number + rng.normal(0, 2, 120)),
    regression("constant truth", np.full(20, 3.0), rng.normal(3, 1, 20)),
    regression("perfect constant", np.full(20, 3.0), np.full(20, 3.0)),
]
histograms = [
    ([10, 20, 30, 40], [40, 30, 20, 10]),
    ([1, 0, 0], [0, 0, 5]),
    ([5, 5], [5, 5]),
    ([0, 3, 7, 0, 2], [1, 3, 0, 0, 9]),
    (rng.integers(0, 1000, 12).tolist(), rng.integers(0, 1000, 12).tolist()),
]
OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(
    json.dumps(
        {
            "scikit-learn": sklearn.__version__,
            "scipy": scipy.__version__,
            "metrics": cases,
            "jensenShannon": [{"reference": list(p), "current": list(q), "expected": float(jensenshannon(p, q, base=2))} for p, q in histograms],
        },
        allow_nan=False,
    )
    + "\n"
)
