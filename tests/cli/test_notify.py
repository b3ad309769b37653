"""`skim notify` against a real web server."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from skimstream.cli.main import app
from skimstream.consumer.config import ConfigError
from stage.receivers import Webhook

SECRET = "s3cret"  # noqa: S105


def test_it_says_what_got_through_and_no_secret(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    with Webhook() as hook:
        file.write_text(
            f'[channels.good]\nurl = "http://{hook.address}/{SECRET}"\n'
            f'[channels.bad]\nurl = "http://127.0.0.1:9/{SECRET}"\n[channels.none]\nurl = "{SECRET}://x"\n'
        )
        one = CliRunner().invoke(app, ["notify", "good", "-c", str(file)])
        assert (one.exit_code, one.output) == (0, "good: sent\n")
        every = CliRunner().invoke(app, ["notify", "-c", str(file)])
    assert every.exit_code == 1
    assert [line.split(":")[0] for line in every.output.splitlines()] == ["bad", "good", "none"]
    assert every.output.count("not sent") == 2
    assert [post.json["kind"] for post in hook.posts] == ["test", "test"]


def test_a_channel_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "skim.toml"
    file.write_text('[channels.good]\nurl = "http://x"\n')
    with pytest.raises(ConfigError, match="gold: no such channel; \\[channels\\] has good"):
        CliRunner().invoke(app, ["notify", "gold", "-c", str(file)], catch_exceptions=False)
    with pytest.raises(ConfigError, match="is empty"):
        CliRunner().invoke(app, ["notify"], catch_exceptions=False)
