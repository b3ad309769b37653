"""The fuzzer's target on its own corpus, without the fuzzer; and the corpus is what its maker writes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
FILE_BYTES, CORPUS_BYTES = 8 << 10, 300 << 10


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fuzz_{name}", FUZZ / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


target, seeds = load("target"), load("seeds")
FILES = sorted((FUZZ / "corpus/decode").iterdir())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_corpus_goes_through_the_target(file: Path) -> None:
    target.one_input(file.read_bytes())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_cut_of_a_small_input_goes_through_it_too(file: Path) -> None:
    data = file.read_bytes()
    for end in range(0, len(data), max(1, len(data) // 8)):
        target.one_input(data[:end])


def test_the_corpus_is_as_written() -> None:
    assert {file.name: file.read_bytes() for file in FILES} == seeds.good() | seeds.hostile()
    assert seeds.BETWEEN == target.BETWEEN
    assert all(file.stat().st_size < FILE_BYTES for file in FILES)
    assert sum(file.stat().st_size for file in FILES) < CORPUS_BYTES


@pytest.mark.parametrize(
    ("name", "framing"),
    [
        *((f"alert_{how}", "container") for how in ("container", "deflate")),
        *((f"small_{how}", "container") for how in ("container", "deflate", "snappy", "zstandard")),
        *((f"event_{how}", how) for how in ("plain", "confluent", "json", "bson")),
        ("event_hopskotch", "json"),
        ("odd_fallback", "container"),
    ],
)
def test_good_seeds_are_good(name: str, framing: str) -> None:
    """Or the fuzzer would start behind the first check."""
    wanted = target.BEHAVIOUR.wanted if name.startswith("event") else target.ZTF.wanted
    decoder = target.PLAIN if framing == "plain" else target.new(framing, wanted)
    assert len(target.check(decoder, [seeds.good()[name]]).index) == 1


@pytest.mark.parametrize("name", ["alert_key", "small_key"])
def test_good_keys_are_good(name: str) -> None:
    key, _, value = seeds.good()[name].rpartition(target.BETWEEN)
    assert len(target.check(target.new("key", target.ZTF.wanted), [value], [key]).index) == 1
