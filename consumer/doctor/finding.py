"""What the doctor may find: a closed set, each with a short name that stays, and what to do about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ..connection import TROUBLES, Trouble

Level = Literal["ok", "warning", "problem"]
#: A problem keeps a worker from working, or from keeping its promises; a warning may, one day.
WARNING: Level = "warning"
PROBLEM: Level = "problem"
OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found: `id` is "ok" or one of `KNOWN`; `says` is what was seen, `do` what to do about it."""

    check: str
    level: Level
    id: str
    says: str
    do: str = ""


#: A check yields what it finds; the names of the checks are those of the parts of a stack.
Check = Callable[[], Iterator[Finding]]

KNOWN = MappingProxyType(
    {
        **{one.id: (PROBLEM, one.do) for one in TROUBLES},
        "no-answer": (
            PROBLEM,
            "see that what the check speaks to is well; a firewall that drops packets looks like this",
        ),
        "check-failed": (PROBLEM, "report it, with this line: it is a mistake of the doctor's"),
        "preset-required": (PROBLEM, "set it: only you know it; `skim presets NAME` says what it is"),
        "preset-login": (PROBLEM, "set kafka.user and kafka.password; `skim presets NAME` says where to get them"),
        "credentials": (PROBLEM, "mend the file, or set kafka.user and kafka.password yourself"),
        "group-name": (PROBLEM, "leave kafka.group out, or begin it with {user}-"),
        "kafka-advertised": (
            PROBLEM,
            "the brokers name addresses that can't be reached from here: correct their advertised.listeners",
        ),
        "topic-empty": (WARNING, "see that something is sent; `skim replay` and `skim simulate` do it"),
        "dead-letters-missing": (
            WARNING,
            "the worker creates it as it starts, if it may; else create it, one partition",
        ),
        "dead-letters-acl": (
            PROBLEM,
            "ask for the ACL Write on it, or name brokers that take them (outgoing.bootstrap); else the first broken "
            "message ends the worker",
        ),
        "anomalies-missing": (WARNING, "the worker creates it as it starts, if it may; else create it, one partition"),
        "anomalies-acl": (
            PROBLEM,
            'ask for the ACL Write on it; or set outgoing.bootstrap, or anomalies.topic ("" for none)',
        ),
        "workers-idle": (WARNING, "run no more workers than the topic has partitions, or give the topic more"),
        "redis-unreachable": (PROBLEM, "see that it runs and that redis.url (SKIM_REDIS__URL) points at it"),
        "redis-password": (PROBLEM, "correct user and password in redis.url (SKIM_REDIS__URL), percent-encoded"),
        "redis-loading": (WARNING, "wait: it reads its files"),
        "redis-version": (PROBLEM, "run Redis 7.0 or newer, or Valkey"),
        "redis-policy": (PROBLEM, "CONFIG SET maxmemory-policy noeviction, and in its configuration file"),
        "redis-persistence": (
            PROBLEM,
            'set appendonly yes, or save "60 1": without either a restart of Redis forgets the board and the offsets',
        ),
        "redis-unwritten": (PROBLEM, "its last write to disk failed: see its log, and the space on its disk"),
        "redis-hidden": (WARNING, "whether it writes to disk can't be asked (CONFIG is forbidden): ask its owner"),
        "redis-memory": (WARNING, "give it more memory, or keep less: board.kept, board.days, state.lifetime"),
        "redis-replica": (PROBLEM, "point redis.url at the primary: a replica takes no writes"),
        "clock": (WARNING, "set this machine's clock (NTP): ages and latencies are told wrong; scores are not"),
        "registry-missing": (PROBLEM, "set registry.url or registry.folder: this framing has schemas by id only"),
        "registry-unreachable": (
            PROBLEM,
            "see registry.url; schemas that registry.cache or registry.folder have still work",
        ),
        "registry-credentials": (PROBLEM, "put user and password into registry.url, or correct them"),
        "registry-folder": (PROBLEM, "put the .avsc files there, or correct registry.folder"),
        "registry-cache": (
            WARNING,
            "let skim write there, or set another registry.cache: a restart asks the registry anew",
        ),
        "model": (PROBLEM, "train one with `skim train`, or correct model (--model)"),
        "model-features": (PROBLEM, "train a model for this stream, with the settings that it now has"),
        "model-activated": (
            PROBLEM,
            "`skim models rollback STREAM`, or activate another: workers go on with their own",
        ),
        "rule-field": (WARNING, "correct `where`; docs/monitor.md says which fields there are"),
        "kernels-cold": (WARNING, "`skim warmup` compiles them now; else the first start takes up to half a minute"),
        "kernels-unwritable": (WARNING, "set NUMBA_CACHE_DIR to a folder of skim's own, else every start compiles"),
        "disk-space": (WARNING, "make room"),
        "open-files": (WARNING, "raise the limit (ulimit -n, LimitNOFILE=): each broker and client takes some"),
    }
)


def ok(check: str, says: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", OK, says)


def found(check: str, name: str, says: str) -> Finding:
    """One of `KNOWN`."""
    level, do = KNOWN[name]
    return Finding(check, level, name, says, do)


def troubled(check: str, trouble: Trouble, says: str) -> Finding:
    """What keeps Kafka from being used."""
    return found(check, trouble.id, f"{trouble.means} ({says})")
