import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from skimstream.scoring.counting import count_below, count_up_to

NUMBERS = st.floats(allow_nan=False, width=16)


@settings(deadline=None, max_examples=300)
@given(st.lists(NUMBERS, max_size=70), st.integers(0, 70), NUMBERS)
def test_it_counts_as_numpy_does(numbers: list[float], held: int, x: float) -> None:
    ordered = np.sort(np.array(numbers, np.float64))
    held = min(held, len(ordered))
    for value in (x, *numbers[:5]):
        assert count_below(ordered, held, value) == np.searchsorted(ordered[:held], value, side="left")
        assert count_up_to(ordered, held, value) == np.searchsorted(ordered[:held], value, side="right")
