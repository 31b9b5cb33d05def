"""Settings of stimulation: who, where, what is recommended, what is allowed, which device, who may arm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from neuroloop.config.settings import Name, NonNegativeFloat, PositiveFloat, PositiveInt, Probability, Settings

Route = Literal["implanted", "transcutaneous"]
Profile = Literal["tdcs", "tacs", "tens", "nmes", "dbs", "cortical", "vns", "peripheral_nerve", "custom"]
Waveform = Literal["biphasic", "monophasic", "direct", "sine"]
DeviceKind = Literal["simulated", "lsl", "serial", "tcp"]
UNKNOWN_STATE = "unknown"
"""What the decision policy says when it has no class; nothing is ever recommended for it."""


AREA_TOLERANCE = 0.05
"""How far the area may be from that of the shape, as a share of it."""
UNNAMED = "unnamed"
"""Subject and electrode where none is said; only a simulated device takes it."""


class RecommendationSettings(Settings):
    """What is recommended while one state lasts."""

    state: str
    """Class of the classifier that the row is for; never ``unknown``."""
    frequency_hz: NonNegativeFloat = 0.0
    """Pulses per second, or of the sine; 0 for direct current."""
    amplitude_ma: PositiveFloat
    """Amplitude of the current; of a sine its peak."""
    pulse_width_us: NonNegativeFloat = 0.0
    """Of one phase; 0 for a sine or direct current."""
    duration_s: PositiveFloat
    """The most that one dose may last; it ends earlier when the state is left."""
    waveform: Waveform = "biphasic"
    """Shape of the current."""
    description: str = ""
    """For people."""
    min_confidence: Probability = 0.9
    """Least probability of the decision that asks for this row."""
    successors: tuple[str, ...] | None = None
    """States of the table whose recommendation may follow this one's; without it any."""
    requires_override: bool = False
    """The operator must name this state when arming, or it is refused."""

    @model_validator(mode="after")
    def _fits_its_waveform(self) -> RecommendationSettings:
        if self.state == UNKNOWN_STATE:
            raise ValueError(f"state must be a class, {UNKNOWN_STATE!r} always asks for nothing, got {self.state!r}")
        has_pulses = self.waveform in ("biphasic", "monophasic")
        for key, is_needed in (("pulse_width_us", has_pulses), ("frequency_hz", self.waveform != "direct")):
            value = getattr(self, key)
            if (value > 0) != is_needed:
                rule = "above 0" if is_needed else "0 or left out"
                raise ValueError(f"{key} must be {rule} for waveform {self.waveform!r}, got {value!r}")
        n_phases = 2 if self.waveform == "biphasic" else 1
        if has_pulses and n_phases * self.frequency_hz * self.pulse_width_us > 1e6:
            longest = 1e6 / n_phases / self.frequency_hz
            raise ValueError(
                f"pulse_width_us must be at most {longest:g} at {self.frequency_hz:g} Hz, got {self.pulse_width_us!r}"
            )
        return self


def check_rows(rows: Sequence[RecommendationSettings]) -> None:
    """Check what the rows of a table must be to each other.

    Raises
    ------
    ValueError
        If a state has two rows, or a successor has none.
    """
    states = [row.state for row in rows]
    for index, row in enumerate(rows):
        if row.state in states[:index]:
            raise ValueError(f"{index}.state must be given once in a table, got {row.state!r} again")
        for successor in row.successors or ():
            if successor not in states:
                known = ", ".join(states)
                raise ValueError(f"{index}.successors must name states of the table ({known}), got {successor!r}")


