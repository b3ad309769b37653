"""Small tree ensembles as nested tuples: what they say, evaluated plainly, and as the bytes of an ONNX file."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Tree = float | tuple[int, float, Any, Any]  # a leaf's weight, or feature, threshold, true branch, false branch
Ranges = Sequence[tuple[float, float]]  # where each feature's thresholds lie


def grow(rng: np.random.Generator, ranges: Ranges, depth: int) -> Tree:
    """A tree of random splits, up to so deep; weights and thresholds are float32's."""
    if depth == 0 or rng.random() < 0.1:
        return float(np.float32(rng.normal() / 100))
    feature = int(rng.integers(len(ranges)))
    threshold = float(np.float32(rng.uniform(*ranges[feature])))
    return feature, threshold, grow(rng, ranges, depth - 1), grow(rng, ranges, depth - 1)


def forest(seed: int, ranges: Ranges, trees: int = 30, depth: int = 6) -> Sequence[Tree]:
    """As many trees, each with a split at its root."""
    rng = np.random.default_rng(seed)
    grown = (grow(rng, ranges, depth) for _ in range(trees * 10))
    return [tree for tree in grown if isinstance(tree, tuple)][:trees]


def evaluate(trees: Iterable[Tree], row: NDArray[np.float64]) -> float:
    """The sum of the leaves that a row falls into, as ONNX has it: float32 x <= threshold is the true branch."""
    total, cells = 0.0, row.astype(np.float32)
    for node in trees:
        while isinstance(node, tuple):
            feature, threshold, yes, no = node
            node = yes if cells[feature] <= np.float32(threshold) else no
        total += node
    return total


def attributes(trees: Sequence[Tree], rng: np.random.Generator | None = None) -> dict[str, Any]:
    """The attributes of a TreeEnsembleRegressor; with `rng` the nodes stand in any order and have any ids."""
    nodes: list[tuple[int, int, Any]] = []  # tree, id, (feature, threshold, id, id) or weight
    for number, tree in enumerate(trees):
        queue, count = [(0, tree)], 1
        while queue:
            own, node = queue.pop()
            if isinstance(node, tuple):
                yes, no, count = count, count + 1, count + 2
                queue += [(yes, node[2]), (no, node[3])]
                nodes.append((number, own, (node[0], node[1], yes, no)))
            else:
                nodes.append((number, own, node))
    ids = np.arange(10_000)
    if rng is not None:
        ids = rng.permutation(ids)
        nodes = [nodes[i] for i in rng.permutation(len(nodes))]
    leaves = [node for node in nodes if isinstance(node[2], float)]
    inner = [node[2] if isinstance(node[2], tuple) else (0, 0.0, None, None) for node in nodes]
    return {
        "n_targets": 1,
        "nodes_treeids": [tree for tree, _, _ in nodes],
        "nodes_nodeids": [int(ids[own]) for _, own, _ in nodes],
        "nodes_modes": ["BRANCH_LEQ" if isinstance(node[2], tuple) else "LEAF" for node in nodes],
        "nodes_featureids": [feature for feature, _, _, _ in inner],
        "nodes_values": [threshold for _, threshold, _, _ in inner],
        "nodes_truenodeids": [0 if yes is None else int(ids[yes]) for _, _, yes, _ in inner],
        "nodes_falsenodeids": [0 if no is None else int(ids[no]) for _, _, _, no in inner],
        "post_transform": "NONE",
        "target_ids": [0 for _ in leaves],
        "target_treeids": [tree for tree, _, _ in leaves],
        "target_nodeids": [int(ids[own]) for _, own, _ in leaves],
        "target_weights": [weight for _, _, weight in leaves],
    }


def graph(width: int, given: dict[str, Any]) -> onnx.ModelProto:
    """A model of one TreeEnsembleRegressor with these attributes, over float32[n, width]."""
    node = onnx.helper.make_node("TreeEnsembleRegressor", ["X"], ["score"], domain="ai.onnx.ml", **given)
    rows = onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [None, width])
    score = onnx.helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, [None, 1])
    return onnx.helper.make_model(
        onnx.helper.make_graph([node], "trees", [rows], [score]),
        opset_imports=[onnx.helper.make_opsetid("ai.onnx.ml", 1), onnx.helper.make_opsetid("", 15)],
    )


def to_bytes(trees: Sequence[Tree], width: int, rng: np.random.Generator | None = None) -> bytes:
    """An ONNX file of these trees."""
    data: bytes = graph(width, attributes(trees, rng)).SerializeToString()
    return data
