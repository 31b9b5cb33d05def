"""The supervisor's side of stimulation: starts the stimulator process, shows that it lives itself, hands stops on.

A stimulator process that died or hangs is never started again in a run: its device has gone off by itself when its
lease was over. The rest of the run goes on, so that the recording is whole, and ends with a status that is not 0.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from neuroloop.config.errors import ConfigError
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.config.tree import Config
from neuroloop.sinks.run_folder.folder import RunFolderError, add_to_summary
from neuroloop.sinks.stimulator.envelope.assessing import assess_table
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, AuditError, read_log
from neuroloop.sinks.stimulator.log.summary import summary_of
from neuroloop.sinks.stimulator.token import TOKEN_FILE, forget_token, hash_token, make_token
from neuroloop.stream.assembly.plan import Plan
from neuroloop.stream.live.child_process import Child, RunFailed
from neuroloop.stream.live.live_source import SourcePlan
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.live.stimulation.process import run_stimulator
from neuroloop.stream.live.stimulation.setup import StimulationPlan
from neuroloop.stream.live.stimulation.stimulation_state import StimulationLink

_END_S = 10.0
_SAY_S = 0.2
_log = logging.getLogger("neuroloop.run")


def check_stimulation(config: Config, out: Path | None) -> None:
    """Refuse a run that cannot stimulate as it is configured.

    Raises
    ------
    ConfigError
        If there is no run folder for its log, or the mode does not fit the device.
    ConfigError
        If the table or the limits have faults, or a limit is looser than the hard one.
    """
    settings = config.stimulation
    if settings is None:
        return
    if out is None:
        raise ConfigError("out must be given for a run that stimulates, got nothing: its log lies there")
    if settings.mode == "simulate" and settings.device.kind != "simulated":
        raise ConfigError(
            f"stimulation.mode must be 'real', 'sham' or 'blinded' for a device of kind {settings.device.kind!r}, "
            "got 'simulate'"
        )
    if settings.mode == "blinded" and settings.blinding is None:
        raise ConfigError("stimulation.blinding must be given for mode 'blinded', got nothing")
    assess_table(settings)


@dataclass(frozen=True)
class GuardOptions:
    """How a run is guarded.

    Parameters
    ----------
    out : Path
        Folder of the run.
    cores : frozenset of int
        Of the stimulator process.
    has_keys : bool
        Whether keys of the terminal stop.
    """

    out: Path
    cores: frozenset[int]
    has_keys: bool = True


class StimulatorGuard:
    """The stimulator process of one run, watched.

    Parameters
    ----------
    config : Config
        With ``stimulation``.
    source : SourcePlan
    plan : Plan
    shared : Shared
    options : GuardOptions
    """

    def __init__(self, config: Config, source: SourcePlan, plan: Plan, shared: Shared, options: GuardOptions) -> None:
        if config.stimulation is None or shared.stimulation is None:
            raise ValueError("stimulation must be configured and shared, got None")
        self._settings: StimulationSettings = config.stimulation
        self._link: StimulationLink = shared.stimulation
        self._out = options.out
        self._has_keys = options.has_keys
        self._stack = ExitStack()
        self._alive_ns = self._link.numbers("supervisor_ns")
        self._hangs_ns = round(max(2.0, 4 * self._settings.gate.watchdog_s) * 1e9)
        self._failure: str | None = None
        self._is_ended = False
        self.poll_s = self._settings.gate.watchdog_s / 4
        """The supervisor must call `watch` at least so often."""
        token_sha256 = self._settings.operator.token_sha256 or self._make_token()
        self._stack.callback(forget_token, options.out)
        self.beat()
        arguments = StimulationPlan(
            config=config,
            source=source,
            out=options.out,
            cores=options.cores,
            run_id=secrets.token_hex(8),
            token_sha256=token_sha256,
            plan_sha256=plan.hash,
            bundle_sha256=plan.bundle,
            delay_s=plan.delay_s,
            decision_s=1.0 / plan.stages[-1]["sfreq"],
            window_s=plan.warmup_s,
        )
        self._child = Child(run_stimulator, (arguments, shared), "stimulator")

    def _make_token(self) -> str:
        """Make a token, show it once where somebody can see it, and return its hash."""
        token = make_token(self._out)
        if sys.stderr is not None and sys.stderr.isatty():
            sys.stderr.write(f"operator token: {token}\n")  # not into the log, which may be kept
        else:
            _log.info("operator token: in %s", self._out / TOKEN_FILE)
        return hash_token(token)

    def wait_until_ready(self, is_cancelled: Callable[[], bool]) -> None:
        """Wait until the device is open and the gate is made.

        Raises
        ------
        RunFailed
            If the device cannot be opened, the ledger is in use, or a setting is wrong; in one line.
        """
        self._child.wait_until_ready(is_cancelled)
        self.beat()
        before = signal.signal(signal.SIGUSR1, lambda *_: self._stop("stops_by_signal"))
        self._stack.callback(signal.signal, signal.SIGUSR1, before)
        # terminals are not the same everywhere; commands are
        from neuroloop.stream.live.stimulation.stops import StopKeys

        keys = None
        if self._has_keys:
            keys = StopKeys.if_interactive(lambda: self._stop("stops_by_key"), self._hear_keys)
        if keys is not None:
            self._stack.callback(keys.close)
            _log.info("press s or the space bar to stop stimulation")
        _log.info("stimulation: disarmed; neuroloop operator %s arm", self._out)

    def _stop(self, channel: str) -> None:
        """Hand a stop on."""
        self._link.numbers(channel)[0] += 1
        self._link.stop.notify()

    def _hear_keys(self) -> None:
        """Show that keys are heard."""
        self._link.numbers("keys_ns")[0] = time.monotonic_ns()

    def beat(self) -> None:
        """Show that the supervisor lives."""
        self._alive_ns[0] = time.monotonic_ns()

    def wake(self) -> None:
        """Let the stimulator process look at the run's stop flag."""
        self._link.stop.notify()

    def watch(self) -> None:
        """Show that the supervisor lives; see whether the stimulator process does, and say it once if not."""
        self.beat()
        if self._failure is not None or self._is_ended:
            return
        if not self._child.is_alive:
            code = self._child.process.exitcode
            if code == 0:
                self._is_ended = True
                return
            self._fail(f"its death with exit code {code}")
            return
        last = int(self._link.numbers("stimulator_ns")[0])
        if last and time.monotonic_ns() - last > self._hangs_ns:
            with suppress(OSError):  # it says where it hangs, and must not wake up again and go on
                os.kill(self._child.process.pid or 0, signal.SIGABRT)
            self._child.process.join(_SAY_S)
            self._child.process.kill()
            self._fail(f"nothing for {self._hangs_ns * 1e-9:g} s; it was ended")

    def _fail(self, what: str) -> None:
        self._failure = f"the stimulator process must stay alive, got {what}"
        _log.error(
            "%s; the device goes off by itself within %g s, it is not started again",
            self._failure, self._settings.gate.watchdog_s,
        )  # fmt: skip

    def end(self) -> None:
        """Wait until it has switched off and closed its books, but not for ever; may be called twice."""
        self.beat()
        self._child.end(0.0 if self._failure is not None else _END_S)
        self.watch()

    def add_books(self) -> None:
        """Put the books of stimulation into the run's summary, from its log."""
        with suppress(AuditError, RunFolderError):
            add_to_summary(self._out, "stimulation", summary_of(read_log(self._out / AUDIT_FILE)))

    def check_outcome(self) -> None:
        """Say what must not pass for success.

        Raises
        ------
        RunFailed
            If the process died or its log could not be written.
        """
        if self._failure is not None:
            raise RunFailed(self._failure)
        if int(self._link.numbers("log_failed")[0]):
            raise RunFailed(f"{AUDIT_FILE} must be writable to the end, got a log that is cut off; output was off")

    def close(self) -> None:
        """End the process and give the terminal and the signals back; may be called twice."""
        if self._child.is_alive:
            self._child.end(0.0)
        self._stack.close()
