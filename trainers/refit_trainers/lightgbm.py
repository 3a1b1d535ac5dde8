"""Gradient boosting by LightGBM: `python -m refit_trainers.lightgbm`. String features are native categoricals."""

import lightgbm
import numpy as np

from .data import Encoding, Rows
from .graph import Graph, Trees
from .runner import Metrics, Trained, main
from .spec import InputError, Spec

ROUNDS_ALIASES = (
    "num_iterations", "n_estimators", "num_boost_round", "num_round", "num_rounds", "num_iteration", "num_trees",
    "num_tree", "n_iter", "nrounds", "max_iter",
)
EARLY_STOPPING_ALIASES = ("early_stopping_rounds", "early_stopping_round", "early_stopping", "n_iter_no_change")
DEFAULT_ROUNDS = 100
# Those whose raw score is the prediction itself; others would need a link function in the graph.
REGRESSION_OBJECTIVES = ("regression", "regression_l2", "l2", "mse", "regression_l1", "l1", "mae", "huber", "fair", "quantile")
# What the contract fixes, or what the ONNX graph cannot express the same way.
REFUSED = {
    "boosting": ("gbdt", "dart", "gbrt"),
    "boosting_type": ("gbdt", "dart", "gbrt"),
    "linear_tree": (False,),
    "zero_as_missing": (False,),
    "use_missing": (True,),
    "device_type": ("cpu",),
    "device": ("cpu",),
}
FIXED = (
    "num_class", "num_threads", "n_jobs", "nthread", "nthreads", "num_thread", "seed", "random_state", "random_seed",
    "deterministic", "force_row_wise", "force_col_wise", "verbosity", "verbose", "sigmoid", "categorical_feature",
)
# LightGBM's names of metrics, as scikit-learn calls them.
METRICS = {
    "binary-classification": {"binary_logloss": "log_loss", "auc": "roc_auc"},
    "multiclass-classification": {"multi_logloss": "log_loss"},
    "regression": {"rmse": "rmse", "l1": "mae"},
}
PROGRESS_LINES = 50


def train(spec: Spec, encoding: Encoding, rows: Rows, validation: Rows, metrics: Metrics) -> Trained:
    params = dict(spec.params)
    rounds = _take_number(params, ROUNDS_ALIASES, DEFAULT_ROUNDS)
    patience = _take_number(params, EARLY_STOPPING_ALIASES, 0)
    data = lightgbm.Dataset(
        rows.values,
        rows.labels,
        feature_name=[f"f{index}" for index in range(len(spec.features))],
        categorical_feature=[index for index, one in enumerate(spec.features) if one.type == "string"],
        free_raw_data=False,
    )
    has_validation = len(validation.labels) > 0
    callbacks = [_report(spec, metrics, rounds)] if has_validation else []
    if patience > 0 and has_validation:
        callbacks.append(lightgbm.early_stopping(patience, first_metric_only=True, verbose=False))
    booster = lightgbm.train(
        _parameters(spec, params),
        data,
        num_boost_round=rounds,
        valid_sets=[data.create_valid(validation.values, validation.labels)] if has_validation else [],
        callbacks=callbacks,
    )
    used = booster.best_iteration if booster.best_iteration > 0 else booster.current_iteration()
    predictions = booster.predict(validation.values, num_iteration=used) if has_validation else _no_predictions(spec)
    if spec.is_classification and len(spec.classes) == 2:
        predictions = np.column_stack([1 - predictions, predictions]) if predictions.ndim == 1 else predictions
    return Trained(_to_onnx(spec, encoding, booster.dump_model(num_iteration=used)), predictions)


def _parameters(spec: Spec, params: dict) -> dict:
    for name, allowed in REFUSED.items():
        if name in params and params[name] not in allowed:
            raise InputError(f"params.{name} is {params[name]!r}; it must be {' or '.join(map(str, allowed))}")
    for name in FIXED:
        if name in params:
            raise InputError(f"params.{name} is set by Refit (seed, threads and the task decide it); leave it out")
    objective = params.pop("objective", None)
    binary = spec.is_classification and len(spec.classes) == 2
    fixed = "binary" if binary else "multiclass" if spec.is_classification else "regression"
    allowed = (fixed,) if spec.is_classification else REGRESSION_OBJECTIVES
    if objective is not None and objective not in allowed:
        raise InputError(f"params.objective is {objective!r}; for {spec.task} it must be {' or '.join(allowed)}")
    params.pop("metric", None)
    return {
        **params,
        "objective": objective or fixed,
        "metric": list(METRICS["binary-classification" if binary else spec.task]),
        **({"num_class": len(spec.classes)} if spec.is_classification and not binary else {}),
        "seed": spec.seed,
        "num_threads": spec.threads,
        # Together with a fixed number of threads: the same spec gives the same trees.
        "deterministic": True,
        "force_row_wise": True,
        "verbosity": -1,
    }


def _take_number(params: dict, aliases: tuple[str, ...], default: int) -> int:
    given = [name for name in aliases if name in params]
    if len(given) > 1:
        raise InputError(f"params has {' and '.join(given)}, which mean the same; keep one")
    if not given:
        return default
    value = params.pop(given[0])
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != int(value) or value < 0:
        raise InputError(f"params.{given[0]} is {value!r}; it must be a whole number of at least 0")
    return int(value)


def _report(spec: Spec, metrics: Metrics, rounds: int):
    names = METRICS["binary-classification" if len(spec.classes) == 2 else spec.task]
    every = max(1, rounds // PROGRESS_LINES)

    def callback(env) -> None:
        step = env.iteration + 1
        if step % every == 0 or step == rounds:
            for _, name, value, _ in env.evaluation_result_list:
                metrics.write(step, names.get(name, name), value)

    # Before early stopping, which ends the round by an exception.
    callback.order = 10
    return callback


def _no_predictions(spec: Spec) -> np.ndarray:
    return np.empty((0, len(spec.classes))) if spec.is_classification else np.empty(0)


def _to_onnx(spec: Spec, encoding: Encoding, model: dict) -> bytes:
    graph = Graph(spec, encoding)
    trees = Trees()
    targets = model["num_tree_per_iteration"]
    for info in model["tree_info"]:
        trees.start_tree()
        _add_node(trees, info["tree_structure"], trees.allocate(), info["tree_index"] % targets)
    return graph.finish(trees.add_to(graph, graph.features(), targets), raw_is_double=False)


def _add_node(trees: Trees, root: dict, root_id: int, target: int) -> None:
    # Not recursive: a tree without a depth limit can be deeper than Python's stack.
    pending = [(root, root_id)]
    while pending:
        node, node_id = pending.pop()
        if "split_feature" not in node:
            trees.leaf(node_id, target, float(node["leaf_value"]))
            continue
        left, right = trees.allocate(), trees.allocate()
        feature = node["split_feature"]
        if node["decision_type"] == "==":
            trees.one_of(node_id, feature, [float(code) for code in node["threshold"].split("||")], left, right)
        else:
            threshold = float(node["threshold"])
            # Without missing values in training LightGBM reads NaN as zero.
            missing_left = node["default_left"] if node["missing_type"] == "NaN" else threshold >= 0.0
            trees.at_most(node_id, feature, threshold, left, right, missing_left)
        pending += [(node["right_child"], right), (node["left_child"], left)]


if __name__ == "__main__":
    main(train)
