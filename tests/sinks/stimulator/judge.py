"""Judges what a device recorded of itself, by the reference's arithmetic and by what people and faults did when.

Nothing that the gate says of itself is believed here: a dose is a time with the output on, its charge what the device
integrated, its begin and end what the device's clock said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import pairwise

from tests.sinks.stimulator.reference import Bounds, broken, dec, numbers_of, stepped

_HOUR_NS = 3600 * 10**9
_HAIR_NS = 2_000_000
"""Rounding of moments to the virtual clock's events."""
_PART = Decimal("1e-9")


@dataclass(frozen=True)
class Stretch:
    """The output on under one lease, as the device recorded it."""

    on_ns: int
    off_ns: int
    from_ma: float
    to_ma: float
    reached_ns: int
    hz: float
    us: float
    waveform: str
    charge_uc: float
    ended_by: str
    run: int


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    state: str
    hz: float
    us: float
    ma: float
    waveform: str
    duration_s: float
    is_named_only: bool


@dataclass(frozen=True)
class Silence:
    """Something was silent, or wrong, from a moment to another; the output had to be off so long after its begin."""

    kind: str
    begin_ns: int
    end_ns: int
    bound_ns: int


@dataclass(frozen=True)
class Act:
    """What the operator did, when the program took it."""

    t_ns: int
    run: int
    action: str
    is_authorised: bool
    is_accepted: bool
    named: tuple[str, ...] = ()
    area_cm2: float | None = None
    """As read back, where it was."""


@dataclass(frozen=True)
class Decision:
    """A decision on good rows, when the program took it."""

    t_ns: int
    run: int
    label: str


@dataclass
class Case:
    """One closed loop: what was configured, what happened, what the device recorded."""

    rows: Sequence[Row]
    bounds: Bounds
    step_ma: float
    step_us: float
    step_hz: float
    lease_s: float
    heartbeat_s: float
    watchdog_s: float
    ramp_s: float
    soft_stop_s: float
    refractory_s: float
    arming_s: float
    link_ns: int
    look_every_s: float = 30.0
    starts_per_episode: int = 5
    lockout_s: float = 0.0
    clean_s: float = 0.0
    """From the end of a dose to the first decision that has nothing of it in its window."""
    area_cm2: float = 0.0
    needs_area: bool = False
    late_ns: int = 0
    """A stop may get lost, or is not obeyed: then the lease ends it, so much later."""
    stall_ns: int = 0
    """The program may stand still, or a kill may not be noticed: then the lease ends it."""
    charge_factor: float = 1.0
    """A device that delivers so much more than it is told; it says so, and only its charge is judged, and later."""
    overshoot_uc: float = 0.0
    stretches: list[Stretch] = field(default_factory=list)
    silences: list[Silence] = field(default_factory=list)
    acts: list[Act] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    ends: list[tuple[int, int]] = field(default_factory=list)
    """Run and moment at which its process was gone."""
    worst_step_ma: float = 0.0