def trigger_box_faults(settings: StimulationSettings, rows: Sequence[RecommendationSettings] | None) -> list[str]:
    """Return what a trigger box (``serial``) cannot do of what is configured, one line each.

    A code says nothing but *on*: every lease, whatever its amplitude, makes the box give the train that it is set up
    for under that code. So each row needs a code of its own, a ramp must be one that the box makes by itself, and a
    soft stop or a sham dose would be the train in full.

    Parameters
    ----------
    settings : StimulationSettings
    rows : sequence of RecommendationSettings or None
        Of the table, wherever it stands; None where they have not been read yet.
    """
    if settings.device.kind != "serial":
        return []
    box, gate, faults = "for device.kind 'serial'", settings.gate, []
    if settings.mode != "real":
        faults.append(f"mode must be 'real' {box}, whose code always starts the whole train, got {settings.mode!r}")
    if settings.device.codes:
        faults += _code_faults(settings, rows)
    elif rows is not None and len(rows) != 1:
        where = "table" if settings.table_file is None else "table_file"
        faults.append(f"{where} must be one row {box}, which knows one train, got {len(rows)} rows")
    if gate.ramp_s != 0 and not settings.device.ramps_itself:
        faults.append(f"gate.ramp_s must be 0 {box}, which cannot ramp, got {gate.ramp_s!r}")
    if gate.soft_stop_s != 0:
        faults.append(f"gate.soft_stop_s must be 0 {box}, which can only be cut off, got {gate.soft_stop_s!r}")
    return faults


def _code_faults(settings: StimulationSettings, rows: Sequence[RecommendationSettings] | None) -> list[str]:
    """Return what is wrong with the codes of a trigger box: each row must have its own."""
    device, faults = settings.device, []
    given = [*device.codes.values(), device.stop_code]
    if len(set(given)) < len(given):
        faults.append(f"device.codes must be different from each other and from stop_code, got {given!r}")
    states = [] if rows is None else [row.state for row in rows]
    missing = [state for state in states if state not in device.codes]
    if missing:
        faults.append(f"device.codes must have a code for each row of the table, got none for {', '.join(missing)}")
    trains = [(row.frequency_hz, row.amplitude_ma, row.pulse_width_us, row.waveform) for row in rows or ()]
    if len(set(trains)) < len(trains):
        faults.append(f"table must have a train once for device.kind 'serial' with codes, got {len(trains)} rows")
    return faults


class ElectrodeShapeSettings(Settings):
    """What the smallest active contact is, from the maker's sheet; its area is reckoned and held against the number."""

    kind: Literal["disc", "cylinder", "rectangle"]
    """A flat disc, the side of a cylinder, or a rectangle."""
    diameter_mm: PositiveFloat | None = None
    """Of a disc or a cylinder."""
    length_mm: PositiveFloat | None = None
    """Of a cylinder along its axis, or of a rectangle."""
    width_mm: PositiveFloat | None = None
    """Of a rectangle."""

    @model_validator(mode="after")
    def _has_its_sizes(self) -> ElectrodeShapeSettings:
        needed = {
            "disc": ("diameter_mm",),
            "cylinder": ("diameter_mm", "length_mm"),
            "rectangle": ("length_mm", "width_mm"),
        }[self.kind]
        for key in ("diameter_mm", "length_mm", "width_mm"):
            if (getattr(self, key) is not None) != (key in needed):
                rule = "given" if key in needed else "left out"
                got = getattr(self, key)
                raise ValueError(f"{key} must be {rule} for a {self.kind}, got {'nothing' if got is None else got}")
        return self

    @property
    def area_cm2(self) -> float:
        """Its geometric area."""
        across, along, wide = self.diameter_mm or 0.0, self.length_mm or 0.0, self.width_mm or 0.0
        if self.kind == "disc":
            return math.pi * across * across / 400
        return (math.pi * across if self.kind == "cylinder" else wide) * along / 100

    def text(self) -> str:
        """Return kind and sizes for reading."""
        sizes = [
            f"{name} {value:g} mm"
            for name, value in (("diameter", self.diameter_mm), ("length", self.length_mm), ("width", self.width_mm))
            if value is not None
        ]
        return f"{self.kind} of {', '.join(sizes)}"


