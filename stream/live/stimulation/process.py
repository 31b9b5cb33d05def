"""The stimulator process: owns the device, the gate and everything that a device may act on.

One loop on epoll: stops first, then the operator's socket, the disk, the device, the events of the hot process, and a
heartbeat. Whatever comes becomes one numbered input of the gate; what the gate says is carried out and logged. Nothing
in the loop waits: files are written by a thread, sockets do not block, the device's commands are handed over.

A process that was held up (SIGSTOP, a machine that sleeps) for longer than the watchdog time stops before it looks at
anything else. It is never started again in a run.
"""

from __future__ import annotations

import faulthandler
import logging
import select
import signal
import sys
import time
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection

from neuroloop.config.errors import NeuroloopError
from neuroloop.sinks.stimulator.control import ControlServer
from neuroloop.sinks.stimulator.log.disk_writer import DiskWriter
from neuroloop.sinks.stimulator.plain_text import plain_text
from neuroloop.stream.live.child_process import begin, tell
from neuroloop.stream.live.placement import lock_memory, quiet_memory, settle
from neuroloop.stream.live.shared_state import Shared, is_stopping, unpack_event
from neuroloop.stream.live.stimulation.controller import Controller
from neuroloop.stream.live.stimulation.inbox import Inbox, Request, SignalPipe
from neuroloop.stream.live.stimulation.liveness import Liveness
from neuroloop.stream.live.stimulation.setup import StimulationPlan, equip
from neuroloop.stream.live.stimulation.stimulation_state import STIMULATOR
from neuroloop.stream.live.stimulation.stops import StopFile, StopMarkers

_SWITCH_S = 5e-4
_AT_ONCE = 32
"""Events before the loop looks round again: a backlog must not keep it from its heartbeat."""
_LAST_ANSWERS_NS = 300_000_000
_DISK_S = 5.0
_KEYS_NS = 2 * 10**9
"""Keys that were not listened for so long are not heard."""
_STOP_FILE = "STOP"
_SIGNALS: dict[int, tuple[str, str]] = {signal.SIGUSR1: ("stop", "signal"), signal.SIGTERM: ("end", "signal")}
_log = logging.getLogger("neuroloop.stimulator")


def run_stimulator(plan: StimulationPlan, shared: Shared, ready: Connection) -> None:
    """Be the stimulator process until the hot one has ended, or a signal."""
    faulthandler.enable()  # a hang that the supervisor ends leaves the place where it was
    signals = SignalPipe(_SIGNALS)
    begin(log=plan.config.process.log, on_sigterm=None)
    inbox = Inbox()
    with ExitStack() as stack:
        try:
            writer = DiskWriter(inbox.wake)
            stack.callback(writer.close)
            equipment = equip(plan, writer, stack)  # before the priority: the device's process inherits it
            settings = settle(plan.cores, realtime=plan.config.process.priority == "auto")
            controller = Controller(plan, shared, equipment, writer)
            stimulator = Stimulator(plan, shared, controller, inbox, signals)
            stack.callback(stimulator.close)
        except NeuroloopError as error:
            tell(ready, "error", str(error))
            sys.exit(1)
        tell(ready, "ready", {**settings, "memory": "locked" if lock_memory() else "not locked"})
        sys.setswitchinterval(_SWITCH_S)
        quiet_memory()
        try:
            stimulator.run()
        finally:
            controller.finish(_DISK_S)


