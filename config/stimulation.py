"""Settings of stimulation: who, where, what is recommended, what is allowed, which device, who may arm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, model_validator

from neuroloop.config.settings import Name, NonNegativeFloat, PositiveFloat, PositiveInt, Probability, Settings

Route = Literal["implanted", "transcutaneous"]
Profile = Literal["tdcs", "tacs", "tens", "nmes", "dbs", "cortical", "vns", "peripheral_nerve", "custom"]
Waveform = Literal["biphasic", "monophasic", "direct", "sine"]
DeviceKind = Literal["simulated", "lsl", "serial", "tcp"]
UNKNOWN_STATE = "unknown"
"""What the decision policy says when it has no class; nothing is ever recommended for it."""


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

    Its start code says nothing but *on*: every lease, whatever its amplitude, makes the box give the one train that it
    is set up for. A second row, a ramp, a soft stop or a sham dose would be that train in full.

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
    if rows is not None and len(rows) != 1:
        where = "table" if settings.table_file is None else "table_file"
        faults.append(f"{where} must be one row {box}, which knows one train, got {len(rows)} rows")
    if gate.ramp_s != 0:
        faults.append(f"gate.ramp_s must be 0 {box}, which cannot ramp, got {gate.ramp_s!r}")
    if gate.soft_stop_s != 0:
        faults.append(f"gate.soft_stop_s must be 0 {box}, which can only be cut off, got {gate.soft_stop_s!r}")
    return faults


class LimitSettings(Settings):
    """Limits of a session. Each may only be tighter than the hard one; what is left out is the hard one."""

    max_amplitude_ma: PositiveFloat | None = None
    """Largest amplitude."""
    max_pulse_width_us: PositiveFloat | None = None
    """Longest phase of a pulse."""
    max_frequency_hz: PositiveFloat | None = None
    """Highest rate of pulses, or frequency of a sine."""
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
    """Time with the output on, all doses of the run together."""
    max_session_charge_mc: PositiveFloat | None = None
    """Largest charge, all doses of the run together."""
    max_day_charge_mc: PositiveFloat | None = None
    """In any 24 h, all runs on the subject's electrode together."""
    max_starts_per_h: PositiveInt | None = None
    """Most doses begun within one hour."""
    min_ramp_s: NonNegativeFloat | None = None
    """Shortest ramp up."""


class GateSettings(Settings):
    """When a request may pass, and what ends stimulation."""

    arming_s: PositiveFloat = 600.0
    """Arming expires after so long unless it is renewed."""
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
    hold_off_s: NonNegativeFloat = 2.0
    """Nothing is passed so long after the first sample and after every interruption of the stream."""
    confirm_n: PositiveInt = 2
    """Decisions in a row that must ask for the same before it may start."""
    dwell_s: NonNegativeFloat = 1.0
    """A state must have lasted so long before its recommendation may replace another."""
    refractory_s: NonNegativeFloat = 5.0
    """Shortest time from the end of one dose to the start of the next."""
    lockout_s: NonNegativeFloat = 86_400.0
    """After a dose that was given in full."""
    blanking_s: Annotated[float, Field(ge=0, le=5.0)] = 0.5
    """Decisions whose samples lie so close behind a start, a stop or a change of the output are not acted upon."""
    pulse_blanking_s: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """The same behind every single pulse, where pulses are far enough apart. Where it leaves no decision for three of
    their intervals (at least the watchdog time), stimulation stops."""
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


class DeviceSettings(Settings):
    """Which stimulator, and how it is reached."""

    kind: DeviceKind = "simulated"
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
    limits_itself: bool = False
    """``lsl`` and ``serial``: confirms that what one trigger starts ends by itself within the lease."""
    fault: str | None = None
    """``simulated``: what goes wrong, such as ``latency=20ms``, ``nack=0.1``, ``drop=0.1``, ``stuck_on``."""
    step_ma: PositiveFloat = 0.01
    """``simulated``: amplitudes are multiples of it."""


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
    route: Route
    """Whether the electrode is implanted or on the skin."""
    profile: Profile = "custom"
    """Which hard limits hold, with ``route``."""
    subject: Name = "unnamed"
    """Pseudonym of who is stimulated; charge is counted by subject and electrode."""
    electrode: Name = "unnamed"
    """Name of the contact."""
    mode: Literal["real", "sham", "simulate", "blinded"] = "simulate"
    """``blinded``: real or sham, as a sealed assignment says that nobody has read."""
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
    gate: GateSettings = GateSettings()
    """When a request may pass."""
    device: DeviceSettings = DeviceSettings()
    """The stimulator."""
    operator: OperatorSettings = OperatorSettings()
    """Who may arm and stop."""
    ledger: str | None = None
    """Folder of the charge ledgers; by default in the user's state folder, outside all run folders."""

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
