"""A batch cut in parts loses nothing, repeats nothing, and keeps everything of a message together."""

from collections.abc import Sequence

from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from skimstream.consumer.address import Address
from skimstream.consumer.batch import Batch, headers_of

GAPS = st.lists(st.integers(0, 3), min_size=1, max_size=12)


def made(start: int, gaps: Sequence[int], keyed: bool, more: int) -> Batch:
    """Messages whose offsets leave gaps; everything of the message at offset n says n."""
    offsets, at = [], start
    for gap in gaps:
        offsets.append(at + gap)
        at += gap + 1
    said = [b"%d" % offset for offset in offsets]
    return Batch(
        Address("t", 0),
        start,
        at + more,
        offsets,
        list(said),
        list(offsets),
        [b"key " + one for one in said] if keyed else None,
        [[("n", one)] for one in said] if keyed else None,
        [Message(key=b"key " + one, headers=[("n", one)]) for one in said],
    )


def consistent(batch: Batch) -> bool:
    """Whether each message still has its own value, time, key and headers, and the stretch holds them all."""
    for i, offset in enumerate(batch.offsets):
        said = b"%d" % offset
        assert (batch.values[i], batch.timestamps[i]) == (said, offset)
        assert batch.origin(i) == (b"key " + said, [("n", said)])
    every = [batch.keys, batch.headers, batch.messages]
    assert all(one is None or len(one) == len(batch.offsets) for one in every)
    return all(batch.first <= offset < batch.following for offset in batch.offsets)


@given(GAPS, st.booleans(), st.integers(0, 2), st.integers(-5, 60))
def test_split_parts_a_batch_at_any_offset(gaps: list[int], keyed: bool, more: int, at: int) -> None:
    batch = made(10, gaps, keyed, more)
    before, after = batch.split(at)
    assert (before.first, before.following, after.following) == (batch.first, after.first, batch.following)
    assert batch.first <= after.first <= batch.following
    assert before.offsets + after.offsets == batch.offsets
    assert all(offset < at for offset in before.offsets)
    assert all(offset >= at for offset in after.offsets)
    assert consistent(before)
    assert consistent(after)
    assert {before.keys is None, after.keys is None} == {not keyed}


def test_a_batch_without_its_messages_still_works() -> None:
    batch = Batch(Address("t", 0), 0, 1, [0], [b"x"], [0])
    assert batch.origin(0) == (None, None)
    assert batch.split(0)[1].values == [b"x"]


def test_headers_that_the_client_cannot_give_are_none() -> None:
    class Broken(Message):
        def headers(self) -> None:
            raise SystemError("returned a result with an exception set")

    assert headers_of(Broken()) is None
    assert headers_of(Message()) is None
