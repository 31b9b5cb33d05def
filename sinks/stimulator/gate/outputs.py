"""What the gate says: outputs in order, each event with its place, refusals told once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Check, parameters
from neuroloop.sinks.stimulator.gate.decisions import Moment
from neuroloop.sinks.stimulator.gate.machine import MachineState
from neuroloop.sinks.stimulator.records import GateOutput, Lease

_AGAIN_NS = 10 * 10**9
"""A reason that was told before in the same request is told again after so long."""
_NUMBERS = ("charge_per_phase_uc", "charge_density_uc_cm2", "shannon_k")


class Outputs:
    """Collect the outputs of one step.

    Parameters
    ----------
    stream : str
    is_coded : bool
        Events must not show what was delivered.
    """

    def __init__(self, stream: str, *, is_coded: bool) -> None:
        self._stream = stream
        self._is_coded = is_coded
        self._outputs: list[GateOutput] = []
        self._sample = -1
        self._k = 0
        self._told: dict[tuple[Any, ...], int] = {}
        self._last: tuple[Any, ...] = ()
        self._request: tuple[Any, ...] = ()

    def take(self) -> list[GateOutput]:
        """Return what was said since the last call."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def _place(self, moment: Moment) -> dict[str, Any]:
        """Return where the next event stands; ``k`` counts the events of one sample."""
        self._k = self._k + 1 if moment.sample == self._sample else 0
        self._sample = moment.sample
        return {
            "stream": self._stream,
            "sample": moment.sample,
            "k": self._k,
            "time": moment.time,
            "delay_s": moment.delay_s,
        }

    def transition(self, values: Mapping[str, Any]) -> None:
        """Say that the machine has taken a step."""
        self._outputs.append(GateOutput("transition", values))

    def note(self, what: str, **values: Any) -> None:
        """Say something for the log only."""
        self._outputs.append(GateOutput("note", {"what": what, **values}))

    def request(self, values: Mapping[str, Any], moment: Moment, k: int) -> None:
        """Say what the table recommends."""
        place = {
            "stream": self._stream,
            "sample": moment.sample,
            "k": k,
            "time": moment.time,
            "delay_s": moment.delay_s,
        }
        self._outputs.append(GateOutput("request", values, event=place))

    def command(
        self,
        action: Literal["start", "renew", "stop", "arm", "disarm", "status"],
        reason: str,
        moment: Moment,
        machine: MachineState,
        *,
        plan: Assessment | None = None,
        lease: Lease | None = None,
        on_s: float | None = None,
        session_uc: float | None = None,
        day_uc: float | None = None,
        is_event: bool = True,
    ) -> None:
        """Say what the device is to do."""
        values: dict[str, Any] = {
            "action": action,
            "reason": reason,
            "machine": machine,
            "state": None,
            "lease": None if lease is None else lease.number,
            "frequency_hz": None,
            "amplitude_ma": None,
            "pulse_width_us": None,
            "waveform": None,
            "duration_s": None,
            "ramp_s": None,
            **dict.fromkeys(_NUMBERS),
            "on_s": on_s,
            "session_charge_uc": None if self._is_coded and is_event else session_uc,
            "day_charge_uc": None if self._is_coded and is_event else day_uc,
        }
        if plan is not None:
            values |= {"state": plan.state, "duration_s": plan.duration_s, "ramp_s": plan.ramp_s}
            values |= parameters(plan.train) | {key: plan.numbers[key] for key in _NUMBERS}
        place = self._place(moment) if is_event else {}
        self._outputs.append(GateOutput("command", values, lease, is_event, place))

    def refuse(
        self,
        what: str,
        checks: Sequence[Check],
        moment: Moment,
        machine: MachineState,
        *,
        state: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Say what is not done, which rules are against it, and by how much."""
        values = {
            "what": what,
            "state": state,
            "reason": reason or "; ".join(check.sentence() for check in checks),
            "machine": machine,
            "rules": [
                {"rule": one.rule, "value": one.value, "limit": one.limit, "relation": one.relation} for one in checks
            ],
        }
        self._outputs.append(GateOutput("refusal", values, None, True, self._place(moment)))

    def refuse_start(
        self, request: tuple[Any, ...], checks: Sequence[Check], moment: Moment, machine: MachineState, now_ns: int
    ) -> None:
        """Refuse a start, once per change of reason; a reason told before in this request again after 10 s."""
        if request != self._request:
            self.forget_request()
            self._request = request
        key = tuple(str(check.value).split(" ", 1)[0] if check.rule == "interlock" else check.rule for check in checks)
        is_new = key not in self._told or now_ns - self._told[key] >= _AGAIN_NS
        if key == self._last or not is_new:
            self._last = key
            return
        self._last = key
        self._told[key] = now_ns
        self.refuse("start", checks, moment, machine, state=str(request[0]))

    def forget_request(self) -> None:
        """Nothing is asked for, or what was asked for was done: reasons are told anew."""
        self._told, self._last, self._request = {}, (), ()
