"""A trainer of one's own under the trainer contract: logistic regression over numbers, written to ONNX node by node.

`params.seconds` makes it last, so that tests can meet it at work.
"""

import json
import os
import time
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

TYPES = {"float64": TensorProto.FLOAT, "int64": TensorProto.INT64, "bool": TensorProto.BOOL}

spec = json.loads(Path(os.environ["REFIT_SPEC"]).read_text())
output = Path(spec["output"])
features = [column for column in spec["columns"] if column["role"] == "feature"]
names = [column["name"] for column in features]


def matrix(path: str) -> tuple[np.ndarray, np.ndarray]:
    frame = pd.read_parquet(path)
    return frame[names].astype(np.float32).to_numpy(), frame[spec["label"]].to_numpy()


with (output / "metrics.jsonl").open("w") as metrics:
    for step in range(int(10 * spec["params"].get("seconds", 0))):
        metrics.write(json.dumps({"step": step, "name": "waited", "value": step / 10}) + "\n")
        metrics.flush()
        time.sleep(0.1)

train, labels = matrix(spec["train"])
model = LogisticRegression(max_iter=500, random_state=spec["seed"]).fit(train, labels)
validation, _ = matrix(spec["validation"])
probabilities = model.predict_proba(validation)
pd.DataFrame({f"p{index}": probabilities[:, index] for index in range(probabilities.shape[1])}).to_parquet(
    output / "predictions.parquet"
)

binary = len(spec["classes"]) == 2
weights, bias = model.coef_.T, model.intercept_
if binary:
    # Of two classes scikit-learn keeps the second one's score only.
    weights, bias = np.hstack([np.zeros_like(weights), weights]), np.array([0.0, bias[0]])
constants = [
    numpy_helper.from_array(weights.astype(np.float32), "weights"),
    numpy_helper.from_array(bias.astype(np.float32).reshape(1, -1), "bias"),
]
nodes = [
    helper.make_node("Cast", [name], [f"cast::{index}"], to=TensorProto.FLOAT) for index, name in enumerate(names)
]
nodes += [
    helper.make_node("Concat", [f"cast::{index}" for index in range(len(names))], ["rows"], axis=1),
    helper.make_node("MatMul", ["rows", "weights"], ["product"]),
    helper.make_node("Add", ["product", "bias"], ["scores"]),
    helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
]
graph = helper.make_graph(
    nodes,
    "states",
    [helper.make_tensor_value_info(one["name"], TYPES[one["type"]], ["N", 1]) for one in features],
    [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", len(spec["classes"])])],
    constants,
)
onnx.save(
    helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(output / "model.onnx")
)
