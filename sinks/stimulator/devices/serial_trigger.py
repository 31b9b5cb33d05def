"""A trigger box on a serial port: a code byte starts or renews what the box is set up for, another stops it."""

from __future__ import annotations

import math
import os
import select
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from neuroloop.sinks.stimulator.devices.lease_guard import LeaseGuard, one_way_capabilities
from neuroloop.sinks.stimulator.devices.limits import why_not
from neuroloop.sinks.stimulator.records import Capabilities, DeviceAnswer, DeviceError, Lease, Train

try:
    import termios

    _GONE: tuple[type[Exception], ...] = (OSError, termios.error)  # flushing a port that is gone raises the second
except ImportError:  # no POSIX
    _GONE = (OSError,)
_UNTAKEN: tuple[type[Exception], ...] = (*_GONE, DeviceError)

_STEP_S = 1e-3
"""A lease that takes no longer to its amplitude is a step."""
_DRAIN_S = 0.2
"""How long closing waits for the stop code to leave; the system itself would wait for half a minute."""
_DRAIN_STEP_S = 0.001


def open_port(path: str, baudrate: int) -> Any:
    """Open a serial port that never waits.

    Raises
    ------
    DeviceError
        If pyserial is missing, or the port cannot be opened.
    """
    try:
        import serial
    except ImportError as error:
        rule = "other than 'serial' where pyserial is not installed (pip install pyserial)"
        raise DeviceError(f"device.kind must be {rule}, got 'serial'") from error
    try:
        # exclusive: two programs must not send codes to one box
        return serial.Serial(path, baudrate, timeout=0, write_timeout=0, exclusive=True)
    except (OSError, ValueError) as error:
        number = getattr(error, "errno", None)
        why = os.strerror(number) if isinstance(number, int) else str(error)
        raise DeviceError(f"device.path must be a serial port that can be opened, got {path!r} ({why})") from error


