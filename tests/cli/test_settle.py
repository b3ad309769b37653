"""A worker's heap, once all is loaded."""

import gc

from skimstream.cli.run import settle


def test_what_is_loaded_is_not_looked_at_again() -> None:
    try:
        settle()
        assert gc.get_freeze_count() > 10_000  # numpy and numba alone are more
        assert len(gc.get_objects()) < gc.get_freeze_count() / 10
    finally:
        gc.unfreeze()
