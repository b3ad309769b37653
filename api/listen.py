"""Where the server listens."""

import socket

from ..schemas.errors import SkimError

BACKLOG = 1_024


class PortTaken(SkimError):
    """Nothing can listen there."""

    def __init__(self, host: str, port: int, problem: str) -> None:
        super().__init__(
            f"can't listen on {host}:{port} ({problem}); choose another --host or --port, 0 takes a free one"
        )
        self.host = host
        self.port = port


def listen(host: str, port: int) -> socket.socket:
    """A socket of this address; port 0 takes a free one. Raises `PortTaken`.

    It says that it speaks TCP: on one that leaves this to the system, asyncio doesn't switch Nagle's algorithm off, and
    every answer waits 40 ms for the client's acknowledgement of its head.
    """
    try:
        [(family, kind, protocol, _, address), *_] = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise PortTaken(host, port, str(error)) from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise PortTaken(host, port, str(error)) from error
    return listening
