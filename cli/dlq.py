"""`skim dlq`: the messages that could not be read, in `<topic>.dlq`."""

import json
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..schemas.errors import REASONS, SkimError

if TYPE_CHECKING:
    from ..consumer.letter import Letter, Place
    from ..consumer.letterbox import Entry, Survey

# So much of a message `show` prints: sixteen lines.
DUMPED = 256
NEVER_BY_ITSELF = "crash"

dlq = typer.Typer(help="Dead letters: list them, look at one, send them again.", no_args_is_help=True)

Topic = Annotated[str, typer.Argument(help="The topic that they came from; they are in <topic>.dlq.")]
Kafka = Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")]
Config = Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings.")]
Reason = Annotated[str | None, typer.Option(help=f"Only those of one reason: {', '.join(REASONS)}.")]


class NoSuchLetter(SkimError):
    """No dead letter came from there."""

    def __init__(self, topic: str, partition: int, offset: int) -> None:
        super().__init__(
            f"no dead letter of {topic}/{partition}/{offset}; `skim dlq list {topic}` shows those there are"
        )
        self.topic = topic
        self.partition = partition
        self.offset = offset


class NoBytes(SkimError):
    """A dead letter doesn't hold the message's bytes."""

    def __init__(self, place: "Place", problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Box:
    """One topic's dead letters."""

    topic: str
    options: Mapping[str, Any]

    @classmethod
    def of(cls, topic: str, kafka: str | None, config: Path | None) -> "Box":
        """As the settings say."""
        from ..consumer.config import load_settings
        from ..consumer.letter import SUFFIX
        from ..consumer.run import outgoing_options

        settings = load_settings(config, {"kafka": {"bootstrap": kafka}})
        if kafka and settings.outgoing.bootstrap:
            settings = load_settings(config, {"outgoing": {"bootstrap": kafka}})
        return cls(topic.removesuffix(SUFFIX), outgoing_options(settings))

    def survey(self) -> "Survey":
        """What there is."""
        from ..consumer.letter import SUFFIX
        from ..consumer.letterbox import survey
        from ..consumer.stored import stored

        return survey(stored(self.options, self.topic + SUFFIX))


@dlq.command("list")
def list_letters(
    topic: Topic,
    reason: Reason = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="The newest so many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    kafka: Kafka = None,
    config: Config = None,
) -> None:
    """List a topic's dead letters, and count them by reason.

    A worker that dies between a letter's delivery and its commit delivers it again; such repeats are shown once.
    """
    found = Box.of(topic, kafka, config).survey()
    chosen = sorted(
        (entry for entry in found.entries.values() if _known(reason) in (None, entry.reason)),
        key=lambda entry: (entry.place.timestamp, entry.place),
    )
    shown = chosen[-limit:]
    if as_json:
        for entry in shown:
            typer.echo(json.dumps(_as_json(entry)))
    elif shown:
        _print_table(shown)
    counts = ", ".join(f"{reason} {count}" for reason, count in found.reasons().items())
    typer.echo(_sentence(found, len(chosen) - len(shown)) + (f"\nby reason: {counts}" if counts else ""), err=True)


@dlq.command()
def show(
    topic: Topic,
    partition: Annotated[int, typer.Argument(min=0, help="The message's own partition …")],
    offset: Annotated[int, typer.Argument(min=0, help="… and offset, in the topic that it came from.")],
    came_from: Annotated[
        str | None,
        typer.Option("--from", help="That topic, where several share <topic>.dlq; else the latest of such."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the message's bytes to this file.")] = None,
    kafka: Kafka = None,
    config: Config = None,
) -> None:
    """Show one dead letter: why it is dead, its key and headers, and its first bytes."""
    from ..consumer.letterbox import letters

    box = Box.of(topic, kafka, config)
    there = [
        entry
        for entry in box.survey().entries.values()
        if entry.place[1:3] == (partition, offset) and came_from in (None, entry.place.topic)
    ]
    if not there:
        raise NoSuchLetter(box.topic, partition, offset)
    latest = max(there, key=lambda entry: entry.place.timestamp)  # the topic may have been made anew
    letter = next(letters(box.options, box.topic, {latest.at}))
    for name, text in _described(letter):
        typer.echo(f"{name:<12} {text}")
    for line in hexdump((letter.value or b"")[:DUMPED]):
        typer.echo(line)
    if len(letter.value or b"") > DUMPED:
        typer.echo(f"… {len(letter.value or b'') - DUMPED} bytes more; --out writes them all")
    if out is not None:
        if letter.value is None:
            raise NoBytes(letter.place, _without_bytes(letter))
        out.write_bytes(letter.value)


@dlq.command()
def replay(
    topic: Topic,
    reason: Reason = None,
    offset: Annotated[
        list[str] | None,
        typer.Option(help="Only this message, its place as `list` shows it, PARTITION/OFFSET; repeatable."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Send them all to this topic; each to its own if none.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Also those that were sent there before.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    kafka: Kafka = None,
    config: Config = None,
) -> None:
    """Send dead letters to their topic again, once they can be read (a new release, a schema that is known now).

    Bytes, key, headers and partition are the message's own; a header skimstream.replayed says where it stood. After
    delivery a receipt in <topic>.dlq remembers it, so a second replay sends only what the first did not; but what was
    sent just before a crash may be sent twice, and two replays at once send everything twice.

    Letters of the reason crash ended a worker more than once: they are sent only if --reason crash asks for them.
    The last line is one JSON object of counts.
    """
    from ..consumer.letterbox import letters
    from ..consumer.resend import Resend
    from .progress import counting

    box = Box.of(topic, kafka, config)
    places = {_place(text) for text in offset or ()}
    entries = [
        entry
        for entry in box.survey().entries.values()
        if _known(reason) in (None, entry.reason) and (not places or _is_any(entry, places))
    ]
    for missing in places:
        if not any(_is_any(entry, {missing}) for entry in entries):
            raise NoSuchLetter(missing[0] or box.topic, *missing[1:])
    counts = dict.fromkeys(("sent", "failed", "sent_before", "kept_back", "without_bytes"), 0)
    due = set()
    for entry in entries:
        if entry.reason == NEVER_BY_ITSELF != reason:
            counts["kept_back"] += 1
        elif entry.omitted:
            counts["without_bytes"] += 1
        elif (to or entry.place.topic) in entry.replayed and not again:
            counts["sent_before"] += 1
        else:
            due.add(entry.at)
    if due and not yes and sys.stdin.isatty():
        typer.confirm(f"Send {len(due)} messages to {to or box.topic}?", abort=True, err=True)
    with Resend(box.options, box.topic, to) as resend, counting(f"to {to or box.topic}", len(due)) as progress:
        for letter in letters(box.options, box.topic, due) if due else ():
            resend.send(letter)
            progress(resend.sent)
    counts["sent"], counts["failed"] = resend.sent, len(due) - resend.sent
    typer.echo(json.dumps(counts))
    resend.check()


def hexdump(data: bytes) -> list[str]:
    """Sixteen bytes a line: where they are, in hexadecimal, and as text where they are ASCII.

    >>> hexdump(b"Obj\\x01\\x04")
    ['00000000  4f 62 6a 01 04                                    Obj..']
    """
    lines = []
    for at in range(0, len(data), 16):
        piece = data[at : at + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
        lines.append(f"{at:08x}  {piece.hex(' '):<48}  {text}")
    return lines


def when(milliseconds: int) -> str:
    """A Kafka timestamp; whoever sends a message may set any number.

    >>> when(1_790_000_000_123), when(-1), when(10**18)
    ('2026-09-21T14:13:20Z', '-', '1000000000000000000 ms')
    """
    from datetime import UTC, datetime

    if milliseconds < 0:
        return "-"
    try:
        return datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{milliseconds} ms"


def _known(reason: str | None) -> str | None:
    if reason is not None and reason not in REASONS:
        raise typer.BadParameter(f"{reason!r} is no reason; there are {', '.join(REASONS)}")
    return reason


def _place(text: str) -> tuple[str, int, int]:
    topic, partition, offset = ["", *text.split("/")][-3:] if "/" in text else ["", "", ""]
    if not (partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter(f"{text!r}: a place is PARTITION/OFFSET, like 3/1207, or TOPIC/PARTITION/OFFSET")
    return topic, int(partition), int(offset)


def _is_any(entry: "Entry", places: Collection[tuple[str, int, int]]) -> bool:
    """Whether a letter is of one of these places; without a topic, of that place in any."""
    return entry.place[:3] in places or ("", *entry.place[1:3]) in places


def _as_json(entry: "Entry") -> dict[str, object]:
    place = entry.place._asdict()
    rest = ("reason", "detail", "schema", "bytes", "omitted")
    return {**place, **{name: getattr(entry, name) for name in rest}, "replayed": sorted(entry.replayed)}


def _print_table(entries: list["Entry"]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from .table import printable

    table = Table(expand=True, pad_edge=False, box=SIMPLE_HEAD)
    table.add_column("place", no_wrap=True)
    table.add_column("time", no_wrap=True)
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("why", ratio=1)
    table.add_column("sent again to")
    several = len({entry.place.topic for entry in entries}) > 1
    for entry in entries:
        topic, partition, offset, timestamp = entry.place
        why, again = f"{entry.reason}: {entry.detail}", ", ".join(sorted(entry.replayed))
        place = f"{topic}/{partition}/{offset}" if several else f"{partition}/{offset}"
        texts = (place, when(timestamp), str(entry.bytes), why, again)
        table.add_row(*(escape(printable(text)) for text in texts))
    Console().print(table)


def _sentence(found: "Survey", hidden: int) -> str:
    counts = {
        "dead letters": len(found.entries),
        "older, not shown (--limit)": hidden,
        "delivered twice": found.repeats,
        "something else": found.strange,
    }
    return "; ".join(f"{text}: {count}" for text, count in counts.items() if count or text == "dead letters")


def _without_bytes(letter: "Letter") -> str:
    if letter.omitted:
        return (
            f"its {letter.omitted} bytes were too long for the dead-letter topic; they are where they stood, if still"
        )
    return "the message has no value (a tombstone)"


def _described(letter: "Letter") -> list[tuple[str, str]]:
    """What is known of a letter, fit for a terminal; a header may be there twice."""
    from .table import printable

    place = letter.place
    said = [
        ("came from", f"{place.topic}, partition {place.partition}, offset {place.offset}"),
        ("time", when(place.timestamp)),
        ("reason", letter.reason),
        ("detail", letter.detail),
        ("schema", letter.schema or "-"),
        ("given up by", f"skimstream {letter.skimstream}"),
        ("key", _shown(letter.key)),
        *((f"header {name}", _shown(value)) for name, value in letter.original),
        ("value", f"{len(letter.value)} bytes" if letter.value is not None else _without_bytes(letter)),
    ]
    return [(printable(name), printable(text)) for name, text in said]


def _shown(value: bytes | None) -> str:
    """A key's or header's first bytes; a schema as a key may be long."""
    if value is None:
        return "-"
    return f"{value[:DUMPED]!r}" + (f" … {len(value)} bytes" if len(value) > DUMPED else "")
