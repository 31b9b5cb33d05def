"""Events of a run as rows of a BIDS events table."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neuroloop.config.stimulation import RecommendationSettings, StimulationSettings

NOT_AVAILABLE = "n/a"
_STIMULATION = ("type", "site", "current", "frequency", "pulse_width", "charge_per_phase", "k", "refusal")
COLUMNS = ("onset", "duration", "trial_type", "sample", *(f"electrical_stimulation_{one}" for one in _STIMULATION))
"""Of the table, in order."""
_DESCRIPTIONS = {
    "onset": (
        "Time after the first sample of the run at which the event became known to the program; by the stamp of the "
        "newest sample used, not compensated for the delay of filters and windows. Artifacts and gaps: their first "
        "sample.",
        "s",
    ),
    "duration": (
        "Length. A dose: from the command that began it to the one that ended it. A state: until the next one.",
        "s",
    ),
    "sample": ("Number of that sample, from 0 at the first of the run; missing samples are counted in.", None),
    "electrical_stimulation_type": ("Wave form.", None),
    "electrical_stimulation_site": ("Electrode under stimulation, as the run's configuration names it.", None),
    "electrical_stimulation_current": ("Amplitude of one phase, peak, as commanded.", "A"),
    "electrical_stimulation_frequency": ("Pulses per second, or of the sine; 0 for direct current.", "Hz"),
    "electrical_stimulation_pulse_width": ("Width of one phase.", "s"),
    "electrical_stimulation_charge_per_phase": ("Charge of one phase.", "C"),
    "electrical_stimulation_k": (
        "Shannon's k: log10(Q^2 / A), Q in uC a phase, A the area of the smallest contact in cm2.",
        None,
    ),
    "electrical_stimulation_refusal": ("Rules by which a request was refused.", None),
}
_LEVELS = {
    "electrical_stimulation": "A dose: current was commanded to a device.",
    "electrical_stimulation_simulated": "A dose of a simulated device: no current.",
    "electrical_stimulation_sham": "A dose of a sham run: ramps only.",
    "electrical_stimulation_blinded": "A dose, real or sham as a sealed assignment says.",
    "electrical_stimulation_refused": "A dose that was asked for and refused; its parameters are those of the table.",
    "stimulator/arm": "The operator armed the stimulator.",
    "stimulator/disarm": "The stimulator was disarmed.",
    "gap": "Samples are missing.",
}
_GROUPS = {
    "stimulator": "The operator asked for it and was refused.",
    "state": "The decoded state.",
    "marker": "A marker received from a marker stream.",
    "artifact": "An artifact of this kind.",
    "stream": "What became of the stream.",
}


def stimulation_kind(settings: StimulationSettings) -> str:
    """Return the trial type of a dose under these settings."""
    if settings.mode == "simulate" or settings.device.kind == "simulated":
        return "electrical_stimulation_simulated"
    return {"sham": "electrical_stimulation_sham", "blinded": "electrical_stimulation_blinded"}.get(
        settings.mode, "electrical_stimulation"
    )


def describe_columns(settings: StimulationSettings | None, trial_types: Collection[str]) -> dict[str, Any]:
    """Return the data dictionary of the table.

    Parameters
    ----------
    settings : StimulationSettings, optional
    trial_types : collection of str
        Those that occur.
    """
    described: dict[str, Any] = {}
    for name in COLUMNS:
        if name == "trial_type":
            levels = {one: _level(one) for one in sorted(trial_types)}
            described[name] = {"Description": "What happened.", "Levels": levels}
            continue
        text, unit = _DESCRIPTIONS[name]
        described[name] = {"Description": text} | ({} if unit is None else {"Units": unit})
    described["StimulationMode"] = "none" if settings is None else settings.mode
    return described


def _level(trial_type: str) -> str:
    """Say what a trial type is."""
    return _LEVELS.get(trial_type) or _GROUPS[trial_type.partition("/")[0]]


@dataclass
class BidsRow:
    """One line of the table.

    Parameters
    ----------
    onset : float
        In seconds after the first sample.
    duration : float, optional
    trial_type : str
    sample : int
        Counted from the first of the run.
    stimulation : dict
        Cells of the stimulation columns, by the end of their name.
    """

    onset: float
    duration: float | None
    trial_type: str
    sample: int
    stimulation: dict[str, Any] = field(default_factory=dict)

    def cells(self) -> list[str]:
        """Return the cells of the line."""
        first: tuple[Any, ...] = (self.onset, self.duration, self.trial_type, self.sample)
        return [_cell(value) for value in (*first, *(self.stimulation.get(name) for name in _STIMULATION))]


class EventRows:
    """Turn events into rows, one after the other.

    Parameters
    ----------
    settings : StimulationSettings, optional
        Of the run; without it commands, which are not expected, count as simulated.
    table : sequence of RecommendationSettings
        What was recommended for each state.

    Attributes
    ----------
    start : dict or None
        The event that describes the stream, once it came.
    """

    def __init__(self, settings: StimulationSettings | None, table: Sequence[RecommendationSettings] = ()) -> None:
        self._area_cm2 = math.nan if settings is None else settings.electrode_area_cm2
        self._table = {row.state: row for row in table}
        self._site = None if settings is None else settings.electrode
        self._dose_kind = "electrical_stimulation_simulated" if settings is None else stimulation_kind(settings)
        self._rows: list[BidsRow] = []
        self._dose: BidsRow | None = None
        self._state: BidsRow | None = None
        self._last_onset = 0.0
        self.start: dict[str, Any] | None = None

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one line of ``events.jsonl``; predictions, drift and skips leave no row."""
        kind = record["type"]
        if self.start is None:
            if kind != "stream" or record.get("what") != "start":
                return
            self.start = dict(record)
        onset = self._onset(record)
        self._last_onset = max(self._last_onset, onset)
        if kind == "state":
            self._end_state(onset)
            self._state = self._row(record, f"state/{record['state']}", None)
        elif kind == "marker":
            self._row(record, f"marker/{record['label']}", 0.0)
        elif kind == "artifact":
            self._row(record, f"artifact/{record['kind']}", record["duration_s"], first=record["first_sample"])
        elif kind == "gap":
            self._row(record, "gap", record["duration_s"], first=record["first_missing"])
        elif kind == "stream" and record["what"] in ("lost", "found"):
            self._row(record, f"stream/{record['what']}", 0.0)
        elif kind == "refusal":
            self._take_refusal(record)
        elif kind == "command":
            self._take_command(record, onset)

    def finish(self) -> list[BidsRow]:
        """Return the rows in order of their onsets; a dose that nothing ended has no duration."""
        self._end_state(self._last_onset)
        return sorted(self._rows, key=lambda row: row.onset)

    def _take_command(self, record: Mapping[str, Any], onset: float) -> None:
        """Begin or end a dose, or note that the stimulator was armed or disarmed."""
        action = record["action"]
        if action in ("start", "stop") and self._dose is not None:
            self._dose.duration = max(0.0, onset - self._dose.onset)
            self._dose = None
        if action == "start":
            self._dose = self._row(record, self._dose_kind, None)
            self._dose.stimulation = self._parameters(record)
        elif action in ("arm", "disarm"):
            self._row(record, f"stimulator/{action}", 0.0)

    def _take_refusal(self, record: Mapping[str, Any]) -> None:
        """Note what was refused: a dose with the parameters of its row, or something that the operator asked for."""
        rules = ", ".join(str(one["rule"]) for one in record["rules"])
        if record["what"] != "start":
            self._row(record, f"stimulator/{record['what']}_refused", 0.0).stimulation = {"refusal": rules}
            return
        row = self._row(record, "electrical_stimulation_refused", 0.0)
        asked = self._table.get(str(record["state"]))
        values = {} if asked is None else asked.model_dump() | self._charges(asked)
        row.stimulation = {**self._parameters(values), "refusal": rules}

    def _charges(self, row: RecommendationSettings) -> dict[str, float]:
        """Return the charge of a phase of pulses, and Shannon's k on this contact."""
        charge_uc = row.amplitude_ma * row.pulse_width_us / 1e3
        if not charge_uc > 0:
            return {}
        return {"charge_per_phase_uc": charge_uc, "shannon_k": math.log10(charge_uc**2 / self._area_cm2)}

    def _parameters(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return the cells of a dose, in the units of the table."""
        return {
            "type": record.get("waveform"),
            "site": self._site,
            "current": _scaled(record.get("amplitude_ma"), 1e-3),
            "frequency": record.get("frequency_hz"),
            "pulse_width": _scaled(record.get("pulse_width_us"), 1e-6),
            "charge_per_phase": _scaled(record.get("charge_per_phase_uc"), 1e-6),
            "k": record.get("shannon_k"),
        }

    def _end_state(self, onset: float) -> None:
        if self._state is not None:
            self._state.duration = max(0.0, onset - self._state.onset)
            self._state = None

    def _row(
        self, record: Mapping[str, Any], trial_type: str, duration: float | None, *, first: int | None = None
    ) -> BidsRow:
        """Add a row at the event's own sample, or at the one where it began."""
        begin = int(record["sample"] if first is None else first)
        row = BidsRow(self._onset(record, begin), duration, _plain(trial_type), begin - self._first_sample())
        self._rows.append(row)
        return row

    def _onset(self, record: Mapping[str, Any], begin: int | None = None) -> float:
        """Return seconds since the first sample: by the stamps, by the count where a stamp is missing."""
        start = self.start or {}
        sfreq = float(start.get("sfreq") or math.nan)
        sample = int(record["sample"])
        begin = sample if begin is None else begin
        time, zero = record.get("time"), start.get("time")
        if time is None or zero is None:
            return (begin - self._first_sample()) / sfreq
        back = (sample - begin) / sfreq if begin != sample else 0.0
        return float(time) - float(zero) - back

    def _first_sample(self) -> int:
        return int((self.start or {"sample": 0})["sample"])


def _scaled(value: Any, factor: float) -> float | None:
    return None if value is None else float(value) * factor


def _cell(value: Any) -> str:
    """Write one cell: numbers to the nanosecond or nine digits, ``n/a`` for what is not there."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOT_AVAILABLE
    if isinstance(value, float):
        text = repr(round(value, 9) if abs(value) >= 1.0 or value == 0.0 else float(f"{value:.9g}"))
        return text.removesuffix(".0")
    return _plain(str(value)) or NOT_AVAILABLE


def _plain(text: str) -> str:
    """Return a text that is one cell in any reader: blanks for tabs and line ends, no double quotes."""
    return " ".join(text.split()).replace('"', "'")
