"""scikit-learn's models: `python -m refit_trainers.sklearn`, with `params.estimator` saying which.

linear (default): logistic or ridge regression over scaled numbers and one-hot categories.
hist_gradient_boosting: histogram gradient boosting, with string features as native categoricals.
"""

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, root_mean_squared_error
from threadpoolctl import threadpool_limits

from .data import UNKNOWN_CODE, Encoding, Rows
from .graph import Graph, Trees
from .runner import Metrics, Trained, main
from .spec import InputError, Spec

# scikit-learn's own limit; a feature with more categories is taken as a number by its code.
MAX_CATEGORIES = 255


def train(spec: Spec, encoding: Encoding, rows: Rows, validation: Rows, metrics: Metrics) -> Trained:
    params = dict(spec.params)
    estimator = params.pop("estimator", "linear")
    fit = {"linear": _linear, "hist_gradient_boosting": _boosting}.get(estimator)
    if fit is None:
        raise InputError(f"params.estimator is {estimator!r}; it must be linear or hist_gradient_boosting")
    for name in ("random_state", "n_jobs", "categorical_features", "early_stopping", "class_weight"):
        if name in params:
            raise InputError(f"params.{name} is set by Refit; leave it out")
    with threadpool_limits(spec.threads):
        trained = fit(spec, encoding, rows, validation.values, params)
    if len(validation.labels) > 0:
        if spec.is_classification:
            labels = list(range(len(spec.classes)))
            metrics.write(1, "log_loss", log_loss(validation.labels, trained.predictions, labels=labels))
        else:
            metrics.write(1, "rmse", root_mean_squared_error(validation.labels, trained.predictions))
    return trained


def _require_all_classes(spec: Spec, labels: np.ndarray) -> None:
    seen = set(np.unique(labels).astype(int))
    absent = [name for index, name in enumerate(spec.classes) if index not in seen]
    if absent:
        raise InputError(f"the train rows have no example of the classes {', '.join(absent)}")


def _make(kind: type, params: dict, **fixed):
    try:
        return kind(**params, **fixed)
    except TypeError as error:
        raise InputError(f"params: {error}") from error


def _linear(spec: Spec, encoding: Encoding, rows: Rows, validation: np.ndarray, params: dict) -> Trained:
    design = _Design(spec, encoding, rows.values)
    if spec.is_classification:
        _require_all_classes(spec, rows.labels)
        model = _make(LogisticRegression, {"max_iter": 500, **params}, random_state=spec.seed)
    else:
        model = _make(Ridge, params, random_state=spec.seed)
    model.fit(design.expand(rows.values), rows.labels)
    graph = Graph(spec, encoding)
    weights = np.atleast_2d(model.coef_).T
    onnx = graph.finish(design.to_graph(graph, weights, np.atleast_1d(model.intercept_)), raw_is_double=True)
    if len(validation) == 0:
        return Trained(onnx, np.empty((0, len(spec.classes))) if spec.is_classification else np.empty(0))
    expanded = design.expand(validation)
    predictions = model.predict_proba(expanded) if spec.is_classification else model.predict(expanded)
    return Trained(onnx, predictions)


class _Design:
    """The columns of a linear model: numbers with the median for missing ones, scaled; one column a category."""

    def __init__(self, spec: Spec, encoding: Encoding, values: np.ndarray):
        self.spec = spec
        self.widths = [len(encoding.categories.get(one.name, ())) for one in spec.features]
        self.medians, self.means, self.scales = [], [], []
        for index in range(len(spec.features)):
            column = values[:, index]
            known = column[~np.isnan(column)]
            median = float(np.median(known)) if len(known) > 0 else 0.0
            filled = np.where(np.isnan(column), median, column)
            self.medians.append(median)
            self.means.append(float(filled.mean()))
            # A constant column has no scale; it is zero after centring whatever it is divided by.
            self.scales.append(float(filled.std()) or 1.0)

    def expand(self, values: np.ndarray) -> np.ndarray:
        blocks = []
        for index, one in enumerate(self.spec.features):
            column = values[:, index]
            if one.type == "string":
                blocks.append((column[:, None] == np.arange(self.widths[index])[None, :]).astype(np.float64))
            else:
                filled = np.where(np.isnan(column), self.medians[index], column)
                blocks.append(((filled - self.means[index]) / self.scales[index])[:, None])
        return np.hstack(blocks)

    def to_graph(self, graph: Graph, weights: np.ndarray, intercept: np.ndarray) -> str:
        total = graph.constant(intercept.reshape(1, -1).astype(np.float64))
        place = 0
        for index, one in enumerate(self.spec.features):
            source = graph.feature(one.name, one.type)
            if one.type == "string":
                steps = graph.constant(np.arange(self.widths[index], dtype=np.float64).reshape(1, -1))
                # An unknown category equals none: its row is zeros, as in `expand`.
                column = graph.add("Cast", [graph.add("Equal", [source, steps])], to=11)
                width = self.widths[index]
            else:
                missing = graph.add("IsNaN", [source])
                filled = graph.add("Where", [missing, graph.constant(np.array([[self.medians[index]]])), source])
                centred = graph.add("Sub", [filled, graph.constant(np.array([[self.means[index]]]))])
                column = graph.add("Div", [centred, graph.constant(np.array([[self.scales[index]]]))])
                width = 1
            block = graph.constant(np.ascontiguousarray(weights[place : place + width], dtype=np.float64))
            total = graph.add("Add", [total, graph.add("MatMul", [column, block])])
            place += width
        return total


