"""Where messages for people arrive: a webhook and a mail server, on loopback; they can be told to fail, or to hang."""

import json
import socketserver
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast


@dataclass
class Post:
    """One POST: when it came (seconds since 1970), where, its headers, its body."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Webhook:
    """Answers 200, or what stands in `answers` (status, headers), one after the other; hangs while `hanging` is set."""

    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list)
    hanging: threading.Event = field(default_factory=threading.Event)
    asked: int = 0

    def __enter__(self) -> Self:
        receiver, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    receiver.asked += 1
                    status, headers = receiver.answers.pop(0) if receiver.answers else (200, {})
                while receiver.hanging.is_set():
                    time.sleep(0.02)
                if status == 200:
                    receiver.posts.append(Post(time.time(), self.path, dict(self.headers), body))
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.end_headers()
                except (BrokenPipeError, ConnectionResetError):
                    return  # who asked had enough

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.hanging.clear()
        self.server.shutdown()
        self.server.server_close()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_port}"

    @property
    def ids(self) -> list[str]:
        """What came, in order."""
        return [post.json["id"] for post in self.posts]


class Mailbox:
    """A mail server that takes everything."""

    def __enter__(self) -> Self:
        self.mails: list[EmailMessage] = []
        box = self

        class Session(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                self.wfile.write(b"220 box\r\n")
                while line := self.rfile.readline():
                    verb = line[:4].upper()
                    if verb == b"DATA":
                        self.wfile.write(b"354 go on\r\n")
                        box.mails.append(_mail(iter(self.rfile.readline, b".\r\n")))
                    elif verb == b"QUIT":
                        self.wfile.write(b"221 bye\r\n")
                        return
                    self.wfile.write(b"250 fine\r\n")

        self.server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self) -> str:
        """As Apprise wants it."""
        port = self.server.server_address[1]
        return f"mailto://127.0.0.1:{port}/?smtp=127.0.0.1&from=skim@example.org&to=people@example.org&mode=insecure"

    @property
    def texts(self) -> Sequence[str]:
        """The text of each mail."""
        found = []
        for mail in self.mails:
            part = mail.get_body(("plain", "html"))
            assert part is not None
            found.append(cast(str, part.get_content()))
        return found


def _mail(lines: Any) -> EmailMessage:
    return message_from_bytes(b"".join(lines), policy=policy.default)