class LimitSettings(Settings):
    """Limits of a session. Each may only be tighter than the hard one; what is left out is the hard one."""

    max_amplitude_ma: PositiveFloat | None = None
    """Largest amplitude."""
    max_pulse_width_us: PositiveFloat | None = None
    """Longest phase of a pulse."""
    max_frequency_hz: PositiveFloat | None = None
    """Highest rate of pulses, or frequency of a sine."""
    min_frequency_hz: PositiveFloat | None = None
    """Lowest frequency of a sine; a slower one is direct current for as long as half a wave takes."""
    max_charge_per_phase_uc: PositiveFloat | None = None
    """Largest charge of one phase."""
    max_charge_density_uc_cm2: PositiveFloat | None = None
    """Largest charge of one phase over the contact's area."""
    max_shannon_k: Annotated[float, Field(le=1.85, allow_inf_nan=False)] | None = None
    """Largest ``k`` of Shannon's rule, log10(charge density) + log10(charge) of one phase."""
    max_current_density_ma_cm2: PositiveFloat | None = None
    """Largest current over the contact's area."""
    max_rms_ma: PositiveFloat | None = None
    """Largest effective current of the train."""
    max_rms_density_ma_cm2: PositiveFloat | None = None
    """Largest effective current over the contact's area."""
    max_net_dc_ua: NonNegativeFloat | None = None
    """Largest mean current of the train."""
    max_duty: Annotated[float, Field(gt=0, le=1)] | None = None
    """Largest share of the time of a train in which current flows."""
    max_pulse_energy_mj: PositiveFloat | None = None
    """Largest energy of one pulse into ``impedance_ohm``."""
    max_slew_ma_s: PositiveFloat | None = None
    """Steepest ramp, in mA per second; a steeper one is made longer."""
    max_dose_s: PositiveFloat | None = None
    """Longest dose."""
    max_session_s: PositiveFloat | None = None
    """Time with the output on, all doses of a session together: of the run and of the 24 h before it."""
    max_session_charge_mc: PositiveFloat | None = None
    """Largest charge, all doses of a session together: of the run and of the 24 h before it."""
    max_day_charge_mc: PositiveFloat | None = None
    """In any 24 h, all runs on the subject's electrode together."""
    max_starts_per_h: PositiveInt | None = None
    """Most doses begun within one hour."""
    min_ramp_s: NonNegativeFloat | None = None
    """Shortest ramp up."""


class GateSettings(Settings):
    """When a request may pass, and what ends stimulation; bounded by the section ``gate`` of the hard limits."""

    arming_s: PositiveFloat = 600.0
    """Arming expires after so long unless it is renewed."""
    armed_total_s: PositiveFloat = 14_400.0
    """The most that one run is armed, all armings and renewals together; more needs a new run, with a new token."""
    watchdog_s: Annotated[float, Field(ge=0.1, le=2.0)] = 0.5
    """The output is off at the latest so long, and a heartbeat, after the pipeline, the stream or this program fell
    silent. One and a half heartbeats, a fifth of it for the disk and three round trips of the device must fit in."""
    heartbeat_s: Annotated[float, Field(ge=0.01, le=0.5)] = 0.1
    """How often the gate looks and renews what the device was granted; at most half of ``watchdog_s``."""
    lease_s: Annotated[float, Field(gt=0, le=2.0)] | None = None
    """What the device is granted at a time, at most; without it the watchdog time, less two round trips to it."""
    max_age_s: PositiveFloat = 0.25
    """Older newest samples stop stimulation."""
    max_missing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Largest share of missing samples over the last ``missing_window_s``."""
    missing_window_s: PositiveFloat = 2.0
    """How far back ``max_missing`` looks."""
    max_clock_step_s: PositiveFloat = 0.01
    """Largest step of the clock that stamps the stream; a larger one disarms."""
    hold_off_s: Annotated[float, Field(ge=0, le=86_400)] = 2.0
    """Nothing is passed so long after the first sample and after every interruption of the stream."""
    confirm_n: PositiveInt = 2
    """Decisions in a row that must ask for the same before it may start."""
    dwell_s: Annotated[float, Field(ge=0, le=86_400)] = 1.0
    """A state must have lasted so long before its recommendation may replace another."""
    refractory_s: Annotated[float, Field(ge=0, le=86_400)] = 5.0
    """Shortest time from the end of one dose to the start of the next."""
    lockout_s: Annotated[float, Field(ge=0, le=31_536_000)] = 86_400.0
    """After a row has given its dose, in one piece or in several."""
    blanking_s: Annotated[float, Field(ge=0, le=5.0)] = 0.5
    """Decisions whose samples lie so close behind a start, a stop or a change of the output are not acted upon; behind
    the end of a dose, those whose window reaches so close to it. 0 says that output does not reach the recording."""
    pulse_blanking_s: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The same behind every single pulse, for the whole window of a decision. Where none comes that it
    leaves, for the window and three of their intervals (at least the watchdog time), stimulation stops; where none can
    come, looks end the dose. 0 says that pulses do not disturb decisions."""
    look_every_s: Annotated[float, Field(gt=0, le=7200)] = 30.0
    """After so much output at the latest the gate ramps down, lets the signal settle and decides anew, on a window that
    has no output in it; a dose that lasts longer is given in parts."""
    starts_per_episode: Annotated[int, Field(ge=1, le=100)] = 5
    """Most doses, or parts of one, until a decision that counts says that the state was left."""
    ramp_s: NonNegativeFloat = 1.0
    """Ramp up of every dose; made longer where the limits ask for it."""
    soft_stop_s: Annotated[float, Field(ge=0, le=1.0)] = 0.5
    """Ramp down of a soft stop; an operator's stop and a fault switch off at once."""

    @property
    def least_lease_s(self) -> float:
        """The shortest lease that is renewed in time, by a device that acts at once.

        Renewed half a heartbeat after its issue, noticed a heartbeat late, a fifth of the watchdog time for the disk.
        """
        return 1.5 * self.heartbeat_s + 0.2 * self.watchdog_s


