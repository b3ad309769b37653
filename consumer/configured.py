"""The stream and the decoder that settings speak of."""

from ..schemas.columns import Wanted
from ..schemas.decode import Decoder
from ..schemas.installed import installed_schemas
from ..schemas.registry import Registry
from .config import Settings
from .streams.base import Stream
from .streams.registry import stream_of


def configured_stream(settings: Settings) -> Stream:
    """The stream with its settings."""
    state, history = settings.state, settings.history
    if settings.stream == "ztf":
        from .streams.ztf import Gate, Ztf

        gate = Gate(**settings.gate.model_dump())
        return Ztf(gate, history.mode, state.capacity, state.lifetime, history.points)
    if settings.stream == "lsst":
        from .streams.lsst import Lsst
        from .streams.lsst_state import Rules

        rules = Rules(**settings.lsst.model_dump())
        return Lsst(rules, history.mode, state.capacity, state.lifetime, history.points)
    if settings.stream == "behaviour":
        from .streams.behaviour import Behaviour

        return Behaviour(state.capacity, state.lifetime)
    if settings.stream == "observation":
        from .streams.observation import Observation

        return Observation(settings.observation.products)
    if settings.definition is not None:
        from .streams.own import Own

        return Own(settings.definition, state.capacity, state.lifetime)
    return stream_of(settings.stream, settings.own)


def decoder_of(
    settings: Settings, stream: Stream, wanted: Wanted | None = None, make: type[Decoder] = Decoder
) -> Decoder:
    """The decoder of the topic's framing; it reads `wanted`, or all that the stream wants."""
    framing = settings.framing or stream.framing
    pinned = stream.schema() if framing == "plain" else None
    return make(wanted or stream.wanted, framing, pinned, registry_of(settings))


def registry_of(settings: Settings) -> Registry | None:
    """Where schema ids are looked up, if anywhere."""
    where = settings.registry
    folder = where.folder or (installed_schemas() if settings.stream == "lsst" else None)
    return Registry(where.url or None, folder, where.cache, patient=True) if where.url or folder else None
