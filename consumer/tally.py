"""What became of every message."""

from dataclasses import dataclass, field


@dataclass
class Tally:
    """consumed = scored + all unscored + all dead."""

    consumed: int = 0
    scored: int = 0
    unscored: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)

    def add(self, group: dict[str, int], reason: str, count: int = 1) -> None:
        """Count `count` more of one reason."""
        if count:
            group[reason] = group.get(reason, 0) + count
