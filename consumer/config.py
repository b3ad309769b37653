"""Settings: defaults < preset < TOML file < environment (`SKIM_KAFKA__BOOTSTRAP`) < flags. Unknown keys are errors."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from ..schemas.decode import Choice
from ..schemas.errors import SkimError
from .channel import ChannelSettings
from .client_files import Keeper
from .login import group_problem
from .opening import LostOffsets
from .own import definitions_of, without_streams
from .place import place_of, until_of
from .preset import PresetSource, preset_of
from .rule import Rule
from .streams.definition import Definition
from .streams.toml_lines import Place
from .summary_settings import SummarySettings
from .topics import Nightly, Single, topics_of


class ConfigError(SkimError):
    """A setting is wrong; each problem names its key."""

    def __init__(self, problems: list[str], file: Path | None) -> None:
        where = f" (file {file}, environment SKIM_…, flags)" if file else " (environment SKIM_…, flags)"
        super().__init__("settings" + where + ":\n  " + "\n  ".join(problems))
        self.problems = problems
        self.file = file


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid")


class KafkaSettings(_Section):
    """Where messages come from."""

    bootstrap: str = "127.0.0.1:9092"
    group: str = "skimstream"  # {user} in it is the user's name
    protocol: Literal["classic", "consumer"] = "classic"  # "consumer" is KIP-848, for brokers from 4.0 on
    member: str = ""  # a name of its own for each worker: static membership, no rebalance when it restarts
    # For partitions that the board has no offset of: earliest, latest, a time (2026-11-20T03:00Z), a file of offsets.
    start: str = "earliest"
    nights: Annotated[int, Field(ge=1, le=30)] = 2  # of a topic a night (`topic` with {date:…}), so many are read
    until: str = ""  # where a worker ends: now, a time, a file of offsets; it goes on for ever without
    # When the topic no longer has the records to go on from (retention): end with an error, or skip them and say so.
    lost_offsets: LostOffsets = "stop"
    # Who we are: SASL's user name and password, or OIDC's client id and secret.
    user: str = ""
    password: SecretStr = SecretStr("")
    password_file: Path | None = None
    credentials: Keeper = "settings"  # or where a stream's own client keeps them
    options: dict[str, str | int | bool] = {}  # any librdkafka key, verbatim

    @field_validator("start")
    @classmethod
    def _is_a_place(cls, start: str) -> str:
        place_of(start)
        return start

    @field_validator("until")
    @classmethod
    def _is_an_end(cls, until: str) -> str:
        if until:
            until_of(until)
        return until


class OutgoingSettings(_Section):
    """Where dead letters and alerts are written: to the brokers that messages come from, if none are named."""

    bootstrap: str = ""
    options: dict[str, str | int | bool] = {}  # any librdkafka key, verbatim; those of [kafka] don't hold here


class RedisSettings(_Section):
    """Where the board is."""

    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    timeout: Annotated[float, Field(gt=0)] = 2.0

    @field_validator("url")
    @classmethod
    def _is_redis(cls, url: SecretStr) -> SecretStr:
        """Checked here, where nothing prints it: it may hold a password."""
        try:
            parts = urlsplit(url.get_secret_value())
            right = parts.scheme in ("redis", "rediss", "unix") and (parts.port is None or parts.port > 0)
        except ValueError:
            right = False
        if not right:
            raise ValueError("no redis://, rediss:// or unix:// URL; percent-encode special characters in its password")
        return url


class BatchSettings(_Section):
    """A batch ends at `size` messages or after `seconds` at the latest; while more wait, it grows up to `most`.

    No effect on scores.
    """

    size: Annotated[int, Field(ge=1, le=100_000)] = 500
    seconds: Annotated[float, Field(gt=0, le=10)] = 0.1
    most: Annotated[int, Field(ge=1, le=100_000)] = 4_000


class BoardSettings(_Section):
    """How much of each night is kept, and for how long; `name` stands in its keys (the stream's name if empty)."""

    name: str = ""
    kept: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    days: Annotated[float, Field(gt=0)] = 90.0


class CheckpointSettings(_Section):
    """How often a partition's memory is saved: so much is read again after a crash."""

    seconds: Annotated[float, Field(gt=0, le=3_600)] = 10.0


class StateSettings(_Section):
    """Users (objects) in memory a partition; the others wait in Redis, for `lifetime` events of the partition."""

    capacity: Annotated[int, Field(ge=1_000, le=50_000_000)] = 200_000
    lifetime: Annotated[int, Field(ge=100_000)] = 5_000_000  # no shorter than the largest batch


class WatchdogSettings(_Section):
    """A worker that has lag and applies nothing for so long ends with an error."""

    seconds: Annotated[float, Field(gt=0)] = 300.0


class HeartbeatSettings(_Section):
    """How often a line says that the worker lives, and what it does; 0 is never."""

    seconds: Annotated[float, Field(ge=0)] = 60.0


class ShutdownSettings(_Section):
    """A worker that is told to stop ends within so long; less than Kubernetes' 30 s (terminationGracePeriodSeconds)."""

    seconds: Annotated[float, Field(gt=0, le=3_600)] = 20.0


class MetricsSettings(_Section):
    """Where `/metrics` is served; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9464


class RegistrySettings(_Section):
    """Where writer schemas are looked up by id (framing "confluent")."""

    url: str | None = None  # a Confluent-compatible schema registry
    folder: Path | None = None  # .avsc files on this machine, asked when the registry doesn't know or answer
    cache: Path | None = None  # what the registry has told is kept here


class GateSettings(_Section):
    """The real/bogus gate of the stream `ztf`."""

    min_real_bogus: float = 0.55
    min_deep_real_bogus: float = 0.0
    max_bad_pixels: float = 0.0


class LsstSettings(_Section):
    """What the stream `lsst` scores: the gate, the points a band needs, and whether forced photometry counts."""

    min_reliability: Annotated[float, Field(ge=0, le=1)] = 0.5
    min_points: Annotated[int, Field(ge=1, le=1_000)] = 4
    forced: bool = True


class ObservationSettings(_Section):
    """Which products the stream `observation` scores: all types, or images alone."""

    products: Literal["all", "image"] = "all"


class HistorySettings(_Section):
    """Where the light curves of `ztf` and `lsst` come from: each alert's own packet, or also what is remembered.

    "state" needs a topic keyed by object. An object of `ztf` takes 50 bytes a point, of `lsst` 25: 1 GB, or 0.5, for
    200,000 of them (`state`).
    """

    mode: Literal["packet", "state"] = "packet"
    points: Annotated[int, Field(ge=1, le=1_000)] = 100


class AnomaliesSettings(_Section):
    """The topic that gets what the rules of `[[monitor]]` ask for."""

    topic: str | None = None  # skim.<stream>.anomalies by default; "" = none


class Settings(BaseSettings):
    """All settings of one worker."""

    model_config = SettingsConfigDict(env_prefix="SKIM_", env_nested_delimiter="__", extra="forbid")

    stream: str = "ztf"
    preset: str = ""  # a public stream by name (`skim presets`): its settings hold where nothing else is said
    topic: str = ""
    framing: Choice | None = None  # how the topic's records travel; the stream's own default if none
    rekey: bool = False  # the topic is not keyed by object: repartition it first, through `<topic>.rekeyed`
    rekey_partitions: Annotated[int, Field(ge=1, le=10_000)] | None = None  # by default as many as the topic has
    model: Path | None = None
    kafka: KafkaSettings = KafkaSettings()
    outgoing: OutgoingSettings = OutgoingSettings()
    redis: RedisSettings = RedisSettings()
    batch: BatchSettings = BatchSettings()
    board: BoardSettings = BoardSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    state: StateSettings = StateSettings()
    watchdog: WatchdogSettings = WatchdogSettings()
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    shutdown: ShutdownSettings = ShutdownSettings()
    metrics: MetricsSettings = MetricsSettings()
    registry: RegistrySettings = RegistrySettings()
    gate: GateSettings = GateSettings()
    lsst: LsstSettings = LsstSettings()
    observation: ObservationSettings = ObservationSettings()
    history: HistorySettings = HistorySettings()
    monitor: tuple[Rule, ...] = ()
    channels: dict[str, ChannelSettings] = {}
    summary: SummarySettings = SummarySettings()
    anomalies: AnomaliesSettings = AnomaliesSettings()

    _file: Path | None = PrivateAttr(None)
    _flags: Mapping[str, Any] = PrivateAttr({})
    _own: Mapping[str, Definition] = PrivateAttr({})
    _brought: frozenset[Place] = PrivateAttr(frozenset())

    @property
    def file(self) -> Path | None:
        """The TOML file that they come from, if any."""
        return self._file

    def again(self) -> Self:
        """The same, read anew. Raises as `load_settings`."""
        return cast(Self, load_settings(self._file, self._flags))

    @property
    def batch_most(self) -> int:
        """The largest batch whose objects are in memory together for certain."""
        return min(self.batch.most, self.state.capacity)

    @property
    def topics(self) -> Single | Nightly:
        """What is read: the topic, the stream's name if none is set; or those of the last nights."""
        return topics_of(self.topic or self.stream, self.kafka.nights)

    @property
    def one_topic(self) -> str:
        """The topic, for who can read only one. Raises `ConfigError` for a topic a night."""
        topics = self.topics
        if isinstance(topics, Nightly):
            raise ConfigError([f"topic: name one night's, such as {topics.now()[-1]} (--topic)"], self._file)
        return topics.name

    @property
    def own(self) -> Mapping[str, Definition]:
        """The streams that the file defines."""
        return self._own

    @property
    def brought(self) -> frozenset[Place]:
        """The places whose values are the preset's."""
        return self._brought

    @property
    def definition(self) -> Definition | None:
        """That of the stream, if the file defines it."""
        return self._own.get(self.stream)

    def defined(self, own: Mapping[str, Definition]) -> Self:
        """With definitions; of the stream's own, what isn't set otherwise holds. A stream that is alone is meant.

        A definition is nearer than a preset: what only that says gives way.
        """
        self._own = own
        said = {name for name in self.model_fields_set if (name,) not in self._brought}
        if "stream" not in said and len(own) == 1:
            self.stream = next(iter(own))
        if (of := self.definition) is not None:
            self.topic = (self.topic if "topic" in said else "") or of.topic or self.topic
            self.framing = (self.framing if "framing" in said else None) or of.framing or self.framing
            self.model = self.model or of.model
            if of.kept is not None and "kept" not in self.board.model_fields_set:
                self.board = self.board.model_copy(update={"kept": of.kept})
        return self

    @model_validator(mode="after")
    def _a_batch_fits(self) -> Self:
        if self.state.capacity < self.batch.size:
            raise ValueError("state.capacity must be batch.size or more: a batch's objects are in memory together")
        return self

    @field_validator("topic")
    @classmethod
    def _is_a_topic(cls, topic: str) -> str:
        topics_of(topic, 1)
        return topic

    @model_validator(mode="after")
    def _the_group_is_let_in(self) -> Self:
        user = self.kafka.user or str(self.kafka.options.get("sasl.username", ""))
        if self.preset and (problem := group_problem(preset_of(self.preset), user, self.kafka.group)):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _an_end_is_found(self) -> Self:
        if self.kafka.until and self.rekey:
            raise ValueError(
                "kafka.until (--until) is not for rekey: in the copy, offsets and order of time are others"
            )
        return self

    @model_validator(mode="after")
    def _rules_can_be_told(self) -> Self:
        names = [rule.name for rule in self.monitor]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two rules of monitor are named {twice[0]!r}: give each a name of its own")
        wanted = {name: f"the rule {rule.name!r}" for rule in self.monitor for name in rule.channels}
        wanted |= {name: "summary" for name in self.summary.channels}
        for name, by in wanted.items():
            if name not in self.channels:
                known = ", ".join(sorted(self.channels)) or "none"
                raise ValueError(f"{by} wants the channel {name!r}, which isn't among [channels]: {known}")
        return self


class _Toml(TomlConfigSettingsSource):
    """A TOML file without the streams that it defines."""

    def _read_file(self, file_path: Any) -> dict[str, Any]:
        return without_streams(super()._read_file(file_path))


def load_settings(file: Path | None, flags: Mapping[str, Any]) -> Settings:
    """Settings from a TOML file (may be None), the environment and flags (nested; None = not given).

    Raises `ConfigError` with every problem found, `DefinitionError` with those of streams that the file defines.
    """
    if file is not None and not file.is_file():
        raise ConfigError([f"{file} is not there or not a file"], file)

    brought: list[frozenset[Place]] = []

    class Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            toml = (_Toml(settings_cls, toml_file=file),) if file else ()
            return (init_settings, env_settings, *toml, PresetSource(settings_cls, brought.append))

    try:
        settings = Sourced(**_given(flags))
        settings._file, settings._flags = file, flags  # noqa: SLF001 - our own
        settings._brought = frozenset().union(*brought)  # noqa: SLF001
        return settings.defined(definitions_of(file)) if file else settings
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in error.errors()]
        raise ConfigError(problems, file) from error
    except ValueError as error:  # not TOML, or an environment variable that isn't JSON where JSON is needed
        raise ConfigError([str(error)], file) from error


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given, without the None."""
    given: dict[str, Any] = {}
    for name, value in flags.items():
        if isinstance(value, Mapping):
            value = _given(value)
            if not value:
                continue
        if value is not None:
            given[name] = value
    return given