def doses(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """Return the stretches of each time with the output on."""
    found: list[list[Stretch]] = []
    for one in stretches:
        if found and found[-1][-1].off_ns == one.on_ns and found[-1][-1].ended_by == "renewed":
            found[-1].append(one)
        else:
            found.append([one])
    return found


def breaches(case: Case) -> list[str]:
    """Return everything that may not be."""
    given = doses(case.stretches)
    return [
        *_trains(case),
        *_ramps(case, given),
        *_lengths(case, given),
        *_pauses(case, given),
        *_lockouts(case, given),
        *_episodes(case, given),
        *_starts(case, given),
        *_charges(case),
        *_silences(case),
        *_arming(case, given),
    ]


def _sessions(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """Return what is one session: a run, and where restarts are remembered the day before its first dose."""
    found = []
    for run in sorted({one.run for one in stretches}):
        own = [one for one in stretches if one.run == run]
        since_ns = own[0].on_ns - 24 * _HOUR_NS
        earlier = [one for one in stretches if one.run < run and one.off_ns > since_ns]
        found.append([*earlier, *own])
    return found


def _row_of(case: Case, one: Stretch) -> Row | None:
    for row in case.rows:
        if (
            row.waveform == one.waveform
            and stepped(row.hz, case.step_hz) == dec(one.hz)
            and stepped(row.us, case.step_us) == dec(one.us)
        ):
            return row
    return None


def _trains(case: Case) -> list[str]:
    """Judge each train at its highest amplitude, and each stretch's own charge."""
    found: list[str] = []
    peaks: dict[tuple[float, float, str], float] = {}
    for one in case.stretches:
        key = (one.hz, one.us, one.waveform)
        peak = max(one.from_ma, one.to_ma)
        peaks[key] = max(peaks.get(key, 0.0), peak)
        if one.off_ns - one.on_ns > case.lease_s * 1e9 + _HAIR_NS:
            found.append(f"lease of {(one.off_ns - one.on_ns) * 1e-9} s")
        row = _row_of(case, one)
        if row is None:
            found.append(f"train {key} is not in the table")
        elif dec(peak) > stepped(row.ma, case.step_ma):
            found.append(f"{peak} mA in the row {row.state} of {row.ma} mA")
    for (hz, us, waveform), peak in peaks.items():
        found += broken(peak, hz, us, waveform, case.bounds)
    for one in case.stretches:
        found += _own_charge(case, one)
    return found


def _own_charge(case: Case, one: Stretch) -> list[str]:
    """Hold the device's integral against mean current times duty, which is right to one pulse."""
    at_one = numbers_of(1.0, one.hz, one.us, one.waveform, case.bounds)
    moving = Decimal(one.reached_ns - one.on_ns) / 10**9
    still = Decimal(one.off_ns - one.reached_ns) / 10**9
    mean = (dec(one.from_ma) + dec(one.to_ma)) / 2 * moving + dec(one.to_ma) * still
    doubt = at_one.pulse_uc * dec(max(one.from_ma, one.to_ma)) + Decimal("1e-6")
    due = mean * at_one.rate_uc_s
    if abs(dec(one.charge_uc / case.charge_factor) - due) > doubt * (1 + _PART):
        return [f"charge must be {due:.9g} uC to one pulse of {doubt:.6g}, got {one.charge_uc}"]
    return []


def _ramps(case: Case, given: Sequence[Sequence[Stretch]]) -> list[str]:
    """Judge steps and rises: no step above one of the device's own, no rise faster than slew limit and ramp allow."""
    found = []
    slew = case.bounds.of("max_slew_ma_s")
    least_s = max(dec(case.ramp_s), case.bounds.of("min_ramp_s") or Decimal(0))
    for dose in given:
        steps = [dose[0].from_ma, *(abs(after.from_ma - before.to_ma) for before, after in pairwise(dose))]
        case.worst_step_ma = max(case.worst_step_ma, *steps)
        found += [f"step of {step} mA" for step in steps if step > case.step_ma * (1 + 1e-9)]
        for one in dose:
            rise = dec(one.to_ma) - dec(one.from_ma)
            if rise <= 0:
                continue
            seconds = Decimal(one.reached_ns - one.on_ns + 1) / 10**9
            if slew is not None and rise > slew * seconds + _PART:
                found.append(f"rise of {rise} mA in {seconds} s, at most {slew} mA/s")
            row = _row_of(case, one)
            if row is not None and rise * least_s > dec(row.ma) * seconds * (1 + _PART) + _PART:
                found.append(f"rise of {rise} mA in {seconds} s, a ramp of at least {least_s} s")
    return found


def _slack_ns(case: Case, dose: Sequence[Stretch]) -> int:
    """Return how much longer than the program meant a dose may be: off is noticed, sent, and lost, late."""
    begin_ns, end_ns = dose[0].on_ns, dose[-1].off_ns
    still = [one for one in case.silences if one.kind in ("stall", "kill")]
    is_stalled = any(one.begin_ns < end_ns and begin_ns < one.end_ns for one in still)
    always_ns = case.link_ns + case.late_ns + round(case.heartbeat_s * 1e9) + _HAIR_NS
    return always_ns + case.stall_ns * is_stalled


def _lengths(case: Case, given: Sequence[Sequence[Stretch]]) -> list[str]:
    """Judge how long doses last, and all of a session."""
    found = []
    always_ns = case.link_ns + case.late_ns + round(case.heartbeat_s * 1e9) + _HAIR_NS
    most_s = case.bounds.of("max_dose_s")
    for dose in given:
        on_ns = dose[-1].off_ns - dose[0].on_ns
        row = _row_of(case, dose[0])
        limits = [dec(case.look_every_s)]
        limits += [dec(row.duration_s)] if row is not None else []
        limits += [most_s] if most_s is not None else []
        if any(on_ns - _slack_ns(case, dose) > limit * 10**9 for limit in limits):
            found.append(f"dose of {on_ns * 1e-9} s, at most {min(limits)}")
    most = case.bounds.of("max_session_s")
    for session in _sessions(case.stretches):
        on_ns = sum(one.off_ns - one.on_ns for one in session)
        if most is not None and on_ns - (always_ns + case.stall_ns) * len(given) > most * 10**9:
            found.append(f"session of {on_ns * 1e-9} s, at most {most}")
    return found


def _lockouts(case: Case, given: Sequence[Sequence[Stretch]]) -> list[str]:
    """Judge that no row gives more than its dose without a lockout behind it, over restarts, and none too short."""
    if case.lockout_s == 0:
        return []
    found: list[str] = []
    sums: dict[str, int] = {}
    wait_ns, spent_by = 0, ""
    for index, dose in enumerate(given):
        row = _row_of(case, dose[0])
        if row is None:
            continue
        if index:
            off_ns = dose[0].on_ns - given[index - 1][-1].off_ns
            if off_ns < wait_ns:
                found.append(f"off for {off_ns * 1e-9} s though {spent_by} had given its dose, at least {wait_ns}")
            if off_ns >= case.lockout_s * 1e9 - case.link_ns - case.late_ns - _HAIR_NS:
                sums.clear()
        on_ns = dose[-1].off_ns - dose[0].on_ns
        sums[row.state] = sums.get(row.state, 0) + on_ns - _slack_ns(case, dose)
        if sums[row.state] > row.duration_s * 1e9:
            found.append(f"{row.state} for {sums[row.state] * 1e-9} s without a lockout, at most {row.duration_s}")
        is_spent = sums[row.state] + _least_ns(case, row) > row.duration_s * 1e9
        wait_ns = round(case.lockout_s * 1e9) - case.link_ns - case.late_ns - _HAIR_NS if is_spent else 0
        spent_by = row.state
    return found


def _least_ns(case: Case, row: Row) -> int:
    """Return how long a dose must have room for: two ramps, each as late as the disk allows."""
    slew, least_s = case.bounds.of("max_slew_ma_s"), float(case.bounds.of("min_ramp_s") or 0)
    steepest_s = float(stepped(row.ma, case.step_ma) / slew) if slew is not None else 0.0
    ramp_s = max(case.ramp_s, least_s, steepest_s)
    return round(2 * (ramp_s + 2 * case.heartbeat_s + case.watchdog_s) * 1e9)


def _episodes(case: Case, given: Sequence[Sequence[Stretch]]) -> list[str]:
    """Judge how often a row begins while no decision says anything else."""
    n, found = 1, []
    for before, after in pairwise(given):
        row, one = _row_of(case, before[0]), after[0]
        # a dose begins in the device when its record is on the disk, which the program has waited for
        since_ns = before[0].on_ns - case.link_ns - round(case.watchdog_s * 1e9)
        is_same = row is not None and row == _row_of(case, one) and before[0].run == one.run
        is_left = row is None or any(
            other.run == one.run and since_ns <= other.t_ns <= one.on_ns and other.label != row.state
            for other in case.decisions
        )
        n = n + 1 if is_same and not is_left else 1
        if n > case.starts_per_episode:
            found.append(f"{n} doses though the state was never left, at most {case.starts_per_episode}")
    return found


def _pauses(case: Case, given: Sequence[Sequence[Stretch]]) -> list[str]:
    """Judge the times between doses."""
    found = []
    slack_ns = case.link_ns + case.late_ns + _HAIR_NS
    ratio = case.bounds.of("min_off_ratio") or Decimal(0)
    for before, after in pairwise(given):
        off_ns = after[0].on_ns - before[-1].off_ns
        on_ns = before[-1].off_ns - before[0].on_ns
        if off_ns + slack_ns < case.refractory_s * 1e9:
            found.append(f"off for {off_ns * 1e-9} s, at least {case.refractory_s}")
        if before[0].run == after[0].run and off_ns + slack_ns < case.clean_s * 1e9:
            found.append(f"off for {off_ns * 1e-9} s, at least {case.clean_s} to decide without what was given")
        if off_ns + slack_ns * (1 + ratio) < ratio * on_ns:
            found.append(f"off for {off_ns * 1e-9} s behind {on_ns * 1e-9} s on, at least {ratio} of it")
    return found


def _starts(case: Case, given: Sequence[Sequence[Stretch]]) -> list[str]:
    """Judge how many doses begin within an hour and a day, over restarts."""
    found = []
    begins = [dose[0].on_ns for dose in given]
    slack_ns = 2 * case.link_ns + 2 * 10**9  # a start counts from its decision, which may wait for the disk
    for name, span_ns in (("max_starts_per_h", _HOUR_NS), ("max_starts_per_day", 24 * _HOUR_NS)):
        most = case.bounds.of(name)
        if most is None:
            continue
        for index, begin in enumerate(begins):
            n = sum(1 for other in begins[: index + 1] if begin - other < span_ns - slack_ns)
            if n > most:
                found.append(f"{n} starts, {name} {most}")
                break
    return found


def _charges(case: Case) -> list[str]:
    """Judge what was delivered in a session and in any day, by the device's own count."""
    found = []
    more = dec(case.overshoot_uc)
    most = case.bounds.of("max_session_charge_mc")
    for session in _sessions(case.stretches):
        charge = sum((dec(one.charge_uc) for one in session), Decimal(0))
        if most is not None and charge > most * 1000 + more:
            found.append(f"session of {charge} uC, at most {most} mC")
    day = case.bounds.of("max_day_charge_mc")
    if day is None:
        return found
    for index, last in enumerate(case.stretches):
        if index + 1 < len(case.stretches) and case.stretches[index + 1].on_ns - last.off_ns < _HOUR_NS:
            continue
        charge = Decimal(0)
        for one in case.stretches[: index + 1]:
            if last.off_ns - one.on_ns < 24 * _HOUR_NS:
                charge += dec(one.charge_uc)
        if charge > day * 1000 + more:
            found.append(f"day of {charge} uC, at most {day} mC")
    return found


def _silences(case: Case) -> list[str]:
    """Judge how long the output stays on after something fell silent, or failed."""
    found = []
    for silence in case.silences:
        from_ns = silence.begin_ns + silence.bound_ns + case.late_ns + _HAIR_NS
        for one in case.stretches:
            if one.on_ns < silence.end_ns and one.off_ns > from_ns and silence.end_ns > from_ns:
                over = (min(one.off_ns, silence.end_ns) - silence.begin_ns) * 1e-9
                found.append(f"on {over:.4f} s after {silence.kind}, at most {silence.bound_ns * 1e-9:.4f}")
                break
    return found


def _arming(case: Case, given: Sequence[Sequence[Stretch]]) -> list[str]:
    """Judge that a person has armed, has not stopped since, and has named what is to be named."""
    found = [
        f"{act.action} accepted without the token"
        for act in case.acts
        if act.is_accepted and not act.is_authorised and act.action in ("arm", "confirm", "reset")
    ]
    for act in case.acts:
        is_read = act.area_cm2 == case.area_cm2 if act.area_cm2 is not None else not case.needs_area
        if act.is_accepted and act.action == "arm" and not is_read:
            found.append(f"armed with an area of {act.area_cm2} cm2 in place of {case.area_cm2}")
    spans = _spans(case)
    for dose in given:
        row = _row_of(case, dose[0])
        for span in reversed(spans):
            until_ns = span.end_ns + (case.link_ns + _HAIR_NS)
            if span.begin_ns <= dose[0].on_ns <= until_ns:
                if dose[-1].off_ns > span.end_ns + span.tail_ns:
                    late_s = (dose[-1].off_ns - span.end_ns) * 1e-9
                    found.append(f"on {late_s:.4f} s after {span.ended_by}, at most {span.tail_ns * 1e-9:.4f}")
                elif row is not None and row.is_named_only and row.state not in span.named:
                    found.append(f"{row.state} was not named when arming")
                break
        else:
            found.append(f"on at {dose[0].on_ns} without arming")
    return found


@dataclass
class _Span:
    begin_ns: int
    end_ns: int
    tail_ns: int
    ended_by: str
    named: frozenset[str]
    is_soft: bool = True


def _spans(case: Case) -> list[_Span]:
    """Return from when to when somebody had armed, at the longest, and how late the output may be off behind it."""
    gone = dict(case.ends)
    arming_ns = round(case.arming_s * 1e9)
    at_once_ns = case.link_ns + case.late_ns + _HAIR_NS
    soft_ns = at_once_ns + round((case.soft_stop_s + 2 * case.heartbeat_s) * 1e9) + case.stall_ns
    spans: list[_Span] = []
    opened: _Span | None = None
    run = -1
    for act in [*case.acts, Act(2**62, -2, "end", is_authorised=True, is_accepted=True)]:
        if opened is not None and (act.run != run or act.t_ns > opened.end_ns):
            if act.run != run and opened.end_ns > gone.get(run, 2**62):
                opened.end_ns, opened.ended_by = gone[run], "the end of the process"
                opened.tail_ns = at_once_ns + round(case.lease_s * 1e9)
            spans.append(opened)
            opened = None
        run = act.run
        if not act.is_accepted:
            continue
        if act.action in ("arm", "confirm"):
            if opened is None:
                opened = _Span(act.t_ns, 0, 0, "", frozenset(act.named))
            elif act.action == "arm":
                opened.named |= frozenset(act.named)
            opened.end_ns, opened.tail_ns, opened.ended_by = act.t_ns + arming_ns, soft_ns, "the end of arming"
        elif act.action in ("stop", "disarm") and opened is not None:
            is_stop = act.action == "stop"
            opened.end_ns, opened.is_soft = act.t_ns, not is_stop
            opened.tail_ns, opened.ended_by = (at_once_ns, "a stop") if is_stop else (soft_ns, "disarming")
            spans.append(opened)
            opened = None
    return spans
