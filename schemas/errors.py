"""The errors of skimstream: one root, each subclass with the fields a handler needs.

This is the one module that every room may import, so that there can be one root.
"""

from typing import Literal, get_args

#: Why a message was refused: the closed set of the metric `skim_rejected_messages_total{reason}`.
Reason = Literal[
    "decode",  # the bytes are not what their schema says
    "schema_unknown",  # no schema to read them with
    "schema_refused",  # a schema outside the budgets of `limits`, or not valid Avro
    "too_large",  # more bytes than a message may have
    "invalid",  # decoded, but a value is outside its range or of the wrong type
    "non_finite",  # decoded, but a value that must be a number is NaN or infinite
    "crash",  # reading or scoring it has ended the process more than once
]
REASONS: tuple[Reason, ...] = get_args(Reason)


class SkimError(Exception):
    """Root of every error that skimstream raises on purpose; its text says what to do."""


class DecodeError(SkimError):
    """One message can't be read. `reason` is the metric label, `detail` is for people."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail

    def bare(self) -> "DecodeError":
        """The same, to be kept: what was raised holds the frames that it came through, and with them whole batches."""
        return DecodeError(self.reason, self.detail)
