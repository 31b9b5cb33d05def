"""An operator who follows a script: for demonstrations and measurements on a simulated device, never for a person.

He has a token of his own, made for one run, and speaks through the same socket as ``neuroloop operator``.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from neuroloop.config.errors import ConfigError
from neuroloop.config.tree import Config
from neuroloop.sinks.stimulator.control import ControlError, ask
from neuroloop.sinks.stimulator.token import hash_token

_TRY_EVERY_S = 0.05
_START_S = 60.0


class ScriptedOperator:
    """Ask for things in a run, as its operator.

    Parameters
    ----------
    config : Config
        One that stimulates; the device must be simulated.

    Attributes
    ----------
    config : Config
        The same, knowing this operator's token by its hash.

    Raises
    ------
    ConfigError
        If the device is a real one, or there is none.
    """

    def __init__(self, config: Config) -> None:
        stimulation = config.stimulation
        if stimulation is None:
            raise ConfigError("stimulation must be given here, got nothing")
        if stimulation.device.kind != "simulated":
            rule = "stimulation.device.kind must be 'simulated' where a script arms"
            raise ConfigError(f"{rule}, got {stimulation.device.kind!r}")
        self._token = secrets.token_urlsafe(12)
        operator = stimulation.operator.model_copy(update={"token_sha256": hash_token(self._token)})
        self.config = config.model_copy(update={"stimulation": stimulation.model_copy(update={"operator": operator})})

    def ask(self, folder: Path, verb: str, reason: str = "", override: str | None = None) -> dict[str, Any]:
        """Send one request and return the answer, ``accepted`` or not.

        Parameters
        ----------
        folder : Path
            Of the run.
        verb : str
            ``arm``, ``stop``, ...
        reason : str
        override : str, optional
            State that is named when arming.

        Raises
        ------
        ControlError
            If nobody answers.
        """
        request = {"verb": verb, "token": self._token, "reason": reason}
        return ask(folder, request if override is None else {**request, "override": override})

    def insist(
        self,
        folder: Path,
        verb: str,
        reason: str,
        override: str | None = None,
        *,
        is_over: Callable[[], bool] = lambda: False,
        timeout_s: float = _START_S,
    ) -> dict[str, Any]:
        """Ask again and again until it is accepted, as when a run is only beginning; return the last answer.

        Parameters
        ----------
        is_over : callable
            Ends the asking.
        timeout_s : float
        """
        end = time.monotonic() + timeout_s
        answer: dict[str, Any] = {"accepted": False, "state": "", "text": "nobody answers"}
        while not is_over() and time.monotonic() < end:
            with suppress(ControlError):
                answer = self.ask(folder, verb, reason, override)
            if answer["accepted"]:
                break
            time.sleep(_TRY_EVERY_S)
        return answer
