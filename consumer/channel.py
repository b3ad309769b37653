"""A channel: how one message reaches people. http(s):// is a webhook that gets JSON; all else is an Apprise URL.

A secret is never part of what is logged or raised: of a URL only its scheme is named.
"""

import hashlib
import hmac
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, Self, cast

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from ..schemas.errors import SkimError
from .overhear import PASSING, Heard, overheard, wait_of

log = logging.getLogger(__name__)

WEBHOOK = ("http", "https")
TIMEOUT_SECONDS = 10.0


class ChannelSettings(BaseModel):
    """One `[channels.NAME]`. Its URL is a secret: from a file, or from SKIM_CHANNELS__NAME__URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: SecretStr | None = None
    url_file: Path | None = None
    key: SecretStr | None = None  # signs a webhook's bodies (HMAC-SHA256)
    key_file: Path | None = None
    timeout: Annotated[float, Field(gt=0, le=300)] = TIMEOUT_SECONDS
    pace: Annotated[float, Field(ge=0, le=3_600)] | None = None  # seconds between messages; Apprise's own for a service
    pictures: bool = True

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.url is None) == (self.url_file is None):
            raise ValueError("needs url or url_file, one of them")
        if self.key is not None and self.key_file is not None:
            raise ValueError("needs key or key_file, not both")
        return self


class ChannelError(SkimError):
    """A channel's settings are no use."""

    def __init__(self, channel: str, problem: str) -> None:
        super().__init__(f"channel {channel}: {problem}")
        self.channel = channel
        self.problem = problem


class NotSent(Exception):
    """A message didn't get through. again: it may later; after: seconds to wait, if the other side said so."""

    def __init__(self, problem: str, again: bool, after: float | None = None) -> None:
        super().__init__(problem)
        self.again = again
        self.after = after


@dataclass(frozen=True, slots=True)
class Message:
    """What people get; `payload` is the same for machines. draw: makes a PNG, for channels that send pictures."""

    id: str
    title: str
    body: str
    payload: Mapping[str, Any]
    draw: Callable[[], bytes | None] = lambda: None


class Channel(Protocol):
    """Where messages go."""

    def send(self, message: Message) -> None:
        """Raises `NotSent`."""


def channel_of(name: str, settings: ChannelSettings) -> Channel:
    """The channel that settings speak of. Raises `ChannelError`."""
    url = _secret(name, settings.url, settings.url_file) or ""
    scheme = url.partition("://")[0].lower()
    if scheme in WEBHOOK:
        return Webhook(url, settings.timeout, _secret(name, settings.key, settings.key_file))
    return AppriseChannel(name, url, settings)


def _secret(channel: str, given: SecretStr | None, file: Path | None) -> str | None:
    if file is None:
        return given.get_secret_value().strip() if given else None
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ChannelError(channel, f"{file} can't be read ({error.strerror})") from error


class Webhook:
    """POSTs the payload as JSON, with its id as Idempotency-Key and, if there is a key, a signature."""

    def __init__(self, url: str, timeout: float, key: str | None) -> None:
        import httpx

        self.url = url
        self.key = key
        self.client = httpx.Client(timeout=timeout, follow_redirects=False)
        # Its own log lines hold URLs.
        logging.getLogger("httpx").setLevel(logging.WARNING)

    def send(self, message: Message) -> None:
        """Any 2xx is success. Raises `NotSent`."""
        import httpx

        body = json.dumps(message.payload, separators=(",", ":"), allow_nan=False).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.id}
        if self.key:
            headers["X-Skimstream-Signature"] = (
                "sha256=" + hmac.new(self.key.encode(), body, hashlib.sha256).hexdigest()
            )
        try:
            answer = self.client.post(self.url, content=body, headers=headers)
        except httpx.InvalidURL as error:
            raise NotSent("the webhook's URL is none", again=False) from error
        except httpx.HTTPError as error:  # its text may hold the URL
            raise NotSent(type(error).__name__, again=True) from None
        if not answer.is_success:
            again = answer.status_code in PASSING
            raise NotSent(
                f"status {answer.status_code}",
                again,
                wait_of(answer.headers.get("Retry-After"), answer.headers.get("Date")),
            )


class AppriseChannel:
    """Slack, Telegram, e-mail and a hundred more, by Apprise."""

    def __init__(self, name: str, url: str, settings: ChannelSettings) -> None:
        import apprise

        # Its own log lines hold URLs.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
        self.pictures = settings.pictures
        self.heard = Heard()
        self.apprise = apprise.Apprise()
        if not self.apprise.add(url):
            scheme = url.partition("://")[0][:20] if "://" in url else "nothing"
            problem = f"Apprise doesn't know such a URL ({scheme}://…); its form is in Apprise's documentation"
            raise ChannelError(name, problem)
        for service in self.apprise:
            service.socket_connect_timeout = service.socket_read_timeout = settings.timeout
            if settings.pace is not None:
                service.request_rate_per_sec = settings.pace  # so it is named; it is seconds a request
            # Apprise calls this in a thread of its choice; in that one it is listened.
            service.notify = self._listening(service.notify)  # type: ignore[method-assign]

    def send(self, message: Message) -> None:
        """Raises `NotSent`; what went wrong is known only where the service speaks HTTP."""
        from apprise import NotifyFormat
        from apprise.attachment.memory import AttachMemory

        attached = None
        if self.pictures and (picture := message.draw()) is not None:
            attached = cast(Any, AttachMemory)(content=picture, name="light-curve.png", mimetype="image/png")
        self.heard = Heard()
        try:
            sent = self.apprise.notify(message.body, message.title, body_format=NotifyFormat.TEXT, attach=attached)
        except Exception as error:  # a plugin's fault is this channel's alone; its text may hold the URL
            raise NotSent(type(error).__name__, again=False) from None
        if not sent:
            heard = self.heard
            problem = f"status {heard.status}" if heard.status else "the service didn't take it"
            raise NotSent(problem, heard.again, heard.after)

    def _listening(self, notify: Callable[..., bool]) -> Callable[..., bool]:
        def listened(*args: Any, **options: Any) -> bool:
            with overheard() as heard:
                sent = notify(*args, **options)
            self.heard = heard
            return sent

        return listened
