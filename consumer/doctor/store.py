"""Redis: does it answer, is it one, does it keep what it is given, has it room, what time is it there."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..config import Settings
from .finding import Finding, found, ok

CHECK = "redis"
SECONDS = 3.0
OLDEST = (7, 0)
FULL = 0.85
SKEW_SECONDS = 2.0


def client_of(settings: Settings) -> redis.Redis:
    """A client that fails at once, and waits for nothing longer than a few seconds."""
    url, wait = settings.redis.url.get_secret_value(), min(settings.redis.timeout, SECONDS)
    return redis.Redis.from_url(url, socket_timeout=wait, socket_connect_timeout=wait, retry=Retry(NoBackoff(), 0))


def store(settings: Settings, clock: Callable[[], float] = time.time) -> Iterator[Finding]:
    """What is wrong with the store of boards, offsets and checkpoints."""
    with client_of(settings) as client:
        try:
            about: dict[str, Any] = dict(client.info())
            seconds, microseconds = client.time()
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError) as error:
            yield found(CHECK, "redis-password", str(error))
            return
        except redis.BusyLoadingError as error:
            yield found(CHECK, "redis-loading", str(error))
            return
        except redis.RedisError as error:
            yield found(CHECK, "redis-unreachable", str(error))
            return
        skew = clock() - (seconds + microseconds / 1e6)
        yield from version(about)
        yield from keeps(about, client)
        yield from room(about)
    if abs(skew) > SKEW_SECONDS:
        yield found("clock", "clock", f"this machine is {abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} Redis")
    else:
        yield ok("clock", f"as Redis has it, within {SKEW_SECONDS:g} s")


def version(about: dict[str, Any]) -> Iterator[Finding]:
    """Valkey says which Redis it stands in for."""
    told = str(about.get("redis_version", ""))
    numbers = tuple(int(part) for part in told.split(".")[:2] if part.isdigit())
    name = f"Valkey {about['valkey_version']}" if "valkey_version" in about else f"Redis {told or 'of unknown version'}"
    if numbers < OLDEST:
        yield found(CHECK, "redis-version", f"{name} is too old")
    elif about.get("role") in ("slave", "replica"):
        yield found(CHECK, "redis-replica", f"{name} is a replica of {about.get('master_host')}")
    else:
        yield ok(CHECK, f"{name} answers")


def keeps(about: dict[str, Any], client: redis.Redis) -> Iterator[Finding]:
    """Whether what was written is still there after a restart, and isn't thrown away when memory gets scarce."""
    check = "redis-keeps"
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield found(check, "redis-policy", f"maxmemory-policy is {policy}: it may drop what partitions learned")
    if about.get("aof_enabled"):
        kept, last = "appendonly yes", about.get("aof_last_write_status", "ok")
    else:
        last = about.get("rdb_last_bgsave_status", "ok")
        try:
            kept = str(client.config_get("save").get("save", ""))
        except redis.RedisError as error:
            yield found(check, "redis-hidden", str(error))
            return
        if not kept:
            yield found(check, "redis-persistence", "it writes nothing to disk")
            return
        kept = f'save "{kept}"'
    if last != "ok":
        yield found(check, "redis-unwritten", f"{kept}, but the last write says {last}")
    else:
        yield ok(check, kept)


def room(about: dict[str, Any]) -> Iterator[Finding]:
    """Memory that is left, of its own limit or of the machine."""
    used = int(about.get("used_memory", 0))
    limit = int(about.get("maxmemory") or about.get("total_system_memory") or 0)
    says = f"{used / 1e6:,.0f} of {limit / 1e6:,.0f} MB used"
    if limit and used > FULL * limit:
        yield found("redis-memory", "redis-memory", says)
    else:
        yield ok("redis-memory", says)
