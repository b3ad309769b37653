"""The shapes that are injected: finite, never negative, the published forms, and the same wherever the clock stands."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skimstream.producer.shapes import (
    GREEN,
    NOTHING,
    SHAPES,
    Array,
    Ints,
    UnknownShape,
    bazin,
    disruption,
    flare,
    flux,
    outburst,
    paczynski,
    shapes_of,
)

names = st.sampled_from(sorted(SHAPES))
seeds = st.integers(0, 2**32)


def cadence(seed: int, spread: float = 30.0) -> tuple[Array, Ints, Array]:
    rng = np.random.default_rng(seed)
    days = np.append(np.sort(rng.uniform(-spread, spread / 10, 40)), 0.0)
    fid = rng.integers(1, 4, 41)
    return days, fid, np.where(fid == GREEN, 3.0, 10.0)


@given(names, seeds, st.sampled_from([0.1, 30.0, 3_000.0, 1e6]))
def test_a_shape_is_finite_and_never_negative(name: str, seed: int, spread: float) -> None:
    added = SHAPES[name].draw(np.random.default_rng(seed))(*cadence(seed, spread))
    assert added.shape == (41,)
    assert np.isfinite(added).all()
    assert (added >= 0).all()


@given(names, seeds)
def test_a_shape_doesnt_depend_on_when_it_is_looked_at(name: str, seed: int) -> None:
    """The same object seen by another cadence, or in another order, has the same flux at the same times."""
    days, fid, star = cadence(seed)
    curve = SHAPES[name].draw(np.random.default_rng(seed))
    order = np.random.default_rng(seed).permutation(len(days))
    assert curve(days[order], fid[order], star[order]).tolist() == curve(days, fid, star)[order].tolist()
    again = SHAPES[name].draw(np.random.default_rng(seed))
    assert again(days, fid, star).tolist() == curve(days, fid, star).tolist()


@given(st.integers(-240, 240).map(lambda quarters: quarters / 4), st.floats(1, 6), st.floats(15, 40))
def test_forms_move_with_their_epoch(epoch: float, rise: float, fall: float) -> None:
    days = np.linspace(-100, 100, 401)
    forms: list[Callable[[Array], Array]] = [
        lambda since: bazin(since, rise, fall),
        lambda since: disruption(since, rise, fall),
        lambda since: outburst(since, rise / 6, 5.0, 0.1, fall / 2),
        flare,
    ]
    for form in forms:
        assert form((days + 40.0) - (epoch + 40.0)).tolist() == form(days - epoch).tolist()  # quarters are exact


def test_the_published_forms() -> None:
    days = np.linspace(-100, 300, 400_001)
    curve = bazin(days, 4.0, 25.0)
    assert curve.max() == pytest.approx(1.0, abs=1e-6)
    assert days[curve.argmax()] == pytest.approx(4.0 * np.log(25 / 4 - 1), abs=1e-3)  # Bazin et al., below eq. 1
    assert paczynski(np.array([1.0]))[0] == pytest.approx(3 / np.sqrt(5))  # one Einstein radius
    late = disruption(np.array([1e5, 1e6]), 10.0, 30.0)
    assert np.log10(late[1] / late[0]) == pytest.approx(-5 / 3, abs=1e-3)
    width = np.linspace(-1, 5, 60_001)
    above = width[flare(width) >= 0.5]
    assert above[-1] - above[0] == pytest.approx(1.0, abs=0.1)  # its unit is about the width at half maximum
    assert flare(np.array([-1.0001, 0.0])).tolist() == [0.0, 1.0]
    assert outburst(np.array([-1.0, 1.0, 40.0]), 1.0, 5.0, 0.1, 14.0).tolist() == [0.0, 5.0, 0.0]
    assert flux(20.0) == 1.0


def test_shapes_look_like_what_they_are_called() -> None:
    days, green, red = np.linspace(-30, 0, 3001), np.ones(3001, np.int64), np.full(3001, 2)
    star = np.full(3001, 10.0)
    for seed in range(20):
        drawn = {name: shape.draw(np.random.default_rng(seed)) for name, shape in SHAPES.items()}
        assert drawn["supernova"](days, red, star).max() <= flux(17.0)
        assert (drawn["tde"](days, green, star) > drawn["tde"](days, red, star)).all()  # blue at all times
        assert drawn["flare"](days, red, star).tolist() == drawn["flare"](days, green, star / 3.3).tolist()
        assert np.count_nonzero(drawn["flare"](days, red, star) > 0) < 300  # hours, not days
        assert np.flatnonzero(drawn["artefact"](days, red, star)).tolist() == [3000]
        assert drawn["microlensing"](days, red, 0 * star).max() == 0.0  # nothing to magnify
        assert drawn["cv-outburst"](days, red, star)[0] == 0.0
    assert NOTHING.draw(np.random.default_rng(1))(days, red, star).max() == 0.0


def test_shapes_by_name() -> None:
    assert list(shapes_of("flare,tde,flare")) == ["flare", "tde"]
    with pytest.raises(UnknownShape, match="no shape 'kilonova'; choose from supernova, cv-outburst, micro") as raised:
        shapes_of("flare,kilonova")
    assert raised.value.name == "kilonova"
