"""Channels against a real web server: what is sent, what is tried again, and that nothing secret gets out."""

import hashlib
import hmac
import io
import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import SecretStr

from skimstream.consumer.channel import ChannelError, ChannelSettings, Message, NotSent, channel_of
from stage.receivers import Mailbox, Webhook

SECRET = "s3cret-token"  # noqa: S105
MESSAGE = Message("t/0/7", "ztf: ZTF1 0.9990", "why: much", {"id": "t/0/7", "score": 0.999})


def settings(url: str, **more: Any) -> ChannelSettings:
    return ChannelSettings(url=SecretStr(url), pace=0, **more)


def test_a_webhook_gets_json_with_its_id_and_a_signature(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("k\n")
    with Webhook() as hook:
        channel_of("a", settings(f"http://{hook.address}/x?token={SECRET}", key_file=key)).send(MESSAGE)
    post = hook.posts[0]
    assert post.json == MESSAGE.payload
    assert post.headers["Idempotency-Key"] == "t/0/7"
    signature = "sha256=" + hmac.new(b"k", post.body, hashlib.sha256).hexdigest()
    assert post.headers["X-Skimstream-Signature"] == signature


@pytest.mark.parametrize("scheme", ["http", "json"])  # our own, and one of Apprise's
@pytest.mark.parametrize(
    ("status", "headers", "again", "after"),
    [
        (429, {"Retry-After": "7"}, True, 7.0),
        (503, {}, True, None),
        (404, {}, False, None),
        (500, {"Retry-After": "999999"}, True, 3_600.0),
    ],
)
def test_what_an_answer_means(
    scheme: str, status: int, headers: dict[str, str], again: bool, after: float | None
) -> None:
    with Webhook([(status, headers)]) as hook:
        channel = channel_of("a", settings(f"{scheme}://{hook.address}/{SECRET}"))
        with pytest.raises(NotSent, match=str(status)) as failed:
            channel.send(MESSAGE)
        assert (failed.value.again, failed.value.after) == (again, after)
        channel.send(MESSAGE)  # the next answer is fine
    assert len(hook.posts) == 1


def test_nobody_there_may_be_there_later(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for url in (f"http://127.0.0.1:9/{SECRET}", f"json://127.0.0.1:9/{SECRET}"):
        with pytest.raises(NotSent) as failed:
            channel_of("a", settings(url)).send(MESSAGE)
        assert failed.value.again
        assert SECRET not in str(failed.value)
        assert failed.value.__cause__ is None
    assert SECRET not in caplog.text


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_the_timeout() -> None:
    with Webhook() as hook:
        hook.hanging.set()
        with pytest.raises(NotSent, match="Timeout"):
            channel_of("a", settings(f"http://{hook.address}", timeout=0.2)).send(MESSAGE)


def test_no_address_or_no_service() -> None:
    for url in (f"nothing://{SECRET}", SECRET, "", f"slack://{SECRET}"):
        with pytest.raises(ChannelError, match="channel a: Apprise doesn't know") as refused:
            channel_of("a", settings(url))
        assert SECRET not in str(refused.value)
    with pytest.raises(ChannelError, match="can't be read"):
        channel_of("a", ChannelSettings(url_file=Path("/nowhere/url")))


def test_a_mail_has_the_picture() -> None:
    png = io.BytesIO()
    Image.new("RGB", (2, 2)).save(png, "PNG")
    message = Message("1", "title", "text", {}, png.getvalue)
    with Mailbox() as box:
        channel_of("a", settings(box.url)).send(message)
        channel_of("a", settings(box.url, pictures=False)).send(message)
    attached = [[part.get_content() for part in mail.iter_attachments()] for mail in box.mails]
    assert attached == [[png.getvalue()], []]
    assert box.mails[0]["Subject"] == "title"
