"""The ONNX graph: one named input for each feature, then a model over their doubles, then the output that Refit reads.

Written node by node rather than by a converter: names, order and producer are fixed, so that the same training gives the
same bytes, and thresholds stay doubles, so that no row falls on another side than it did in training.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .data import UNKNOWN_CODE, Encoding
from .spec import Spec

ML = "ai.onnx.ml"
OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid(ML, 3)]
IR_VERSION = 9
INPUT_TYPES = {
    "float64": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "string": TensorProto.STRING,
    "bool": TensorProto.BOOL,
}
# Features may have any name; names within the graph must not meet them.
PREFIX = "refit::"


class Graph:
    def __init__(self, spec: Spec, encoding: Encoding):
        self.spec = spec
        self.encoding = encoding
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def add(self, operator: str, inputs: list[str], domain: str = "", **attributes) -> str:
        name = f"{PREFIX}{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def constant(self, values: np.ndarray) -> str:
        name = f"{PREFIX}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def feature(self, name: str, kind: str) -> str:
        """One feature as doubles [N, 1]; a string as its code."""
        source = name
        if kind == "string":
            categories = self.encoding.categories[name]
            source = self.add(
                "LabelEncoder",
                [name],
                domain=ML,
                keys_strings=list(categories),
                values_floats=[float(code) for code in range(len(categories))],
                default_float=UNKNOWN_CODE,
            )
        return self.add("Cast", [source], to=TensorProto.DOUBLE)

    def features(self) -> str:
        """All features as doubles [N, F], in the order of the spec."""
        return self.add("Concat", [self.feature(one.name, one.type) for one in self.spec.features], axis=1)

    def finish(self, raw: str, raw_is_double: bool) -> bytes:
        """`raw` is [N, 1] for two classes and regression, [N, classes] else."""
        spec = self.spec
        if spec.is_classification and len(spec.classes) == 2:
            one = self.constant(np.array([1], np.float64 if raw_is_double else np.float32))
            positive = self.add("Sigmoid", [raw])
            result = self.add("Concat", [self.add("Sub", [one, positive]), positive], axis=1)
        else:
            result = self.add("Softmax", [raw], axis=1) if spec.is_classification else raw
        output, width = ("probabilities", len(spec.classes)) if spec.is_classification else ("prediction", 1)
        self.nodes.append(helper.make_node("Cast", [result], [output], name=PREFIX + output, to=TensorProto.FLOAT))
        graph = helper.make_graph(
            self.nodes,
            "refit",
            [helper.make_tensor_value_info(one.name, INPUT_TYPES[one.type], ["N", 1]) for one in spec.features],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", width])],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=OPSETS, ir_version=IR_VERSION, producer_name="refit")
        onnx.checker.check_model(model)
        return model.SerializeToString(deterministic=True)


class Trees:
    """Gathers the nodes of a tree ensemble; an ensemble is added to the graph at the end."""

    def __init__(self) -> None:
        self.columns: dict[str, list] = {
            name: []
            for name in ("treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids", "missing")
        }
        self.leaves: dict[str, list] = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
        self.tree = -1
        self.next_node = 0

    def start_tree(self) -> None:
        self.tree += 1
        self.next_node = 0

    def allocate(self) -> int:
        self.next_node += 1
        return self.next_node - 1

    def leaf(self, node: int, target: int, weight: float) -> None:
        self._node(node, 0, "LEAF", 0.0, 0, 0, False)
        for name, value in (("treeids", self.tree), ("nodeids", node), ("ids", target), ("weights", weight)):
            self.leaves[name].append(value)

    def at_most(self, node: int, feature: int, threshold: float, left: int, right: int, missing_left: bool) -> None:
        self._node(node, feature, "BRANCH_LEQ", threshold, left, right, missing_left)

    def one_of(self, node: int, feature: int, codes: list[float], left: int, right: int) -> None:
        """A set as a chain of equalities that share their true branch; the runtime folds such a chain into one test."""
        for place, code in enumerate(codes):
            following = right if place == len(codes) - 1 else self.allocate()
            self._node(node, feature, "BRANCH_EQ", float(code), left, following, False)
            node = following

    def _node(self, node: int, feature: int, mode: str, value: float, true: int, false: int, missing: bool) -> None:
        row = (self.tree, node, feature, mode, value, true, false, int(missing))
        for column, entry in zip(self.columns.values(), row, strict=True):
            column.append(entry)

    def add_to(self, graph: Graph, features: str, targets: int, base: np.ndarray | None = None) -> str:
        """The sums of the trees, [N, targets], as floats: the operator adds in double and answers in float."""
        # By tree and then by node, as the runtime expects: the first node of a tree is its root.
        order = sorted(range(len(self.columns["nodeids"])), key=self._place)
        of = {name: [column[place] for place in order] for name, column in self.columns.items()}
        doubles = lambda name, values: helper.make_tensor(name, TensorProto.DOUBLE, [len(values)], values)  # noqa: E731
        base_values = {} if base is None else {"base_values_as_tensor": doubles("base_values", list(base))}
        return graph.add(
            "TreeEnsembleRegressor",
            [features],
            domain=ML,
            n_targets=targets,
            nodes_treeids=of["treeids"],
            nodes_nodeids=of["nodeids"],
            nodes_featureids=of["featureids"],
            nodes_modes=of["modes"],
            nodes_values_as_tensor=doubles("nodes_values", of["values"]),
            nodes_truenodeids=of["truenodeids"],
            nodes_falsenodeids=of["falsenodeids"],
            nodes_missing_value_tracks_true=of["missing"],
            target_treeids=self.leaves["treeids"],
            target_nodeids=self.leaves["nodeids"],
            target_ids=self.leaves["ids"],
            target_weights_as_tensor=doubles("target_weights", self.leaves["weights"]),
            **base_values,
        )

    def _place(self, index: int) -> tuple[int, int]:
        return self.columns["treeids"][index], self.columns["nodeids"][index]
