"""`skim models` on a real store: another model in force, one that looks on, and back again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner, Result

from skimstream.cli.main import app
from skimstream.cli.models import load_model
from skimstream.cli.table import top_table
from skimstream.consumer.board import key
from skimstream.consumer.bundles import Active, Bundles
from skimstream.schemas.errors import SkimError
from skimstream.scoring.errors import FeatureMismatch

OWN = load_model("behaviour", None)
OTHER = replace(OWN, units=("other", *OWN.units[1:]))
Skim = Callable[..., Result]


@pytest.fixture
def skim(store: redis.Redis, store_url: str, tmp_path: Path) -> Skim:
    """`skim models …` with two bundles in folders `own` and `other`."""
    OWN.save(tmp_path / "own")
    OTHER.save(tmp_path / "other")

    def run(verb: str, *arguments: str) -> Result:
        told = [str(tmp_path / one) if one in ("own", "other") else one for one in arguments]
        return CliRunner().invoke(app, ["models", verb, *told, "--redis", store_url])

    return run


def test_activating_shadowing_and_rolling_back(skim: Skim, store: redis.Redis) -> None:
    bundles = Bundles(store, "behaviour")
    assert skim("activate", "own").exit_code == 0
    assert skim("shadow", "other").exit_code == 0
    assert bundles.active() == Active(OWN.id, OTHER.id)
    store.hset(key("behaviour", "switches", "t/0"), mapping={"500": OWN.id, "90": "before"})
    listed = skim("list", "behaviour").stdout.splitlines()
    assert listed[0] == f"in force: {OWN.id}; shadow: {OTHER.id}"
    assert [line.split("  ")[1] for line in listed[1:3]] == [
        f"activate: {OWN.id}, shadow: none",
        f"shadow: {OWN.id}, shadow: {OTHER.id}",
    ]
    assert listed[3] == f"t/0: from 90 before, from 500 {OWN.id}"
    assert skim("activate", "other").exit_code == 0  # the one that looked on is in force now
    assert bundles.active() == Active(OTHER.id, "")
    assert OWN.id in skim("rollback", "behaviour").stderr
    assert "started with" in skim("rollback", "behaviour").stderr
    assert bundles.active() == Active("", "")
    again = skim("rollback", "behaviour")
    assert isinstance(again.exception, SkimError)
    assert "nothing to roll back to" in str(again.exception)
    skim("shadow", "own")
    assert skim("shadow", "--off", "behaviour").exit_code == 0
    assert bundles.active() == Active("", "")


def test_another_board_has_models_of_its_own(skim: Skim, store: redis.Redis) -> None:
    skim("activate", "own", "--board", "shop")
    assert Bundles(store, "shop").active().model == OWN.id
    assert Bundles(store, "behaviour").active().model == ""


def test_a_bundle_that_no_worker_could_use_is_not_put_in_force(skim: Skim, store: redis.Redis, tmp_path: Path) -> None:
    replace(OWN, stream="observation").save(tmp_path / "other")
    assert isinstance(skim("activate", "other").exception, FeatureMismatch)
    assert store.keys() == []
    assert skim("shadow").exit_code == 2
    assert skim("shadow", "own", "--off", "behaviour").exit_code == 2


def test_the_top_list_has_a_column_for_the_shadow_if_there_is_one() -> None:
    entry = {"rank": 1, "object": "u", "score": 0.5, "event": "e", "reasons": []}
    assert len(top_table("t", [entry]).columns) == 4
    assert len(top_table("t", [entry, {**entry, "shadow": {"score": None}}]).columns) == 5
