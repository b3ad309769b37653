"""A web server on loopback that a test answers for."""

import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[BaseHTTPRequestHandler], None]


class WebServer:
    """Calls `answer` for each GET; `asked` counts them by path. `stop` ends it."""

    def __init__(self, answer: Answer) -> None:
        self.asked: Counter[str] = Counter()
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked[self.path] += 1
                try:
                    answer(self)
                except (BrokenPipeError, ConnectionResetError):
                    return  # the client had enough

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
