"""The same checks by pandera and the same profile by pandas, on the file that the bench made. Prints one line of JSON.

    python data_peer.py checks|unique|profile FILE ROUNDS
"""

import json
import resource
import sys
import time

import numpy as np
import pandas as pd

what, path, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
SHARES = [0.01, 0.05, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 0.95, 0.99]


def checks(frame: pd.DataFrame, unique: bool) -> None:
    import pandera.pandas as pa

    schema = pa.DataFrameSchema(
        {
            "id": pa.Column(str, nullable=False, unique=unique),
            "seen": pa.Column("datetime64[us]", nullable=False),
            "amount": pa.Column(float, pa.Check.in_range(0, 1000), nullable=False),
            "hour": pa.Column(int, pa.Check.in_range(0, 23)),
            "origin": pa.Column(str, pa.Check.isin(["EWR", "JFK", "LGA"])),
            "code": pa.Column(str, pa.Check.str_matches(r"^c[0-9]+$")),
            "score": pa.Column(float, pa.Check(lambda column: column.isna().mean() <= 0.1, ignore_na=False), nullable=True),
            "late": pa.Column(bool),
        }
    )
    schema.validate(frame, lazy=True)


def profile(frame: pd.DataFrame) -> None:
    for name in frame.columns:
        column = frame[name]
        column.isna().sum()
        column.nunique()
        if column.dtype.kind in "fi":
            column.agg(["min", "max", "mean", "std"])
            column.quantile(SHARES)
            np.histogram(column.dropna(), bins=20)
        elif column.dtype.kind == "M":
            column.agg(["min", "max"])
            column.quantile(SHARES)
            np.histogram(column.astype("int64"), bins=20)
        if name in ("hour", "origin", "code", "late"):
            column.value_counts().head(10)


seconds = []
for _ in range(rounds):
    start = time.perf_counter()
    frame = pd.read_parquet(path)
    if what == "profile":
        profile(frame)
    else:
        checks(frame, what == "unique")
    seconds.append(time.perf_counter() - start)
    del frame
print(json.dumps({"seconds": seconds, "peakMiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