def _boosting(spec: Spec, encoding: Encoding, rows: Rows, validation: np.ndarray, params: dict) -> Trained:
    categorical = [
        one.type == "string" and len(encoding.categories[one.name]) <= MAX_CATEGORIES for one in spec.features
    ]
    fixed = {"random_state": spec.seed, "early_stopping": False, "categorical_features": categorical}
    if spec.is_classification:
        _require_all_classes(spec, rows.labels)
        model = _make(HistGradientBoostingClassifier, params, **fixed)
    elif params.get("loss", "squared_error") not in ("squared_error", "absolute_error", "quantile"):
        raise InputError("params.loss must be squared_error, absolute_error or quantile")
    else:
        model = _make(HistGradientBoostingRegressor, params, **fixed)
    model.fit(_missing_for_unknown(rows.values, categorical), rows.labels)
    onnx = _boosting_to_onnx(spec, encoding, model, categorical)
    if len(validation) == 0:
        return Trained(onnx, np.empty((0, len(spec.classes))) if spec.is_classification else np.empty(0))
    known = _missing_for_unknown(validation, categorical)
    return Trained(onnx, model.predict_proba(known) if spec.is_classification else model.predict(known))


def _missing_for_unknown(values: np.ndarray, categorical: list[bool]) -> np.ndarray:
    values = values.copy()
    for index, is_categorical in enumerate(categorical):
        if is_categorical:
            values[values[:, index] == UNKNOWN_CODE, index] = np.nan
    return values


def _boosting_to_onnx(spec: Spec, encoding: Encoding, model, categorical: list[bool]) -> bytes:
    graph = Graph(spec, encoding)
    trees = Trees()
    # scikit-learn moves categorical features to the front while it trains.
    order = [index for index, one in enumerate(categorical) if one]
    order += [index for index, one in enumerate(categorical) if not one]
    targets = len(model._predictors[0])
    for iteration in model._predictors:
        for target, predictor in enumerate(iteration):
            trees.start_tree()
            ids = [trees.allocate() for _ in predictor.nodes]
            for place, node in enumerate(predictor.nodes):
                _add_node(trees, predictor, ids, ids[place], node, order, target, encoding, spec)
    raw = trees.add_to(graph, graph.features(), targets, np.ravel(model._baseline_prediction))
    return graph.finish(raw, raw_is_double=False)


def _add_node(trees: Trees, predictor, ids, place, node, order, target, encoding: Encoding, spec: Spec) -> None:
    if node["is_leaf"]:
        trees.leaf(place, target, float(node["value"]))
        return
    feature = order[node["feature_idx"]]
    left, right, missing_left = ids[node["left"]], ids[node["right"]], bool(node["missing_go_to_left"])
    if not node["is_categorical"]:
        trees.at_most(place, feature, float(node["num_threshold"]), left, right, missing_left)
        return
    bits = predictor.raw_left_cat_bitsets[node["bitset_idx"]]
    categories = range(len(encoding.categories[spec.features[feature].name]))
    codes = [float(code) for code in categories if (int(bits[code // 32]) >> (code % 32)) & 1]
    trees.one_of(place, feature, ([UNKNOWN_CODE] if missing_left else []) + codes, left, right)


if __name__ == "__main__":
    main(train)
