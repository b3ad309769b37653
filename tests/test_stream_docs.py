"""docs/streams/: a page a preset, whose lines are the preset's own, and are lines that `skim` takes."""

import re
import shlex
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from skimstream.cli.main import app
from skimstream.consumer.preset import NAMES, Preset, presets

PAGES = Path(__file__).resolve().parents[1] / "docs" / "streams"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SKIM = get_command(app)
LINK = re.compile(r"\]\(([^)#:]+)(?:#([a-z0-9-]+))?\)")


def lines_in(text: str) -> list[str]:
    """The commands in a page's blocks."""
    blocks = "\n".join(code for language, code in BLOCK.findall(text) if not language)
    return [line for line in blocks.splitlines() if line.startswith("skim ")]


def parse(line: str) -> None:
    """Raises click's UsageError where `skim` would."""
    words = shlex.split(line.partition(" > ")[0].rstrip("& "), comments=True)
    command, context = SKIM, None
    while True:
        context = command.make_context(words[0], words[1:], parent=context)
        if not isinstance(command, typer.core.TyperGroup):
            return
        _, found, words = command.resolve_command(context, [*context._protected_args, *context.args])  # noqa: SLF001
        assert found is not None
        command, words = found, [str(found.name), *words]


def fault(line: str) -> str:
    """What is wrong with a line; "none"."""
    try:
        parse(line)
    except Exception as error:  # click's own, of which typer brings a copy in some of its versions
        return str(error)
    return "none"


def test_every_preset_has_its_page_and_every_page_its_preset() -> None:
    assert sorted(one.stem for one in PAGES.glob("*.md")) == sorted(("README", *NAMES))
    index = (PAGES / "README.md").read_text()
    assert [name for name in NAMES if f"]({name}.md)" not in index] == []


@pytest.mark.parametrize("preset", presets(), ids=NAMES)
def test_a_page_says_what_the_preset_does(preset: Preset) -> None:
    text = (PAGES / f"{preset.name}.md").read_text()
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads[:3] == ["What you need", "Five lines", "What the score means there"]
    blocks = [code.strip() for _, code in BLOCK.findall(text)]
    assert blocks == [preset.start.strip(), *([preset.own.strip()] if preset.own else [])]
    kafka = preset.settings.get("kafka", {})
    for said in (kafka.get("bootstrap", ""), preset.settings.get("topic", ""), preset.settings["framing"]):
        assert said in text
    assert ("outgoing.bootstrap" in text) == preset.read_only
    flat = " ".join(text.split())
    assert [one for one in (*preset.needs, *preset.notes, *preset.unconfirmed) if one not in flat] == []


@pytest.mark.parametrize("name", NAMES)
def test_every_line_is_one_that_skim_takes(name: str) -> None:
    text = (PAGES / f"{name}.md").read_text()
    lines = lines_in(text)
    assert len(lines) >= 3
    for line in lines:
        parse(line)
    # In the text a command may be cut short: `skim train lsst`.
    for line in re.findall(r"`(skim [a-z][^`]*)`", BLOCK.sub("", text)):
        assert fault(line).startswith(("Missing", "none"))


@pytest.mark.parametrize("wrong", ["skim run --presett ztf", "skim runs", "skim train ztf", "skim dlq lst t"])
def test_a_line_that_skim_does_not_take_is_noticed(wrong: str) -> None:
    assert fault(wrong).startswith(("No such", "Missing"))


def test_links_lead_somewhere() -> None:
    for page in PAGES.glob("*.md"):
        for target, anchor in LINK.findall(page.read_text()):
            there = page.parent / target
            assert there.is_file(), (page.name, target)
            heads = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert not anchor or anchor in {re.sub(r"[^a-z0-9 -]", "", one.lower()).replace(" ", "-") for one in heads}
