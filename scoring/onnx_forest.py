"""A tree ensemble in an ONNX file → a `Forest` with the graph's scores.

What is read: a graph of one `TreeEnsembleRegressor` (operator set ai.onnx.ml, versions 1 to 3) with one target, the
form in which coniferest saves its forests. A row goes to the true branch where float32 `x <= threshold`, which is
`Forest`'s rule; the leaves' weights are added in float64, where an ONNX runtime may add them in float32.

Nothing in the file is believed before it is checked, and nothing outside of it is ever opened: only attributes are
read, and a graph that has tensors, which may lie in other files, is refused.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ModelError
from .forest import MAX_FEATURES, MAX_STEPS, Forest

if TYPE_CHECKING:
    import onnx

Ints = NDArray[np.int64]

# Twice the largest one known (150 trees, 214,000 nodes, 7 MB). Parsing takes 16 times the size if all of it are
# numbers, and 80 times, 1.2 GB, if all of it are empty messages (both measured).
FILE_BYTES = 16 << 20
# As many nodes fit: a node takes 16 bytes of the file at least.
MAX_NODES = 1 << 20
# coniferest grows 12 levels; each costs a pass over the nodes here.
MAX_DEPTH = 256
# Of the attributes that the operator may have; any other changes what the trees mean.
NODES = ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")
TARGETS = ("treeids", "nodeids", "ids")
IGNORED = ("nodes_hitrates",)  # how often training came by
MODES = {b"LEAF", b"BRANCH_LEQ"}


def read_onnx(data: bytes, where: str) -> Forest:
    """The "additive" forest in the bytes of an ONNX file; `where` names it in errors.

    Raises `ModelError` if the package `onnx` is missing, or the file is damaged, or means anything but such a forest.
    """
    try:
        return Forest.from_arrays(_arrays(_graph(data)))
    except ModelError as error:
        raise ModelError(str(error), where=where) from error


def _graph(data: bytes) -> "onnx.GraphProto":
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise ModelError("reading ONNX needs a package more: pip install 'skimstream[onnx]'") from error
    if len(data) > FILE_BYTES:
        raise ModelError(f"larger than {FILE_BYTES} bytes")
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError(f"not an ONNX file: {error}") from error
    graph: onnx.GraphProto = model.graph
    if len(graph.node) != 1 or graph.node[0].op_type != "TreeEnsembleRegressor" or graph.node[0].domain != "ai.onnx.ml":
        kinds = ", ".join(repr(node.op_type[:40]) for node in graph.node[:5]) or "nothing"
        raise ModelError(f"has {len(graph.node)} operators ({kinds}), expected one TreeEnsembleRegressor alone")
    if graph.initializer or graph.sparse_initializer or model.functions:
        raise ModelError("holds tensors or functions: expected one TreeEnsembleRegressor alone")
    if list(graph.node[0].input) != [one.name for one in graph.input] or len(graph.input) != 1:
        raise ModelError("the operator's input is not the graph's")
    return graph


def _width(graph: "onnx.GraphProto") -> int:
    """How many features a row has: the input is float32[n, width]."""
    kind = graph.input[0].type.tensor_type
    dimensions = kind.shape.dim
    if kind.elem_type != 1 or len(dimensions) != 2 or not 1 <= dimensions[1].dim_value <= MAX_FEATURES:
        raise ModelError(f"the input is not float32[n, features], features 1 to {MAX_FEATURES}")
    return int(dimensions[1].dim_value)


class _Attributes:
    """The operator's attributes; `finish` refuses what nobody asked for."""

    def __init__(self, node: "onnx.NodeProto") -> None:
        self._given: dict[str, onnx.AttributeProto] = {one.name: one for one in node.attribute}
        if len(self._given) != len(node.attribute):
            raise ModelError("an attribute is there twice")

    def many(self, name: str, kind: str, length: int | None = None) -> Any:
        """The values of an attribute: `kind` is ints, floats or strings; as many as `length`, or 1 to MAX_NODES."""
        values = getattr(self._given.pop(name, None), kind, ())
        if not 0 < len(values) <= MAX_NODES or (length is not None and len(values) != length):
            raise ModelError(f"{name} has {len(values)} {kind}, expected {length or f'1 to {MAX_NODES}'}")
        return values

    def ints(self, name: str, length: int | None = None) -> Ints:
        """As `many`, int64[length], none negative."""
        values = np.array(self.many(name, "ints", length), np.int64)
        if values.min() < 0:
            raise ModelError(f"{name} has a negative number")
        return values

    def floats(self, name: str, length: int) -> NDArray[np.float32]:
        """As `many`, float32[length], all finite."""
        values = np.array(self.many(name, "floats", length), np.float32)
        if not np.isfinite(values).all():
            raise ModelError(f"{name} has a number that is not finite")
        return values

    def one(self, name: str, default: int | bytes) -> int | bytes:
        """A single value, which may be left out."""
        attribute = self._given.pop(name, None)
        if attribute is None:
            return default
        return attribute.i if isinstance(default, int) else attribute.s

    def has(self, name: str) -> bool:
        """Whether it is there, not yet taken."""
        return name in self._given

    def finish(self) -> None:
        """Raise unless all were taken."""
        unknown = [name for name in self._given if name not in IGNORED]
        if unknown:
            raise ModelError(f"attribute {unknown[0][:40]!r} is unknown to this reader")


