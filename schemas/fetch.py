"""HTTP GET from one configured host, bounded in time and size: nothing a server says leads anywhere else."""

import ipaddress
import queue
import ssl
import threading
import time
from collections.abc import Callable
from functools import cached_property, partial
from typing import TYPE_CHECKING, Literal, NoReturn, TypeVar
from urllib.parse import urlsplit

from .errors import SkimError

if TYPE_CHECKING:
    import httpx

# Four times the budget for a schema: its text is escaped inside the registry's JSON, which at most doubles it.
ANSWER_BYTES = 1 << 20
# A proxy may add a slash or a prefix; more than that is a loop.
REDIRECTS = 3
# Not authorised, forbidden, timed out, too early, too many: they say nothing about what was asked for (RFC 9110, 6585).
ABOUT_THE_SERVER = frozenset({401, 403, 408, 425, 429})

T = TypeVar("T")


class FetchError(SkimError):
    """A GET without a usable answer.

    kind "silent": the server can't be reached or takes too long. "failing": it answers that it can't answer now, or
    not to us. "refused": its answer leads elsewhere, is too long, or comes from an address it may not come from.
    "absent": it answers, but not with what was asked for.
    """

    def __init__(self, kind: Literal["silent", "failing", "refused", "absent"], detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Host:
    """The one server that `url` names. Its answers are never cached here; `Registry` does that.

    Redirects are followed within the same scheme, host and port alone. A host that first answered from a public
    address may not answer from a private one later (DNS rebinding), and link-local addresses, where clouds keep
    their credentials, only when `url` names them itself. Proxies of the environment are not used.
    """

    def __init__(self, url: str, timeout: float) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"a registry needs an http:// or https:// address with a host, not {parts.scheme!r}")
        self.name = parts.hostname
        self.private: bool | None = None
        self._base = url.rstrip("/")
        self._timeout = timeout
        self._thread: threading.Thread | None = None

    def within(self, job: Callable[[float], T]) -> T:
        """What `job(deadline)` returns or raises; `FetchError("silent")` when that takes longer than the timeout.

        In a thread, since no timeout of a socket covers the look-up of a name, or a server that sends a byte a second.
        A job that is late goes on by itself until it ends; it keeps no process alive, and there is never a second one.
        """
        if self._thread is not None and self._thread.is_alive():
            raise FetchError("silent", f"{self.name} is still busy with the last question")
        outcome: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()
        deadline = time.monotonic() + self._timeout

        def run() -> None:
            try:
                answer = job(deadline)
                outcome.put(lambda: answer)
            except Exception as error:  # handed over whole, for the caller to raise
                outcome.put(partial(_throw, error))

        self._thread = threading.Thread(target=run, name="skim-registry", daemon=True)
        self._thread.start()
        try:
            result = outcome.get(timeout=self._timeout)
        except queue.Empty:
            raise FetchError("silent", f"no answer of {self.name} within {self._timeout:g} s") from None
        self._thread.join()  # it has nothing left to do, but would look busy to a question that comes at once
        return result()

    def get(self, path: str, deadline: float) -> bytes:
        """The body at `path` below the configured URL. `deadline` is a `time.monotonic`. Raises `FetchError`."""
        import httpx  # 0.2 s, which a stream without a registry need not wait for

        try:
            with httpx.Client(timeout=self._timeout, trust_env=False, verify=self._tls) as client:
                url = start = httpx.URL(self._base + path)
                for _ in range(1 + REDIRECTS):
                    # Not compressed, so that a short answer can't be a long one.
                    with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response:
                        self._check_address(response)
                        if response.has_redirect_location:
                            url = self._next(start, url.join(response.headers["location"]))
                            continue
                        return self._body(response, deadline)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise FetchError("refused", f"{self.name} redirects to an address that is none") from error
        except (httpx.HTTPError, OSError) as error:  # OSError: the connection is gone when its address is looked at
            raise FetchError("silent", f"{self.name} does not answer: {type(error).__name__} {error}") from error
        raise FetchError("refused", f"{self.name} redirects more than {REDIRECTS} times")

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        import httpx

        return httpx.create_ssl_context()  # the usual authorities, or those of SSL_CERT_FILE

    def _next(self, start: "httpx.URL", url: "httpx.URL") -> "httpx.URL":
        if (url.scheme, url.host, url.port) != (start.scheme, start.host, start.port):
            raise FetchError("refused", f"{self.name} redirects to {url.scheme}://{url.host}; only itself is allowed")
        return url

    def _body(self, response: "httpx.Response", deadline: float) -> bytes:
        if response.status_code != 200:
            about_the_server = response.status_code >= 500 or response.status_code in ABOUT_THE_SERVER
            kind: Literal["failing", "absent"] = "failing" if about_the_server else "absent"
            raise FetchError(kind, f"{self.name} answers with status {response.status_code}")
        if response.headers.get("content-encoding", "identity") != "identity":
            raise FetchError("refused", f"{self.name} sends a compressed answer, which was not asked for")
        body = bytearray()
        for chunk in response.iter_raw():
            body += chunk
            if len(body) > ANSWER_BYTES:
                raise FetchError("refused", f"{self.name} sends more than {ANSWER_BYTES} bytes")
            if time.monotonic() > deadline:
                raise FetchError("silent", f"{self.name} takes too long")
        return bytes(body)

    def _check_address(self, response: "httpx.Response") -> None:
        """Looked at once connected, so that no second look-up of the name can give another address."""
        peer = response.extensions["network_stream"].get_extra_info("server_addr")
        self.check_peer(peer[0])

    def check_peer(self, peer: str) -> None:
        """Raise `FetchError("refused")` when an answer may not come from the address `peer`."""
        address = ipaddress.ip_address(peer)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if str(address) == self.name:
            return
        private = not address.is_global
        if address.is_link_local or (private and self.private is False):
            raise FetchError("refused", f"{self.name} now has the private address {address}")
        self.private = private if self.private is None else self.private


def _throw(error: Exception) -> NoReturn:
    raise error
