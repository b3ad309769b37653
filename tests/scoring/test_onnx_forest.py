import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx.reference
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.scoring import onnx_forest
from skimstream.scoring.errors import ModelError
from skimstream.scoring.forest import Forest
from skimstream.scoring.onnx_forest import read_onnx
from stage.onnx_trees import Ranges, attributes, evaluate, forest, graph, to_bytes

WIDTH = 5
RANGES: Ranges = [(-1.0, 1.0)] * WIDTH
TREES = forest(1, RANGES)
SMALL = [(0, 0.5, -0.25, (1, 0.0, 0.5, 1.0)), (1, 0.25, 2.0, 3.0)]


def rows(count: int = 400, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Rows, a third of whose cells lie on a threshold."""
    rng = np.random.default_rng(seed)
    thresholds = np.array(attributes(TREES)["nodes_values"])
    X = rng.uniform(-1.2, 1.2, (count, WIDTH))
    on = rng.random(X.shape) < 0.3
    X[on] = rng.choice(thresholds, int(on.sum()))
    return X


def test_scores_are_the_graphs_to_the_last_bit() -> None:
    read = read_onnx(to_bytes(TREES, WIDTH), "a")
    X = rows()
    np.testing.assert_array_equal(read.score_samples(X), [evaluate(TREES, row) for row in X])
    np.testing.assert_array_equal(read.anomaly(X), -read.score_samples(X))
    assert (read.kind, read.n_features, read.n_trees) == ("additive", WIDTH, len(TREES))


def test_onnx_itself_agrees() -> None:
    data = to_bytes(TREES, WIDTH)
    X = rows(100)
    runtime = onnx.reference.ReferenceEvaluator(onnx.load_from_string(data))
    (theirs,) = runtime.run(None, {"X": X.astype(np.float32)})
    np.testing.assert_allclose(read_onnx(data, "a").score_samples(X), np.asarray(theirs, np.float64)[:, 0], atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), depth=st.integers(1, 9), count=st.integers(1, 8))
def test_nodes_may_stand_in_any_order_under_any_ids(seed: int, depth: int, count: int) -> None:
    trees = forest(seed, RANGES, count, depth)
    read = read_onnx(to_bytes(trees, WIDTH, np.random.default_rng(seed)), "a")
    X = rows(20, seed)
    np.testing.assert_array_equal(read.score_samples(X), [evaluate(trees, row) for row in X])


def test_a_saved_forest_scores_the_same() -> None:
    read = read_onnx(to_bytes(TREES, WIDTH), "a")
    np.testing.assert_array_equal(
        Forest.from_arrays(read.to_arrays()).score_samples(rows()), read.score_samples(rows())
    )


def test_a_weight_beyond_float32_is_no_weight() -> None:
    arrays = read_onnx(to_bytes(TREES, WIDTH), "a").to_arrays()
    for bad in (np.nan, np.inf, 1e39):
        with pytest.raises(ModelError, match="weights"):
            Forest.from_arrays(arrays | {"value": np.full_like(arrays["value"], bad)})


def changed(name: str, value: Any) -> Callable[[], bytes]:
    def make() -> bytes:
        data: bytes = graph(WIDTH, attributes(SMALL) | {name: value}).SerializeToString()
        return data

    return make


def edited(edit: Callable[[onnx.ModelProto], object]) -> Callable[[], bytes]:
    def make() -> bytes:
        model = graph(WIDTH, attributes(SMALL))
        edit(model)
        data: bytes = model.SerializeToString()
        return data

    return make


def elsewhere(model: onnx.ModelProto) -> None:
    """A tensor that lies in another file."""
    tensor = model.graph.initializer.add(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")


def second(model: onnx.ModelProto) -> None:
    model.graph.node.append(onnx.helper.make_node("Neg", ["score"], ["more"]))


GOOD = attributes(SMALL)
#: What can be wrong, and a word of what is said about it.
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "expected one TreeEnsembleRegressor"),
    "no protobuf": (lambda: b"\xff" * 100, "not an ONNX file"),
    "two operators": (edited(second), "has 2 operators"),
    "another operator": (edited(lambda m: setattr(m.graph.node[0], "op_type", "Neg")), "Neg"),
    "another domain": (edited(lambda m: setattr(m.graph.node[0], "domain", "mine")), "expected one"),
    "external data": (edited(elsewhere), "holds tensors"),
    "another input": (edited(lambda m: m.graph.node[0].input.append("Y")), "not the graph's"),
    "float64 rows": (edited(lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 11)), "not float32"),
    "too wide": (lambda: graph(10**6, GOOD).SerializeToString(), "not float32"),
    "an attribute twice": (edited(lambda m: m.graph.node[0].attribute.append(m.graph.node[0].attribute[0])), "twice"),
    "an unknown attribute": (edited(lambda m: m.graph.node[0].attribute.add(name="base_values")), "base_values"),
    "no nodes": (changed("nodes_treeids", [0][:0] or None), "nodes_treeids has 0"),
    "a list too short": (changed("nodes_featureids", GOOD["nodes_featureids"][1:]), "expected 8"),
    "no such mode": (changed("nodes_modes", ["BRANCH_GT", *GOOD["nodes_modes"][1:]]), "BRANCH_GT"),
    "no such feature": (changed("nodes_featureids", [WIDTH] * 8), "beyond the 5 features"),
    "a negative feature": (changed("nodes_featureids", [-1] * 8), "negative"),
    "a threshold of NaN": (changed("nodes_values", [float("nan")] * 8), "not finite"),
    "an infinite weight": (changed("target_weights", [float("inf")] * 5), "not finite"),
    "an id twice": (changed("nodes_nodeids", [0] * 8), "one id"),
    "an id too large": (changed("nodes_nodeids", [2**40] * 8), "exceeds"),
    "no such child": (changed("nodes_truenodeids", [9] * 8), "its tree does not have"),
    "two parents": (changed("nodes_truenodeids", GOOD["nodes_falsenodeids"]), "two parents"),
    "two answers": (changed("target_ids", [1] * 5), "several answers"),
    "two targets": (changed("n_targets", 2), "n_targets"),
    "another sum": (changed("aggregate_function", "MAX"), "aggregate_function"),
    "another transform": (changed("post_transform", "LOGISTIC"), "post_transform"),
    "a leaf without weight": (changed("target_nodeids", [GOOD["target_nodeids"][1]] * 5), "each once|does not have"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_what_is_wrong_is_said(wrong: str) -> None:
    make, word = BAD[wrong]
    with pytest.raises(ModelError, match=word) as caught:
        read_onnx(make(), "forest_g")
    assert caught.value.where == "forest_g"


def test_the_good_file_is_good() -> None:
    assert read_onnx(changed("n_targets", 1)(), "a").score_samples(np.array([[0.5, 0.25, 0, 0, 0]])) == -0.25 + 2.0


def test_a_cycle_beside_a_tree_is_seen() -> None:
    given = attributes([SMALL[0]])  # nodes 0 and 2 are inner; 0's children are 1 and 2
    cycle = {
        "nodes_treeids": [0] * 4,
        "nodes_nodeids": [5, 6, 7, 8],
        "nodes_modes": ["BRANCH_LEQ", "BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_featureids": [0] * 4,
        "nodes_values": [0.0] * 4,
        "nodes_truenodeids": [6, 5, 0, 0],
        "nodes_falsenodeids": [7, 8, 0, 0],
        "target_ids": [0] * 2,
        "target_treeids": [0] * 2,
        "target_nodeids": [7, 8],
        "target_weights": [1.0] * 2,
    }
    both = {name: given[name] + cycle[name] if name in cycle else given[name] for name in given}
    with pytest.raises(ModelError, match="cycle"):
        read_onnx(graph(WIDTH, both).SerializeToString(), "a")


def test_branches_that_meet_again_are_refused_before_paths_double() -> None:
    inner = 3  # with 60 of them there would be 2^60 paths
    given = {
        "nodes_treeids": [0] * (inner + 1),
        "nodes_nodeids": list(range(inner + 1)),
        "nodes_modes": ["BRANCH_LEQ"] * inner + ["LEAF"],
        "nodes_featureids": [0] * (inner + 1),
        "nodes_values": [0.0] * (inner + 1),
        "nodes_truenodeids": [*range(1, inner + 1), 0],
        "nodes_falsenodeids": [*range(1, inner + 1), 0],
        "target_ids": [0],
        "target_treeids": [0],
        "target_nodeids": [inner],
        "target_weights": [1.0],
    }
    with pytest.raises(ModelError, match="two parents"):
        read_onnx(graph(WIDTH, attributes(SMALL) | given).SerializeToString(), "a")


def test_a_chain_too_deep_is_refused() -> None:
    chain: Any = 1.0
    for _ in range(onnx_forest.MAX_DEPTH + 1):
        chain = (0, 0.0, 1.0, chain)
    assert read_onnx(to_bytes([chain[3]], WIDTH), "a").n_trees == 1
    with pytest.raises(ModelError, match="deeper"):
        read_onnx(to_bytes([chain], WIDTH), "a")


def test_files_and_forests_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    data = to_bytes(SMALL, WIDTH)
    monkeypatch.setattr(onnx_forest, "MAX_NODES", 7)
    with pytest.raises(ModelError, match="nodes_treeids has 8 ints, expected 1 to 7"):
        read_onnx(data, "a")
    monkeypatch.setattr(onnx_forest, "FILE_BYTES", len(data) - 1)
    with pytest.raises(ModelError, match="larger"):
        read_onnx(data, "a")


@settings(deadline=None, max_examples=300)
@given(seed=st.integers(0, 2**32 - 1))
def test_flipped_bits_and_lost_tails_give_a_forest_or_a_model_error(seed: int) -> None:
    dice = random.Random(seed)
    data = bytearray(to_bytes(SMALL, WIDTH))
    for _ in range(dice.randrange(4)):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
    data = data[: dice.randrange(len(data))] if dice.random() < 0.3 else data
    try:
        read = read_onnx(bytes(data), "a")
    except ModelError:
        return
    assert np.isfinite(read.score_samples(np.zeros((1, read.n_features)))).all()


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ModelError, match=r"skimstream\[onnx\]"):
        read_onnx(to_bytes(SMALL, WIDTH), "a")
