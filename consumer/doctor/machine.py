"""This machine: models, schemas, folders, limits."""

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import redis

from ...schemas.errors import SkimError
from ...schemas.fetch import FetchError, Host
from ...scoring.errors import FeatureMismatch, ModelError
from ...scoring.model import Model
from ..bundles import Bundles
from ..config import Settings
from ..configured import configured_stream, registry_of
from .finding import Finding, found, ok
from .store import client_of

REGISTRY_SECONDS = 5.0
ROOM_BYTES = 200_000_000
OPEN_FILES = 1_024


def model(settings: Settings, load: Callable[[], Model]) -> Iterator[Finding]:
    """Whether the model can be read and takes the stream's features; the one in force, too."""
    stream = configured_stream(settings)
    try:
        own = load()
        own.require(stream.features)
    except FeatureMismatch as error:
        yield found("model", "model-features", str(error))
    except (SkimError, OSError) as error:
        yield found("model", "model", str(error))
    else:
        yield ok("model", f"{own.id}, {len(own.features)} features")
    try:
        with client_of(settings) as client:
            bundles = Bundles(client, settings.board.name or stream.name)
            if active := bundles.active().model:
                bundles.load(active).require(stream.features)
                yield ok("model", f"{active} is in force")
    except ModelError as error:
        yield found("model", "model-activated", str(error))
    except redis.RedisError:
        return  # another check says so


def registry(settings: Settings) -> Iterator[Finding]:
    """Where schemas come from that messages name by id."""
    where, known = settings.registry, registry_of(settings)
    if known is None:
        if (settings.framing or configured_stream(settings).framing) == "confluent":
            yield found("registry", "registry-missing", "messages name their schemas by id, and nobody is there to ask")
        return
    if where.url:
        try:
            host = Host(where.url, REGISTRY_SECONDS)
            host.within(partial(host.get, "/schemas/types"))
        except FetchError as error:
            if error.kind == "absent":  # an older one, that has no such page: but it answers
                yield ok("registry", "answers")
            else:
                refused = any(code in error.detail for code in ("401", "403"))
                yield found("registry", "registry-credentials" if refused else "registry-unreachable", error.detail)
        except ValueError as error:
            yield found("registry", "registry-unreachable", str(error))
        else:
            yield ok("registry", "answers")
    if where.folder is not None:
        count = sum(1 for _ in where.folder.rglob("*.avsc")) if where.folder.is_dir() else 0
        if count:
            yield ok("registry", f"{count} schemas in {where.folder}")
        else:
            yield found("registry", "registry-folder", f"{where.folder} has no .avsc file")
    if where.cache is not None and not writable(where.cache):
        yield found("registry", "registry-cache", f"{where.cache} can't be written to")


def machine(settings: Settings) -> Iterator[Finding]:
    """Compiled kernels, disks, limits."""
    caches = numba_caches()
    if not any(place.is_dir() and next(place.rglob("*.nbi"), None) for place in caches):
        yield found("kernels", "kernels-cold", "no compiled kernels are there")
    else:
        yield ok("kernels", "compiled kernels are there")
    if closed := [place for place in caches if not writable(place)]:
        yield found("kernels", "kernels-unwritable", f"{closed[0]} can't be written to")
    places = [*caches[:1], *([settings.registry.cache] if settings.registry.cache else [])]
    free = min(shutil.disk_usage(existing(place)).free for place in places)
    if free < ROOM_BYTES:
        yield found("disk", "disk-space", f"{free / 1e6:,.0f} MB left for caches")
    else:
        yield ok("disk", f"{free / 1e9:,.1f} GB left for caches")
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < OPEN_FILES:
        yield found("open-files", "open-files", f"{soft} files may be open at once")
    else:
        yield ok("open-files", f"{soft} may be open at once")


def numba_caches() -> list[Path]:
    """Where compiled kernels are kept: NUMBA_CACHE_DIR, or beside the files that have them."""
    import numba

    if chosen := getattr(numba.config, "CACHE_DIR", ""):
        return [Path(chosen)]
    from ...schemas import kernel
    from ...scoring import forest

    return [Path(str(one.__file__)).parent / "__pycache__" for one in (kernel, forest)]


def existing(path: Path) -> Path:
    """The folder itself, or the nearest one above that is there."""
    path = path.absolute()
    return next(one for one in (path, *path.parents) if one.exists())


def writable(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself."""
    near = existing(folder)
    return near.is_dir() and os.access(near, os.W_OK | os.X_OK)
