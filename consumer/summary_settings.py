"""The nightly summary, as TOML has it: `[summary]`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from .rule import Seconds


class SummarySettings(BaseModel):
    """Who gets a summary of each night, of how many objects; `quiet`: so long nothing more of the night has come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: tuple[str, ...] = ()
    objects: Annotated[int, Field(ge=1, le=100)] = 10
    quiet: Seconds = 3_600.0
