"""The models that a worker scores with: its own, until Redis says otherwise."""

import logging

from ..scoring.errors import ModelError
from ..scoring.model import Model
from .bundles import Bundles
from .metrics import Metrics
from .streams.base import Stream

log = logging.getLogger(__name__)


class Chosen:
    """`model` scores, `shadow` looks on. `own` is what the worker was started with.

    A model that can't be used here (damaged, of other features, of a newer release) is refused once, and the one before
    goes on: a bad activation stops no stream.
    """

    def __init__(self, own: Model, stream: Stream, bundles: Bundles, metrics: Metrics) -> None:
        own.require(stream.features)
        self.own, self.model = own, own
        self.shadow: Model | None = None
        self.stream = stream
        self.bundles = bundles
        self.metrics = metrics
        self.refused: set[str] = set()

    def ask(self) -> None:
        """Take up what is in force. Raises `redis.RedisError`."""
        active = self.bundles.active()
        model = self._find(active.model) if active.model else self.own
        if model is not None and model.id != self.model.id:
            log.warning("another model is in force", extra={"model": model.id, "before": self.model.id})
        self.model = model or self.model
        self.shadow = (self._find(active.shadow) or self.shadow) if active.shadow else None
        self.metrics.observe_models(self.model, self.shadow)

    def _find(self, wanted: str) -> Model | None:
        """The model with this id; None if it can't be used."""
        for one in (self.own, self.model, self.shadow):
            if one is not None and one.id == wanted:
                return one
        if wanted in self.refused:
            return None
        try:
            model = self.bundles.load(wanted)
            model.require(self.stream.features)
        except ModelError as error:
            self.refused.add(wanted)
            self.metrics.refused_models.labels(self.stream.name).inc()
            log.error("model refused", extra={"model": wanted, "reason": str(error)})
            return None
        log.info("model loaded", extra={"model": wanted})
        return model
