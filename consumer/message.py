"""Alerts as people read them: what, how odd, why, where to look further."""

from collections.abc import Sequence
from typing import Any

from .channel import Message
from .links import links_of
from .picture import draw
from .rule import Record

# A digest names so many, the most anomalous first; the topic has them all.
NAMED = 20


def message_of(record: Record, rules: Sequence[str]) -> Message:
    """One alert; with a picture of its light curve, if it has one."""
    links = links_of(record["stream"], record["object"], record["candidate"])
    severity = f", {record['severity']}" if record.get("severity") else ""
    lines = [
        f"{_named(record)}{severity}, night {record['night']}",
        *_reasons(record),
        _fields(record["candidate"]),
        *(f"{name}: {link}" for name, link in links.items()),
        f"rule: {', '.join(rules)}; id {record['id']}; model {record['model']}",
    ]
    title = f"{record['stream']}: {record['object']} {_score(record)}"
    payload = {**record, "links": links}
    curve = record.get("lightcurve")
    return Message(
        record["id"],
        _plain(title),
        _text(lines),
        payload,
        lambda: draw(curve, f"{record['object']}  {record['night']}") if curve else None,
    )


def digest_message(records: Sequence[Record], rule: str) -> Message:
    """Many alerts of one rule, the most anomalous first; its id is that of the first to come."""
    ranked = sorted(records, key=lambda record: (-record["score"], -record["combined"], record["id"]))
    lines = [f"{_named(record)}: {'; '.join(_reasons(record)) or 'no reasons'}" for record in ranked[:NAMED]]
    if len(ranked) > NAMED:
        lines.append(f"… and {len(ranked) - NAMED} more")
    stream, first = ranked[0]["stream"], records[0]["id"]
    payload = {"id": f"digest/{first}", "kind": "digest", "stream": stream, "rule": rule, "alerts": list(ranked)}
    return Message(payload["id"], f"{stream}: {len(ranked)} alerts of {rule}", _text(lines), payload)


def summary_message(record: Record) -> Message:
    """The most anomalous objects of a night that is over."""
    stream, night = record["stream"], record["night"]
    median = "unknown" if record["median"] is None else f"{record['median']:.2f}"
    lines = [f"{record['scored']} events scored, their median score {median} (frozen part)"]
    for row in record["objects"]:
        nights = row["nights"]
        often = (
            f"in the top {len(record['objects'])} on {nights} of the last 90 nights"
            if nights > 1
            else "for the first time"
        )
        lines.append(f"{row['rank']}. {row['object']} {row['score']:.4f}, {often}")
        lines += [f"   {words}" for words in row["reasons"][:2]]
        lines += [f"   {link}" for link in list(links_of(stream, row["object"]).values())[:1]]
    return Message(record["id"], f"{stream}: the night of {night}", _text(lines), record)


def _text(lines: Sequence[str]) -> str:
    return "\n".join(_plain(line) for line in lines if line)


def _plain(line: str) -> str:
    """Text of streams is data: it begins no line and moves no cursor."""
    return "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in line)


def _named(record: Record) -> str:
    return f"{record['object']} {_score(record)}"


def _score(record: Record) -> str:
    likely = record.get("probability")
    return f"{record['score']:.4f}" + (f" (probability {likely:.2f})" if likely is not None else "")


def _reasons(record: Record) -> list[str]:
    return [reason["words"] for reason in record["reasons"]]


def _fields(candidate: Record) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in candidate.items() if value is not None)


def _short(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)