class Stimulator:
    """The loop.

    Parameters
    ----------
    plan : StimulationPlan
    shared : Shared
    controller : Controller
        Gate, log and device.
    inbox : Inbox
    signals : SignalPipe
    """

    def __init__(
        self, plan: StimulationPlan, shared: Shared, controller: Controller, inbox: Inbox, signals: SignalPipe
    ) -> None:
        if shared.stimulation is None:
            raise ValueError("stimulation must be shared, got None")
        settings = plan.settings
        self._gate = settings.gate
        self._link = shared.stimulation
        self._controller = controller
        self._inbox = inbox
        self._signals = signals
        self._run_stops = shared.numbers("stop")
        self._requests = self._link.requests.reader(STIMULATOR)
        self._liveness = Liveness(
            shared,
            plan.source,
            limits=controller.equipment.limits,
            config=controller.equipment.config,
            day_uc=controller.equipment.ledger.day_uc,
            watchdog_s=settings.gate.watchdog_s,
        )
        self._control = ControlServer(plan.out)
        file = settings.operator.stop_file
        self._stop_file = StopFile(plan.out / _STOP_FILE if file is None else plan.out / file)
        self._markers = StopMarkers(
            settings.operator.stop_marker,
            lambda stream: inbox.put("stop", "marker", f"marker of {stream}"),
            (plan.config.markers.names or ()) if plan.config.markers.enabled else (),
        )
        controller.try_channels = self._try_channels
        self._keys_ns = self._link.numbers("keys_ns")
        self._alive_ns = self._link.numbers("stimulator_ns")
        self._stops = {name: self._link.numbers(f"stops_by_{name}") for name in ("key", "signal")}
        self._stops_seen = dict.fromkeys(self._stops, 0)
        self._turned_ns = 0
        self._next_pulse_ns = 0
        self._ending_ns = 0
        self._must_end = False
        self._has_backlog = False
        self._hot_pid = 0
        bell = self._link.requests.bell
        if bell is None:
            raise ValueError("requests must have a bell, got None")
        self._hot_bell = bell.listen()
        self._supervisor_bell = self._link.stop.listen()
        self._epoll = select.epoll()
        self._clients: set[int] = set()
        for thing in (signals, inbox, self._control, self._stop_file, self._hot_bell, self._supervisor_bell):
            if thing.fileno() >= 0:
                self._epoll.register(thing.fileno(), select.EPOLLIN)
        self._device_fd = -1
        self._watch_device()

    def run(self) -> None:
        """Turn until the run is over."""
        self._liveness.clock.start()
        self._markers.start()
        heartbeat_ns = round(self._gate.heartbeat_s * 1e9)
        slice_s = self._gate.heartbeat_s / 2
        self._turned_ns = self._next_pulse_ns = time.monotonic_ns()
        while not self._is_over():
            wait_s = min(slice_s, max(0.0, (self._next_pulse_ns - time.monotonic_ns()) * 1e-9))
            if self._has_backlog:
                wait_s = 0.0
            ready = {fd for fd, _ in self._epoll.poll(wait_s)}
            now_ns = time.monotonic_ns()
            self._look_for_stops(now_ns)
            self._alive_ns[0] = self._turned_ns = now_ns
            self._serve_operator(ready)
            self._controller.leave()
            self._hear_device()
            self._take_events()
            now_ns = time.monotonic_ns()
            if now_ns >= self._next_pulse_ns or self._is_hot_death_new(ready):
                self._next_pulse_ns = now_ns + heartbeat_ns
                self._controller.pulse(self._liveness.pulse(now_ns), now_ns)

    def _look_for_stops(self, now_ns: int) -> None:
        """Stop, if anybody asks for it in whatever way."""
        gap_ns = now_ns - self._turned_ns
        if gap_ns > self._gate.watchdog_s * 1e9:
            self._stop("watchdog", f"this process stood still for {gap_ns * 1e-9:.3f} s", now_ns)
        requests = [*self._signals.take(), *self._inbox.take()]
        self._supervisor_bell.wait(0.0)
        for name, word in self._stops.items():
            n = int(word[0])
            if n != self._stops_seen[name]:
                self._stops_seen[name] = n
                requests.append(Request("stop", name, "by the supervisor", now_ns))
        for request in requests:
            if request.verb == "end":
                self._must_end = True
            else:
                self._stop(request.channel, request.reason, request.t_ns)
        is_there = self._stop_file.exists()  # looked at in every state: what is not read wakes the loop for ever
        if self._controller.may_stimulate:
            if is_there:
                self._stop("file", "the stop file is there", now_ns)
            silent = self._liveness.silent(now_ns, self._controller.round_trip_ns)
            if silent is not None:
                self._stop("watchdog", f"the {silent[0]} process stood still for {silent[1]:.3f} s", now_ns)
            if is_stopping(self._run_stops) or self._must_end:
                self._stop("run", "the run ends", now_ns)

    def _stop(self, channel: str, reason: str, t_ns: int) -> None:
        self._controller.stop(channel, reason, t_ns)

    def _try_channels(self) -> dict[str, str]:
        """Try every way to stop; return why each would not be heard, "" where it would."""
        streams = ", ".join(map(plain_text, self._markers.streams)) or "no stream is there"
        tried = {
            "the operator's socket": self._control.try_out(),
            "the stop file": self._stop_file.try_out(),
            f"the stop marker ({streams})": self._markers.try_out(),
            "signals": self._signals.try_out(),
        }
        keys_ns = int(self._keys_ns[0])
        if keys_ns:  # 0 where the run was not started in a terminal
            is_heard = time.monotonic_ns() - keys_ns < _KEYS_NS
            tried["keys"] = "" if is_heard else "the run is not in the foreground of its terminal"
        return tried

    def _is_hot_death_new(self, ready: set[int]) -> bool:
        """Whether the hot process has just died: the gate need not wait for the next heartbeat to hear of it."""
        if self._hot_bell.fileno() not in ready:
            return False
        return self._controller.may_stimulate and self._hot_bell.is_watched_dead() and self._liveness.is_hot_dead

    def _serve_operator(self, ready: set[int]) -> None:
        """Answer on the socket; who has just connected has mostly sent his request."""
        control = self._control
        control.drop_idle()
        fds = self._clients & ready
        if control.fileno() in ready:
            fresh = control.accept()
            for fd in fresh:
                self._epoll.register(fd, select.EPOLLIN)
            self._clients.update(fresh)
            fds.update(fresh)
        for fd in fds:
            if not control.has(fd):
                self._clients.discard(fd)  # it made room for another
                continue
            for request in control.read(fd):
                control.answer(fd, self._controller.request(request))
            if not control.has(fd):
                self._clients.discard(fd)  # closing took it out of the epoll

    def _hear_device(self) -> None:
        self._controller.hear()
        self._watch_device()

    def _watch_device(self) -> None:
        """Wake up when the device speaks; a device that is gone speaks no more."""
        fd = self._controller.equipment.device.fileno()
        if fd != self._device_fd:
            if self._device_fd >= 0:
                with suppress(OSError):
                    self._epoll.unregister(self._device_fd)
            if fd >= 0:
                self._epoll.register(fd, select.EPOLLIN)
            self._device_fd = fd

    def _take_events(self) -> None:
        """Tell the gate what the hot process has said."""
        pid = self._liveness.hot_pid
        if pid != self._hot_pid:
            self._hot_pid = pid
            self._hot_bell.watch(pid)
        self._hot_bell.wait(0.0)
        batch = self._requests.read(_AT_ONCE)
        self._has_backlog = len(batch.records) == _AT_ONCE
        if batch.n_lost:
            self._controller.lost(batch.n_lost)
        for record in map(unpack_event, batch.records):
            self._controller.event(record)
        self._requests.commit()

    def _is_over(self) -> bool:
        """Whether there is nothing more to come: the hot process is gone, or somebody wants this one to end."""
        if not (self._must_end or self._requests.is_ended):
            return False
        now_ns = time.monotonic_ns()
        if not self._ending_ns:
            self._ending_ns = now_ns
            self._stop("run", "the run ends", now_ns)
        return not self._controller.is_device_on or now_ns - self._ending_ns > _LAST_ANSWERS_NS

    def close(self) -> None:
        """Give everything back; may be called twice."""
        self._markers.close()
        self._liveness.clock.close()
        self._control.close()
        self._stop_file.close()
        self._requests.close()
        self._epoll.close()
        self._hot_bell.close()
        self._supervisor_bell.close()
        self._signals.close()