def _no_code(kind: Any) -> Any:
    """Refuse a class of somebody's own: code that can hang or crash does not stand between gate and device."""
    if isinstance(kind, str) and ":" in kind:
        raise ValueError(
            f"must be one of {', '.join(get_args(DeviceKind))} (a device of your own is reached through kind 'tcp' by "
            f"a bridge in a process of its own, docs/devices.md), got {kind!r}"
        )
    return kind


class DeviceSettings(Settings):
    """Which stimulator, and how it is reached."""

    kind: Annotated[DeviceKind, BeforeValidator(_no_code)] = "simulated"
    """Which device: simulated, or reached through LSL markers, a serial trigger box or TCP."""
    host: str = "127.0.0.1"
    """``tcp``: address of the device."""
    port: Annotated[int, Field(ge=0, le=65535)] = 0
    """``tcp``: where the device listens."""
    path: str | None = None
    """``serial``: the port, such as ``/dev/ttyUSB0``."""
    baudrate: PositiveInt = 115_200
    """``serial``: speed of the port, in bits per second."""
    start_code: Annotated[int, Field(ge=0, le=255)] = 1
    """``serial``: byte that starts, and at every renewal goes on."""
    stop_code: Annotated[int, Field(ge=0, le=255)] = 0
    """``serial``: byte that stops; must differ from ``start_code``."""
    imbalance: Probability | None = None
    """Share of a phase's charge that the phase of the other sign leaves, from the maker's sheet. The larger of it and
    what the device says counts; where neither is known, what the hard limits assume."""
    codes: dict[str, Annotated[int, Field(ge=0, le=255)]] = Field(default_factory=dict)
    """``serial``: the byte of each state's row, in place of ``start_code``; with it a table may have several rows."""
    ramps_itself: bool = False
    """``serial``: confirms that what a code starts ramps up by itself, from where the output is, over the ramp that
    ``neuroloop check stimulation`` names for the row or longer, and that further codes only prolong it."""
    limits_itself: bool = False
    """``lsl`` and ``serial``: confirms that what one trigger starts ends by itself within the lease."""
    fault: str | None = None
    """``simulated``: what goes wrong, such as ``latency=20ms``, ``nack=0.1``, ``drop=0.1``, ``stuck_on``."""
    step_ma: PositiveFloat = 0.01
    """``simulated``: amplitudes are multiples of it."""


class BlindingSettings(Settings):
    """Where a blinded run takes its arm from; ``neuroloop blinding`` makes both files."""

    list_file: str
    """The sealed list of assignments."""
    key_file: str
    """The delivery key that opens this run's entry; a file that only the account of the run may read."""
    visit: Name
    """Which visit of the subject this is."""


