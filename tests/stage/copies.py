"""What Redis holds under some names, kept and put back: a snapshot without a restart."""

from typing import cast

import redis

Copy = dict[bytes, bytes]


def copy_of(store: redis.Redis, pattern: str = "*") -> Copy:
    """The keys that match, as DUMP gives them."""
    return {name: cast(bytes, store.dump(name)) for name in store.scan_iter(match=pattern)}


def put_back(store: redis.Redis, copy: Copy, pattern: str = "*") -> None:
    """The keys that match are as in the copy again, and no others."""
    for name in store.scan_iter(match=pattern):
        store.delete(name)
    for name, value in copy.items():
        store.restore(name, 0, value)
