"""A server as a child process of the tests: started, killed, frozen, restarted, and gone when the tests are gone."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

START_SECONDS = 60.0
STOP_SECONDS = 15.0

# Becomes the server itself, after asking Linux to kill it when its parent dies, of kill -9 too (PR_SET_PDEATHSIG).
_TETHER = """
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execvp(sys.argv[2], sys.argv[2:])
"""
# Linux counts the death of the *thread* that started a child. This one lives as long as the tests, so that a server
# restarted by a test's short-lived thread stays.
_STARTER = ThreadPoolExecutor(1, "server-starter")
_TAKEN: set[int] = set()
_RANDOM = random.SystemRandom()  # hypothesis seeds the common one: all test runs would draw the same ports


class Unavailable(RuntimeError):
    """What a server needs isn't on this machine; the text says what. Fixtures skip on it."""


class ServerFailed(RuntimeError):
    """A server didn't start; the text ends with its last words."""

    def __init__(self, server: "Server", problem: str) -> None:
        super().__init__(f"{type(server).__name__} on port {server.port} {problem}:\n{server.log()[-3000:]}")
        self.server = server
        self.problem = problem


def free_port() -> int:
    """A TCP port of loopback that nobody uses, and that no outgoing connection takes while its server is down.

    Below the range that Linux takes for outgoing connections (32768 up): there, a client that retries against a dead
    server's port sometimes connects to itself and keeps the server from coming back.
    """
    while True:
        port = _RANDOM.randrange(20_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _TAKEN:
            _TAKEN.add(port)
            return port


def start_process(command: list[str], log: Path, folder: Path) -> subprocess.Popen[bytes]:
    """Start a command that ends with this process (Linux); its output is added to `log`. Ctrl-C doesn't reach it."""
    tethered = [sys.executable, "-ISE", "-c", _TETHER, str(os.getpid()), *command]
    with log.open("ab") as output:
        started = _STARTER.submit(
            subprocess.Popen[bytes],
            tethered,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        return started.result()


class Server(ABC):
    """A server on a fixed port of loopback with a data folder of its own, both kept over restarts.

    As a context manager it starts, and ends killed with its folder removed. Not for use by two threads at once.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> list[str]:
        """What to run; called at each start, so it may prepare files in `folder`. Raises Unavailable."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server does its work; asked until it does."""

    @property
    def address(self) -> str:
        """host:port"""
        return f"127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        """The server's own folder, made when first asked for."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=f"skim-{type(self).__name__.lower()}-"))
        return self._folder

    @property
    def pid(self) -> int:
        """The server's process id. Raises LookupError while it doesn't run."""
        if self._process is None:
            raise LookupError(f"{type(self).__name__} doesn't run")
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs (a paused one does)."""
        return self._process is not None and self._process.poll() is None

    def log(self) -> str:
        """All that the server wrote to stdout and stderr, over all its lives."""
        path = self.folder / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start and wait until it answers; nothing happens if it runs. Raises ServerFailed, Unavailable."""
        if self.alive:
            return
        self._process = start_process(self.command(), self.folder / "log", self.folder)
        deadline = time.monotonic() + START_SECONDS
        while not self.answers():
            if not self.alive:
                raise ServerFailed(self, f"ended at once with {self._process.returncode}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(self, f"didn't answer in {START_SECONDS:.0f} s")
            time.sleep(0.02)

    def stop(self) -> None:
        """Ask it to end (SIGTERM) and wait; kill it after `STOP_SECONDS`. Its data stay for the next start."""
        if self._process is None:
            return
        self._process.terminate()
        self.resume()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """kill -9, and wait until it is gone. Its data stay as they are for the next start."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """kill -9 and start again on the same port with the data that survived."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Freeze it (SIGSTOP): connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """End a pause (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def heal(self) -> None:
        """Make it run, whatever a test did to it."""
        if self.alive:
            self.resume()
        self.start()

    def close(self) -> None:
        """kill -9, and remove its folder."""
        self.kill()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
