"""Reads recorded messages from archives, one at a time and byte for byte."""

import gzip
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..schemas.errors import SkimError

# The detector refuses messages over 4 MiB; the margin lets a replay carry one, so that one can see it refused.
MAX_MEMBER_BYTES = 5 * 2**20
ARCHIVES = (".tar", ".tar.gz", ".tgz")


class ArchiveError(SkimError):
    """An archive can't be read. Fields: `path`, `member` (None if the whole path is meant), `reason`."""

    def __init__(self, path: Path, reason: str, member: str | None = None) -> None:
        super().__init__(f"{path}{f' ({member})' if member else ''}: {reason}")
        self.path = path
        self.member = member
        self.reason = reason


def messages(paths: Iterable[str | Path], max_bytes: int = MAX_MEMBER_BYTES) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each message in these paths, in their order.

    A path is a tar archive (plain or gzipped; members in the archive's order), a folder (its .avro files, recursively,
    sorted by path), or a single file of any name (one message). Nothing is written to disk, and one message is in
    memory at a time. In archives, members that aren't regular files are passed over.

    Raises `ArchiveError` for a path that is missing or unreadable, a damaged archive, and a member of more than
    `max_bytes`: a replay that silently left something out would not be one.
    """
    for path in map(Path, paths):
        if path.is_dir():
            members = sorted(path.rglob("*.avro"))
            if not members:
                raise ArchiveError(path, "no .avro file in this folder")
            for member in members:
                yield str(member.relative_to(path)), _read(member, max_bytes)
        elif path.name.endswith(ARCHIVES):
            yield from _archived(path, max_bytes)
        else:
            yield path.name, _read(path, max_bytes)


def _read(path: Path, max_bytes: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise ArchiveError(path, f"can't be read: {error.strerror}") from error
    if len(data) > max_bytes:
        raise ArchiveError(path, f"more than {max_bytes} bytes, so not one message")
    return data


def _archived(path: Path, max_bytes: int) -> Iterator[tuple[str, bytes]]:
    opener = open if path.suffix == ".tar" else gzip.open
    try:
        # "r|" reads forward only, without seeking back.
        with opener(path, "rb") as file, tarfile.open(fileobj=file, mode="r|") as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # it would remember them all: 1 KB each
                content = archive.extractfile(member) if member.isfile() else None
                if content is None:
                    continue
                if member.size > max_bytes:
                    raise ArchiveError(path, f"{member.size} bytes, more than a message's {max_bytes}", member.name)
                yield member.name, content.read()
            while file.read(2**20):
                pass  # to the end, where gzip has its checksum
    except OSError as error:
        raise ArchiveError(path, f"can't be read: {error.strerror or error}") from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise ArchiveError(path, f"damaged, or not a tar archive: {error}") from error
