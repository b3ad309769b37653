"""What the finished dashboards ask: every query of every panel, with the variables filled in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Asked:
    """A query of a panel: its PromQL with variables in it, and how the series are to be called."""

    panel: str
    expression: str
    legend: str
    instant: bool = False

    def filled(self, rate: str = "1m", span: str = "5m") -> str:
        """PromQL over all streams and workers: rates over `rate`, increases over `span`.

        >>> Asked("", 'x{stream=~"$stream"}[$__range]', "").filled()
        'x{stream=~".*"}[5m]'
        """
        values = {"$__rate_interval": rate, "$__range": span, "$stream": ".*", "$instance": ".*"}
        text = self.expression
        for variable, value in values.items():
            text = text.replace(variable, value)
        return text


def queries(board: Mapping[str, Any]) -> Iterator[Asked]:
    """All of a dashboard's, in its order; `board` is its JSON."""
    return (asked for _, all_of_it in queries_by_panel(board) for asked in all_of_it)


def queries_by_panel(board: Mapping[str, Any]) -> Iterator[tuple[int, list[Asked]]]:
    """The same with the numbers of the panels."""
    for panel in board["panels"]:
        targets = panel.get("targets", ())
        yield (
            panel["id"],
            [Asked(panel["title"], one["expr"], one["legendFormat"], one.get("instant", False)) for one in targets],
        )
