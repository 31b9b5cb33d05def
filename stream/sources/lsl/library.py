"""liblsl itself: its settings, without its chatter."""

from __future__ import annotations

import pylsl

from neuroloop.config.lsl_settings import lsl_settings


def quiet_library() -> None:
    """Keep liblsl's notes off standard error; call it before anything else of LSL, in every process.

    The user's settings file stays in force; one with a ``[log]`` section of its own decides for itself.
    """
    pylsl.set_config_content(lsl_settings())
