"""Partitions that have begun already go on where the board says, whatever `--from` asks for: this says so."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..consumer.config import Settings

NAMED = 5  # of thousands, some are enough to know which are meant


def goes_on(settings: "Settings") -> str:
    """A warning that names the topic's partitions that the board has an offset of; empty if there is none."""
    from ..consumer.board import key, read_offsets
    from ..consumer.internal import rekeyed
    from ..consumer.run import connect

    topics, board = settings.topics, settings.board.name or settings.stream
    names = (rekeyed(topics.name),) if settings.rekey else topics.now()
    with connect(settings) as client:
        offsets = {name: at for name, at in read_offsets(client, board).items() if name.rpartition("/")[0] in names}
    return warning_of(offsets, key(board, "offsets")) if offsets else ""


def warning_of(offsets: Mapping[str, int], where: str) -> str:
    """What to say of such partitions, and how to begin anew.

    >>> print(warning_of({"alerts/0": 1200}, "skim:{ztf}:offsets"))
    --from holds for partitions never read before, and these go on from the board's offsets: alerts/0 (1,200).
      To begin anew: stop all workers of the stream, redis-cli HDEL 'skim:{ztf}:offsets' alerts/0, and start again
    """
    names = sorted(offsets, key=lambda name: int(name.rpartition("/")[2]))
    told = ", ".join(f"{name} ({offsets[name]:,})" for name in names[:NAMED])
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"--from holds for partitions never read before, and these go on from the board's offsets: {told}{more}.\n"
        f"  To begin anew: stop all workers of the stream, redis-cli HDEL '{where}' {' '.join(names)}, and start again"
    )
