"""Settings of sinks of events that somebody else has written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import ConfigDict, WrapSerializer, WrapValidator, model_validator

from neuroloop.config.open_settings import OpenKinds, OpenSchema, name_from_kind, write_own
from neuroloop.config.settings import Name, Settings


class OwnSinkSettings(Settings):
    """A sink of events that you have written; its own keys stand beside these two."""

    kind: str
    """``package.module:Class``, or a name that is registered or that an installed package offers."""
    name: Name
    """Name of the sink, in messages and in the summary; that of its class in small letters unless given."""

    @model_validator(mode="before")
    @classmethod
    def _name_follows_from_the_kind(cls, values: Any) -> Any:
        return name_from_kind(cls, values)


class UnreadSinkSettings(OwnSinkSettings):
    """Settings of a sink whose code was not asked: kept as they were written, and never built."""

    model_config = ConfigDict(extra="allow")


SINK_KINDS = OpenKinds("sink", "neuroloop.sinks", (), base=OwnSinkSettings, unread=UnreadSinkSettings)
"""Which kinds of sink there are."""

if TYPE_CHECKING:
    SinkSettings = OwnSinkSettings
else:
    _named = "Of the sink; the class's in small letters unless given."
    SinkSettings = Annotated[
        OwnSinkSettings, WrapValidator(SINK_KINDS.open), WrapSerializer(write_own), OpenSchema(_named)
    ]
