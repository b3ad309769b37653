"""`skim init`: a first TOML file for a stream of one's own, from a sample of it."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..schemas.errors import SkimError

if TYPE_CHECKING:
    from ..consumer.config import Settings
    from .guess import Guess


class FileIsThere(SkimError):
    """Nothing is overwritten."""

    def __init__(self, file: Path) -> None:
        super().__init__(f"{file} is there already; choose another --out, or remove it")
        self.file = file


def init(
    name: Annotated[str, typer.Argument(help="What to call the stream: payments.")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="A sample: Avro, CSV or JSON-lines files; or none, with --topic.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Take the sample from this Kafka topic.")] = None,
    kafka: Annotated[str | None, typer.Option(help="Bootstrap servers, host:port.")] = None,
    preset: Annotated[str | None, typer.Option(help="A public stream; `skim presets` lists them.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help="A TOML file with settings of Kafka.")] = None,
    key: Annotated[str, typer.Option(help="The field that is the key, where you know better.")] = "",
    time: Annotated[str, typer.Option(help="The field that says when.")] = "",
    count: Annotated[int, typer.Option("--count", "-n", min=20, help="Records to look at, at most.")] = 2_000,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The file to write; to the screen if none.")] = None,
) -> None:
    """Write a commented file for a stream of your own, guessed from a sample of its events.

    It says what was guessed and why; look it over, then `skim train NAME --config FILE …`.

    Examples:

      skim init payments payments.csv -o skim.toml

      skim init payments --topic payments --kafka broker:9092 -o skim.toml
    """
    from ..consumer.config import load_settings
    from ..consumer.configured import registry_of
    from ..consumer.login import require
    from ..consumer.own import definitions_in
    from ..consumer.run import reading_options
    from ..consumer.stored import stored
    from ..consumer.streams.definition import DefinitionError, unfit_name
    from .guess import guess
    from .sample import of_files, of_topic

    if bool(files) == bool(topic):
        raise typer.BadParameter("give files, or a topic with --topic: one of the two")
    if wrong := unfit_name(name):
        raise DefinitionError([said for _, said in wrong], None)
    if out is not None and out.exists():
        raise FileIsThere(out)
    settings = load_settings(config, {"preset": preset, "topic": topic, "kafka": {"bootstrap": kafka}})
    framing = "auto"
    if topic:
        require(settings, stream=False)
        records, framings = of_topic(
            stored(reading_options(settings), settings.one_topic), count, registry_of(settings)
        )
        framing = framings.pop() if len(framings) == 1 else "auto"
    else:
        records = of_files(files or (), count)
    if not records:
        raise NoSample(topic or ", ".join(map(str, files or ())))
    head = kafka_of(settings, f"skimstream-{name}")
    text = written(name, guess(records, key, time), len(records), topic or name, framing, head)
    try:
        definitions_in(text, Path())
    except DefinitionError as error:
        raise DefinitionError([*error.problems, "name key and time yourself (--key, --time)"], None) from error
    if out is None:
        typer.echo(text, nl=False)
    else:
        out.write_text(text, encoding="utf-8")
        typer.echo(f"look over {out}, then: skim train {name} --config {out} … -o my-model", err=True)


class NoSample(SkimError):
    """There is no record to look at."""

    def __init__(self, where: str) -> None:
        super().__init__(f"no record could be read from {where}: bare Avro needs its schema, which can't be guessed")
        self.where = where


def kafka_of(settings: "Settings", group: str) -> list[str]:
    """The lines that say where messages come from; the group of a preset may have a rule of its own."""
    preset, bootstrap = settings.preset, ["[kafka]", f"bootstrap = {_text(settings.kafka.bootstrap)}"]
    if not preset:
        return [*bootstrap, f"group = {_text(group)}"]
    named = "bootstrap" in settings.kafka.model_fields_set and ("kafka", "bootstrap") not in settings.brought
    return [f"preset = {_text(preset)}  # its login: skim presets {preset}", *(bootstrap if named else ())]


def written(name: str, found: "Guess", records: int, topic: str, framing: str, kafka: list[str]) -> str:
    """The file's text."""
    why = found.reasons
    lines = [
        f"# Guessed from {records:,} records: look it over. All keys are in docs/own-stream.md.",
        *kafka,
        "",
        f"[stream.{name}]",
        f"topic = {_text(topic)}",
        f'framing = "{framing}"  # auto tells container, confluent, key, bson and json apart message by message',
        f"key = {_text(found.key)}  # {why['key']}",
    ]
    if found.event:
        lines.append(f"event = {_text(found.event)}  # {why['event']}")
    else:
        lines.append("# event: no field names the event; a hash of what is read will do")
    lines += [f"time = {_text(found.time)}  # {why['time']}", f'time_format = "{found.time_format}"']
    for role, fields in (("numbers", found.numbers), ("categories", found.categories), ("entities", found.entities)):
        lines.append(f"{role} = [" + ("" if fields else "]"))
        lines += [f"  {_text(one)},  # {why[one]}" for one in fields]
        lines += ["]"] if fields else []
    if found.integers:
        lines.append(f"integers = [{_listed(found.integers)}]  # whole numbers that are names, not quantities")
    lines += [
        'half_lives = ["1h", "1d", "7d"]  # how fast counts of the past fade',
        'features = ["value", "rarity", "since", "count", "z", "ratio", "new"]  # with labels add "mean" and "hour"',
        '# gates = ["amount > 0", "status == \'paid\'"]  # what fails one is neither scored nor learned',
        "kept = 1000  # of a day, on the board",
        '# model = "my-model"  # what `skim train` made',
    ]
    if found.resolution:
        lines += ["", f"[stream.{name}.resolution]  # the least difference that means anything: the sample's smallest"]
        lines += [f"{_text(one)} = {found.resolution[one]:g}" for one in found.numbers if one in found.resolution]
    if found.left_out:
        lines += ["", "# Left out:"]
        lines += [f"#   {_comment(one)}: {_comment(reason)}" for one, reason in found.left_out.items()]
    return "\n".join(lines) + "\n"


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # TOML's basic strings are JSON's


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(_text, names))


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else "�" for c in text)