class OperatorSettings(Settings):
    """Who may arm, and how a stop is asked for."""

    token_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Hash of the token that arms; without it a new token is made at every start and shown once."""
    stop_file: str | None = None
    """Stops as long as it exists; by default ``STOP`` in the run folder."""
    stop_marker: str = "stim_stop"
    """Label on any marker stream that stops."""


class StimulationSettings(Settings):
    """One electrode of one subject under one gate."""

    electrode_area_cm2: PositiveFloat
    """Geometric area of the smallest active contact."""
    electrode_shape: ElectrodeShapeSettings | None = None
    """The contact's shape and sizes, whose area must be ``electrode_area_cm2`` to 5 %. An implanted contact on a device
    that is not simulated must have it."""
    route: Route
    """Whether the electrode is implanted or on the skin."""
    profile: Profile = "custom"
    """Which hard limits hold, with ``route``."""
    subject: Name = UNNAMED
    """Pseudonym of who is stimulated; charge is counted by subject and electrode. A device that is not simulated needs
    names of both."""
    electrode: Name = UNNAMED
    """Name of the contact."""
    mode: Literal["real", "sham", "simulate", "blinded"] = "simulate"
    """``blinded``: real or sham, as a sealed list says that nobody at the rig has read."""
    blinding: BlindingSettings | None = None
    """``blinded``: the list."""
    table: tuple[RecommendationSettings, ...] | None = None
    """What is recommended for each state; this or ``table_file``."""
    table_file: str | None = None
    """A table as YAML or JSON file, in place of ``table``."""
    impedance_ohm: PositiveFloat = 500.0
    """Load that voltage and energy are computed into."""
    limits: LimitSettings = LimitSettings()
    """Limits tighter than the hard ones."""
    hard_limits_file: str | None = None
    """Without it the ones that are shipped. A configuration may only tighten them. ``bench`` is for measurements and
    takes simulated devices only."""
    hard_limits_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Hash of ``hard_limits_file``; a file that was not shipped must be named with it. ``neuroloop check`` says it."""
    gate: GateSettings = GateSettings()
    """When a request may pass."""
    device: DeviceSettings = DeviceSettings()
    """The stimulator."""
    operator: OperatorSettings = OperatorSettings()
    """Who may arm and stop."""
    ledger: str | None = None
    """Folder of the charge ledgers; by default in the user's state folder, outside all run folders. Those of simulated
    devices lie in a folder of their own in it."""

    @model_validator(mode="after")
    def _one_table(self) -> StimulationSettings:
        if (self.table is None) == (self.table_file is None):
            raise ValueError("table must be given, either itself or as table_file, and not both")
        if self.table is not None:
            try:
                check_rows(self.table)
            except ValueError as error:
                raise ValueError(f"table.{error}") from error
        if self.mode == "simulate" and self.device.kind != "simulated":
            raise ValueError(
                f"device.kind must be 'simulated' for mode 'simulate' (choose mode: real, sham or blinded), "
                f"got {self.device.kind!r}"
            )
        for fault in trigger_box_faults(self, self.table):
            raise ValueError(fault)
        area, shape = self.electrode_area_cm2, self.electrode_shape
        if shape is not None and not abs(area - shape.area_cm2) <= AREA_TOLERANCE * shape.area_cm2:
            rule = f"that of electrode_shape, {shape.area_cm2:.4g} cm2 ({100 * shape.area_cm2:.4g} mm2), to 5 %"
            raise ValueError(f"electrode_area_cm2 must be {rule}, got {area!r}")
        gate = self.gate
        if gate.lease_s is not None and gate.lease_s > gate.watchdog_s:
            raise ValueError(f"gate.lease_s must be at most gate.watchdog_s={gate.watchdog_s}, got {gate.lease_s!r}")
        if gate.heartbeat_s * 2 > gate.watchdog_s:
            raise ValueError(
                f"gate.heartbeat_s must be at most half of gate.watchdog_s={gate.watchdog_s}, got {gate.heartbeat_s!r}"
            )
        if gate.lease_s is not None and gate.lease_s < gate.least_lease_s:
            rule = "one and a half gate.heartbeat_s and a fifth of gate.watchdog_s, or it is not renewed in time"
            raise ValueError(f"gate.lease_s must be at least {gate.least_lease_s:g}, {rule}, got {gate.lease_s!r}")
        return self