def _arrays(graph: "onnx.GraphProto") -> Mapping[str, NDArray[Any]]:
    """What `Forest.from_arrays` takes, which checks features and weights once more."""
    width, given = _width(graph), _Attributes(graph.node[0])
    trees = given.ints("nodes_treeids")
    n = len(trees)
    nodes = {"treeids": trees} | {name: given.ints(f"nodes_{name}", n) for name in NODES[1:]}
    modes = given.many("nodes_modes", "strings", n)
    strange = set(modes) - MODES
    if strange:
        raise ModelError(f"nodes_modes has {sorted(strange)[0][:20]!r}, expected BRANCH_LEQ and LEAF only")
    leaf = np.fromiter((mode == b"LEAF" for mode in modes), np.bool_, n)
    threshold = given.floats("nodes_values", n)
    missing_true = np.zeros(n, np.int64)
    if given.has("nodes_missing_value_tracks_true"):
        missing_true = given.ints("nodes_missing_value_tracks_true", n)
    leaves = given.ints("target_treeids")
    targets = {"treeids": leaves} | {name: given.ints(f"target_{name}", len(leaves)) for name in TARGETS[1:]}
    weights = given.floats("target_weights", len(leaves))
    for name, only in (("n_targets", 1), ("post_transform", b"NONE"), ("aggregate_function", b"SUM")):
        if given.one(name, only) != only:
            raise ModelError(f"{name} is not {only!r}")
    given.finish()
    if targets["ids"].any():
        raise ModelError("target_ids are not all 0: a forest with several answers")
    if nodes["featureids"].max() >= width:
        raise ModelError(f"nodes_featureids goes beyond the {width} features of a row")

    key = _keys(trees, nodes["nodeids"])
    by_key = np.argsort(key, kind="stable")
    if (np.diff(key[by_key]) == 0).any():
        raise ModelError("two nodes of a tree have one id")
    inner = np.flatnonzero(~leaf)
    left = _find(key, by_key, _keys(trees[inner], nodes["truenodeids"][inner]), "nodes_truenodeids")
    right = _find(key, by_key, _keys(trees[inner], nodes["falsenodeids"][inner]), "nodes_falsenodeids")
    weighted = _find(key, by_key, _keys(leaves, targets["nodeids"]), "target_nodeids")
    if not np.array_equal(np.sort(weighted), np.flatnonzero(leaf)):
        raise ModelError("target_nodeids are not the leaves, each once")
    value = np.zeros(n)
    value[weighted] = weights

    order = _breadth_first(trees, inner, left, right)
    is_leaf = leaf[order]
    return {
        "kind": np.array("additive"),
        "n_features": np.array(width, np.int64),
        "takes_nan": np.array(False),
        "tree_sizes": np.unique(trees, return_counts=True)[1].astype(np.int64),
        "feature": np.where(is_leaf, -1, nodes["featureids"][order]).astype(np.int16),
        "threshold": np.where(is_leaf, np.float32(np.inf), threshold[order]).astype(np.float32),
        "missing_left": (missing_true[order] != 0) & ~is_leaf,
        "value": value[order].reshape(n, 1),
    }


def _keys(trees: Ints, ids: Ints) -> Ints:
    """One number for a tree and a node of it."""
    if max(trees.max(initial=0), ids.max(initial=0)) >= 2**31:
        raise ModelError("an id of a tree or node exceeds 2^31")
    return trees * 2**31 + ids


def _find(key: Ints, by_key: Ints, wanted: Ints, name: str) -> Ints:
    """The places in `key` of the wanted ones."""
    at = by_key[np.minimum(np.searchsorted(key, wanted, sorter=by_key), len(key) - 1)]
    if not np.array_equal(key[at], wanted):
        raise ModelError(f"{name} names a node that its tree does not have")
    return np.asarray(at, np.int64)


def _breadth_first(trees: Ints, inner: Ints, left: Ints, right: Ints) -> Ints:
    """The order of nodes that `Forest` wants: tree after tree, each level by level, siblings side by side.

    `left` and `right` are the children of the nodes `inner`. Raises `ModelError` unless every tree has one root, from
    which each of its nodes is reached in one way, and no tree is deeper than MAX_DEPTH.
    """
    n = len(trees)
    parents = np.bincount(np.concatenate([left, right]), minlength=n)
    roots = np.flatnonzero(parents == 0)
    roots = roots[np.argsort(trees[roots], kind="stable")]
    # Before anything is walked: where branches meet again, the paths double level by level.
    if parents.max() > 1 or not np.array_equal(trees[roots], np.unique(trees)):
        raise ModelError("a node has two parents, or a tree not one root")
    if len(roots) > MAX_STEPS:
        raise ModelError(f"has more than {MAX_STEPS} trees")
    child = np.full((n, 2), -1, np.int64)
    child[inner, 0], child[inner, 1] = left, right
    levels = [roots]
    while len(levels) <= MAX_DEPTH:
        below = child[levels[-1]].ravel()
        below = below[below >= 0]
        if not len(below):
            break
        levels.append(below)
    order = np.concatenate(levels)
    # With one parent each, no node is met twice; those in a cycle are never met.
    if len(order) != n:
        raise ModelError(f"a tree has a cycle, or is deeper than {MAX_DEPTH}")
    return order[np.argsort(trees[order], kind="stable")]
