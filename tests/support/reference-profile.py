"""Reference values of pandas, scikit-learn and SciPy for tests/integration/profile.test.ts.

Writes tests/unit/fixtures/profile.json; run it again only when a case is added, where pandas is installed too:
    python tests/support/reference-profile.py
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import contingency
from sklearn import metrics as m

OUT = Path(__file__).parent.parent / "unit" / "fixtures" / "profile.json"
SHARES = [0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99]
ROWS = 400
rng = np.random.default_rng(20130704)

amount = np.round(rng.lognormal(3, 1, ROWS), 3)
frame = pd.DataFrame(
    {
        "amount": np.where(rng.random(ROWS) < 0.1, np.nan, amount),
        "score": rng.normal(0, 1, ROWS),
        "hour": rng.integers(0, 24, ROWS),
        "place": rng.choice(["EWR", "JFK", "LGA"], ROWS, p=[0.5, 0.3, 0.2]),
        "late": rng.random(ROWS) < 0.3,
        "at": pd.Timestamp("2013-01-01") + pd.to_timedelta(rng.integers(0, 10**9, ROWS), unit="ms"),
    }
)
frame["label"] = ((frame["score"] + rng.normal(0, 1, ROWS) + (frame["place"] == "EWR")) > 0.5).astype(int)
frame["number"] = frame["score"] * 2 + rng.normal(0, 1, ROWS)


def numbers(values: pd.Series) -> dict:
    counts, edges = np.histogram(values.dropna(), bins=20)
    return {
        "nulls": int(values.isna().sum()),
        "distinct": int(values.nunique()),
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "quantiles": values.quantile(SHARES).tolist(),
        "edges": edges[1:].tolist(),
        # numpy's bars are closed on the left, ours on the right: with continuous values they agree.
        "histogram": counts.tolist(),
    }


def texts(values: pd.Series) -> dict:
    top = sorted(values.value_counts().items(), key=lambda item: (-item[1], str(item[0])))
    return {"distinct": int(values.nunique()), "top": [{"value": str(v), "count": int(n)} for v, n in top]}


def deciles(values: pd.Series) -> np.ndarray:
    bounds = values.quantile([i / 10 for i in range(1, 10)]).unique()
    return np.where(values.isna(), -1, np.searchsorted(bounds, values, side="left"))


def relation(feature: np.ndarray, label: np.ndarray) -> dict:
    table = pd.crosstab(feature, label).to_numpy()
    return {
        "cramersV": contingency.association(table, method="cramer"),
        "mutualInformation": m.mutual_info_score(feature, label),
    }


label = frame["label"].to_numpy()
number = deciles(frame["number"])
known = frame["amount"].notna()
expected = {
    "amount": numbers(frame["amount"]),
    "score": numbers(frame["score"]),
    "hour": {k: v for k, v in numbers(frame["hour"]).items() if k not in ("edges", "histogram")},
    "place": texts(frame["place"]),
    "late": texts(frame["late"].map({True: "true", False: "false"})),
    "binary": {
        "amount": {
            "auc": m.roc_auc_score(label[known], frame["amount"][known]),
            **relation(deciles(frame["amount"]), label),
        },
        "score": {"auc": m.roc_auc_score(label, frame["score"]), **relation(deciles(frame["score"]), label)},
        "place": {"auc": None, **relation(frame["place"].to_numpy(), label)},
    },
    "regression": {
        "score": {"correlation": frame["score"].corr(frame["number"]), **relation(deciles(frame["score"]), number)},
        "place": {"correlation": None, **relation(frame["place"].to_numpy(), number)},
    },
}
rows = json.loads(frame.assign(at=frame["at"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ")).to_json(orient="records", double_precision=15))

OUT.write_text(
    json.dumps({"versions": {"pandas": pd.__version__, "numpy": np.__version__}, "rows": rows, "expected": expected})
)
