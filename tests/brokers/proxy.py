"""A TCP proxy on loopback that does what networks do: waits, cuts, cuts in the middle of a reply, swallows."""

import asyncio
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Coroutine
from typing import Any, Self

from .server import free_port

CALL_SECONDS = 10.0
PIECE_BYTES = 65_536


class FaultProxy:
    """Forwards 127.0.0.1:`port` to a target "host:port", with one fault at a time; a context manager.

    Each method that sets a fault ends the one before; a method returns when its fault is in force.
    """

    def __init__(self, target: str, port: int | None = None) -> None:
        self.target = target
        self.port = free_port() if port is None else port
        self.connections = 0  # accepted so far
        self.was_cut = threading.Event()  # `cut_after` did its work
        self._delay = 0.0
        self._left: int | None = None  # bytes of replies until a cut
        self._open: set[StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._flows = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self.heal()

    @property
    def address(self) -> str:
        """host:port"""
        return f"127.0.0.1:{self.port}"

    def heal(self) -> None:
        """Forward everything at once. What `half_open` held back arrives now, as after a network's pause."""
        self._do(self._set())

    def delay(self, seconds: float) -> None:
        """Hold each piece of a reply (up to 64 KiB) back this long."""
        self._do(self._set(delay=seconds))

    def cut(self) -> None:
        """Close all connections now, and refuse new ones."""
        self._do(self._set(listening=False))

    def cut_after(self, reply_bytes: int) -> None:
        """Let this many more bytes of replies through, then close the connection in mid-reply; `was_cut` tells.

        It happens once: the next connections are served.
        """
        self.was_cut.clear()
        self._do(self._set(left=reply_bytes))

    def half_open(self) -> None:
        """Accept connections and keep the old ones, but forward nothing: no one answers and nothing fails."""
        self._do(self._set(flows=False))

    def close(self) -> None:
        """Close all connections and stop."""
        if self._thread.is_alive():
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CALL_SECONDS)
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_SECONDS)

    async def _set(
        self, *, delay: float = 0.0, left: int | None = None, flows: bool = True, listening: bool = True
    ) -> None:
        self._delay, self._left = delay, left
        (self._flows.set if flows else self._flows.clear)()
        if listening and self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        elif not listening and self._server is not None:
            self._server.close()
            self._server = None
            for writer in self._open:
                writer.transport.abort()

    async def _end(self) -> None:
        await self._set(listening=False)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self.connections += 1
        mine = {writer}
        self._open |= mine
        try:
            await self._flows.wait()
            host, port = self.target.rsplit(":", 1)
            target_reader, target_writer = await asyncio.open_connection(host, int(port))
            mine.add(target_writer)
            self._open |= mine
            await asyncio.gather(
                self._forward(reader, target_writer, reply=False), self._forward(target_reader, writer, reply=True)
            )
        except (OSError, asyncio.CancelledError):
            pass  # either side went away, so does the other; or all ends, and Python 3.11 would complain about a task
        finally:
            self._open -= mine
            for each in mine:
                each.close()

    async def _forward(self, reader: StreamReader, writer: StreamWriter, *, reply: bool) -> None:
        """Until one side closes: then both are closed, as the servers in question never half-close."""
        while piece := await reader.read(PIECE_BYTES):
            await self._flows.wait()
            if reply:
                await asyncio.sleep(self._delay)
                if self._left is not None:
                    piece, self._left = piece[: self._left], self._left - len(piece)
            writer.write(piece)
            await writer.drain()
            if reply and self._left is not None and self._left <= 0:
                self._left = None
                self.was_cut.set()
                break
        raise ConnectionResetError("closed")