class SerialTrigger:
    """Send code bytes to a trigger box; implements `neuroloop.sinks.stimulator.records.Device`.

    What a code starts is set up in the box: amplitude, width and frequency do not travel. So a lease of a train that
    has no code is refused, and one that is a piece of a ramp, unless the box ramps up by itself: the box would give its
    whole train for either. What leads down is a cut, the stop code, for no box can be told how far. A port that takes
    no byte at once raises, and a port that is gone is ``lost``. The stop code is sent at opening, arming, disarming and
    closing.

    Parameters
    ----------
    port : serial.Serial
        Open, with timeouts of 0; owned by this object from now on.
    start_code, stop_code : int
        In [0, 255], different.
    limits_itself : bool
        Whether the user confirms that what one code starts ends by itself within the lease.
    codes : mapping
        The code of each train, in place of ``start_code``.
    ramps_itself : bool
        Whether the user confirms that the box ramps up by itself, no faster than its leases say.
    clock_ns : callable
        ``CLOCK_MONOTONIC``.

    Raises
    ------
    DeviceError
        If the codes are equal, or the port takes no byte.
    """

    def __init__(
        self,
        port: Any,
        *,
        start_code: int,
        stop_code: int,
        limits_itself: bool,
        codes: Mapping[Train, int] | None = None,
        ramps_itself: bool = False,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._port = port
        self._start_code = bytes([start_code])
        self._codes = {train: bytes([code]) for train, code in (codes or {}).items()}
        self._ramps_itself = ramps_itself
        self._stop_code = bytes([stop_code])
        self._capabilities = one_way_capabilities(f"trigger box at {port.port}", limits_itself=limits_itself)
        self._guard = LeaseGuard(self._capabilities, clock_ns)
        self._train: Train | None = None
        self._lost: str | None = None
        self._is_told = False
        try:
            if self._codes:
                if stop_code in (codes or {}).values():
                    raise DeviceError(f"device.stop_code must differ from all of device.codes, got {stop_code!r}")
            elif start_code == stop_code:
                raise DeviceError(f"device.stop_code must differ from start_code={start_code}, got {stop_code!r}")
            self._write(self._stop_code)
        except DeviceError:
            port.close()
            raise

    def capabilities(self) -> Capabilities:
        """Return what is known of a box that never answers: next to nothing."""
        return self._capabilities

    def fileno(self) -> int:
        """Return the port's descriptor, readable when it is gone; -1 once ``lost`` has been taken."""
        return int(self._port.fileno()) if self._port.is_open else -1

    def validate(self, lease: Lease) -> str | None:
        """Return what is wrong with the lease, or why a code cannot stand for it; the box's limits are not known."""
        return why_not(lease, self._capabilities) or self._why_no_code(lease)

    def _leads_down(self, lease: Lease) -> bool:
        """Whether it is a piece of the ramp down of the dose that is being given."""
        one = self._train
        return one is not None and lease.train == replace(one, amplitude_ma=0.0) and self._guard.lease > 0

    def _why_no_code(self, lease: Lease) -> str | None:
        train = lease.train
        if self._ramps_itself and self._leads_down(lease):
            return None
        if self._codes and train not in self._codes:
            return f"lease.train must be one that the box has a code for, got {train}"
        if not self._ramps_itself and not 0 < train.amplitude_ma <= lease.slew_ma_s * _STEP_S:
            rule = f"above 0 and at most {lease.slew_ma_s * _STEP_S:g}, one step, for a box that cannot ramp"
            return f"lease.train.amplitude_ma must be {rule}, got {train.amplitude_ma!r}"
        is_other = self._train is not None and train != self._train
        if is_other and (not self._codes or self._guard.lease > 0):
            return f"lease.train must be the first one for a box that knows one, {self._train}, got {train}"
        return None

    def arm(self) -> None:
        """Make sure that the output is off, and let leases pass. Raises `DeviceError` where the port takes nothing."""
        if not self._guard.lease:
            self._write(self._stop_code)
        self._guard.arm()

    def disarm(self) -> None:
        """Switch off, and let no lease pass. Raises `DeviceError` where the port takes nothing."""
        self._guard.disarm()
        self._write(self._stop_code)

    def start(self, lease: Lease) -> None:
        """Send the start code. Raises `DeviceError` where the lease may not pass or the port takes nothing."""
        self._refuse(lease)
        self._guard.start(lease)
        self._train = lease.train
        self._write(self._codes.get(lease.train, self._start_code))

    def renew(self, lease: Lease) -> None:
        """Send the code again, or the stop code where the lease leads down.

        Raises `DeviceError` where the lease may not pass or the port takes nothing.
        """
        self._refuse(lease)
        is_cut = self._leads_down(lease)
        self._guard.renew(lease)
        self._write(self._stop_code if is_cut else self._codes.get(lease.train, self._start_code))

    def _refuse(self, lease: Lease) -> None:
        fault = self._why_no_code(lease)
        if fault is not None:
            raise DeviceError(fault)

    def stop(self) -> str | None:
        """Send the stop code; where the port is full, throw away what waits in it first.

        A port that takes it not even then is lost: the box is on until its own time is over.
        """
        self._guard.stop()
        try:
            self._write(self._stop_code)
        except DeviceError:
            try:
                self._port.reset_output_buffer()
                self._write(self._stop_code)
            except _UNTAKEN as error:
                self._lost = self._lost or f"the stop code was not taken ({error})"
                self._guard.disarm()
                return self._lost
        return None

    def status(self) -> None:
        """Do nothing: the box cannot be asked."""

    def answers(self) -> list[DeviceAnswer]:
        """Return ``lost`` once when the port is gone; what a box sends otherwise is thrown away."""
        if self._lost is None and self._port.is_open:
            try:
                self._port.read(4096)
            except OSError as error:  # pyserial's own error is one
                self._lose(error)
        if self._lost is None or self._is_told:
            return []
        self._is_told = True
        self._shut()
        return [DeviceAnswer("lost", 0, False, math.nan, self._lost)]

    def close(self) -> None:
        """Send the stop code and let go of the port; may be called twice."""
        if not self._port.is_open:
            return
        if self._lost is None:
            self.stop()
        self._is_told = True
        self._shut()

    def _write(self, code: bytes) -> None:
        """Send one byte at once, or raise."""
        if self._lost is not None or not self._port.is_open:
            raise DeviceError(f"the serial port must be open, got a lost one ({self._lost or 'it was closed here'})")
        try:
            # asked first: pyserial's write goes round in circles while a port with a timeout of 0 is full
            _, writable, _ = select.select([], [self._port], [], 0)
            n_written = self._port.write(code) if writable else 0
        except OSError as error:
            self._lose(error)
            raise DeviceError(f"the serial port must be there, got {self._lost}") from error
        if n_written != 1:
            raise DeviceError(f"the serial port {self._port.port} must take codes, got a full buffer")

    def _lose(self, error: OSError) -> None:
        self._lost = f"the port is gone ({os.strerror(error.errno) if error.errno else error})"
        self._guard.disarm()

    def _has_drained(self) -> bool:
        """Wait a moment until all codes have left; say whether they have."""
        deadline = time.monotonic() + _DRAIN_S
        while self._port.out_waiting:
            if time.monotonic() > deadline:
                return False
            time.sleep(_DRAIN_STEP_S)
        return True

    def _shut(self) -> None:
        """Close the port; only what does not leave is thrown away, or a last stop code would go with it."""
        with suppress(*_GONE):
            if not self._has_drained():
                self._port.reset_output_buffer()
        with suppress(*_GONE):
            self._port.close()
