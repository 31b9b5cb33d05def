"""Is the output on, since when, and until when at most: what was commanded, and what the device acknowledged.

Others plan (`LeaseLine`), judge answers (`DeviceWatch`) or keep a dose's times (`Dose`); what all of them believe about
the output must agree with this, and is held against it after every input (`OutputState.broken`):

1. Nothing is commanded on but in a state in which a lease may be in force (`ON_STATES`), and there is a dose exactly
   in these states.
2. What is commanded is the newest lease of the plan, and nothing where the plan has none.
3. A lease that is to be renewed has not run out by the gate's own clock: it was renewed, or off was commanded.
4. No dose is beyond its end.
5. The arming holds exactly in the states in which it may (`ARMED_STATES`, or a soft stop that keeps it).

What left the program between command and answer the gate cannot see: a lease may wait for the disk, so it counts as
on from the command, and as off only from the device's word, or from the command to stop where the device gives none.
"""

from __future__ import annotations

from neuroloop.sinks.stimulator.gate.dose_history import Dose
from neuroloop.sinks.stimulator.gate.leases import Issued
from neuroloop.sinks.stimulator.gate.machine import ARMED_STATES, ON_STATES, MachineState


class BrokenInvariant(Exception):
    """The gate's parts do not agree about the output."""


class OutputState:
    """What was commanded and what the device said of it.

    Parameters
    ----------
    patience_ns : int
        A lease may wait so long for the disk before it leaves.
    acknowledges : bool
        Whether the device answers.
    """

    def __init__(self, *, patience_ns: int, acknowledges: bool) -> None:
        self._patience_ns = patience_ns
        self._acknowledges = acknowledges
        self.commanded: Issued | None = None
        """The newest lease that was commanded, None where off was commanded last."""
        self.since_ns: int | None = None
        """When the output that is commanded was commanded on; None where it is not."""
        self.until_ns = 0
        """The output is off by then at the latest, whatever becomes of this program, if the device ends its leases and
        takes each one at once when it leaves."""
        self.acknowledged = 0
        """The newest lease that the device said is in force."""
        self.is_said_on: bool | None = None
        """What the device said last; None before it has said anything."""
        self.off_ns: int | None = None
        """From when on the output is known to be off; None before the first dose, and while it may be on."""
        self.was_on = False
        """Whether there was any output since the begin."""

    @property
    def may_be_on(self) -> bool:
        """Whether the output is commanded on, or was and is not known to be off."""
        return self.commanded is not None or (self.was_on and self.off_ns is None)

    def lease(self, issued: Issued) -> None:
        """Note a lease that is commanded."""
        if self.commanded is None:
            self.since_ns = issued.at_ns
        self.commanded, self.was_on, self.off_ns = issued, True, None
        self.until_ns = issued.end_ns + self._patience_ns

    def off(self, now_ns: int) -> None:
        """Note that the output is commanded off."""
        self.commanded = self.since_ns = None
        if self.was_on and self.off_ns is None and not self._acknowledges:
            self.off_ns = now_ns

    def answer(self, lease: int, now_ns: int, *, is_on: bool, is_off_confirmed: bool) -> None:
        """Note what the device says, and whether that leaves no doubt that the output is off."""
        self.is_said_on = is_on
        if is_on:
            self.acknowledged = max(self.acknowledged, lease)
        elif is_off_confirmed and self.commanded is None and self.was_on and self.off_ns is None:
            self.off_ns = now_ns

    def broken(
        self, machine: MachineState, now_ns: int, *, dose: Dose | None, planned: Issued | None, is_armed: bool
    ) -> str | None:
        """Return which invariant does not hold, None where all do.

        Parameters
        ----------
        machine : str
        now_ns : int
        dose : Dose or None
            That is being given.
        planned : Issued or None
            The newest lease of the plan.
        is_armed : bool
        """
        one = self.commanded
        if (dose is not None) != (machine in ON_STATES):
            return (
                f"a dose must be given exactly in {', '.join(sorted(ON_STATES))}, got {machine} and {dose is not None}"
            )
        if one is not None and dose is None:
            return f"output must be commanded on in a dose only, got lease {one.lease.number} in {machine}"
        if one is not planned:
            return f"lease must be the plan's, got {_number(one)} for {_number(planned)}"
        if one is not None and not one.is_final and now_ns >= one.end_ns:
            return f"lease {one.lease.number} must be renewed or off by {one.end_ns}, got {now_ns}"
        if dose is not None and now_ns >= dose.end_ns:
            return f"dose must be over by {dose.end_ns}, got {now_ns}"
        if is_armed != (machine in ARMED_STATES) and not (is_armed and machine == "SAFE_STOP"):
            return f"arming must hold exactly where it may, got {is_armed} in {machine}"
        return None


def _number(one: Issued | None) -> int | None:
    return None if one is None else one.lease.number
