"""What a configuration's table would do on its electrode: every row with its numbers and a verdict, for ``check``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuroloop.config.recommendations import rows_of
from neuroloop.config.stimulation import StimulationSettings
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Envelope
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import hard_limits_path, load_hard_limits
from neuroloop.sinks.stimulator.envelope.trigger_box import refuse_what_no_box_can

_COLUMNS = (
    ("Q uC", "charge_per_phase_uc"),
    ("D uC/cm2", "charge_density_uc_cm2"),
    ("k", "shannon_k"),
    ("pulses", "pulses"),
    ("dose mC", "full_charge_mc"),
    ("duty %", "duty"),
    ("rms mA", "rms_ma"),
)


def assess_table(settings: StimulationSettings, classes: Sequence[str] | None = None) -> dict[str, Any]:
    """Judge every row of a configuration's table, before the device's own steps and ranges are known.

    Parameters
    ----------
    settings : StimulationSettings
    classes : sequence of str, optional
        What the classifier can say; a row for anything else is never asked for.

    Returns
    -------
    dict
        JSON values: the electrode, the limits with their SHA-256, and one entry per row with ``verdict`` (``allowed``
        or ``refused``), ``reason``, ``warnings``, ``is_asked_for``, ``numbers`` and ``checks``.

    Raises
    ------
    ConfigError
        If the table or the limits have faults, a limit is looser than the hard one, or the device is a trigger box and
        something is configured that it cannot do.
    """
    hard, sha256 = load_hard_limits(settings.hard_limits_file, settings.hard_limits_sha256)
    limits = session_limits(settings, hard)
    rows = rows_of(settings)
    refuse_what_no_box_can(settings, rows, limits)
    envelope = Envelope(settings, limits, hard.shannon, None)
    found = envelope.assess_table(rows)
    return {
        "electrode_area_cm2": settings.electrode_area_cm2,
        "route": settings.route,
        "profile": settings.profile,
        "mode": settings.mode,
        "device": settings.device.kind,
        "imbalance": envelope.imbalance,
        "limits_file": hard_limits_path(settings.hard_limits_file).name,
        "limits_sha256": sha256,
        "limits": limits.model_dump(mode="json", exclude_none=True),
        "rows": [
            {
                "state": one.state,
                "is_asked_for": None if classes is None else one.state in classes,
                "requires_override": row.requires_override,
                "frequency_hz": row.frequency_hz,
                "amplitude_ma": row.amplitude_ma,
                "pulse_width_us": row.pulse_width_us,
                "waveform": row.waveform,
                "duration_s": row.duration_s,
                "verdict": "allowed" if one.is_allowed else "refused",
                "reason": one.reason,
                "warnings": _warnings(one, hard.shannon.warn_k),
                "numbers": one.numbers,
                "checks": [check.as_dict() for check in one.checks],
            }
            for row, one in zip(rows, found, strict=True)
        ],
    }


def _warnings(one: Assessment, warn_k: float) -> list[str]:
    """Return what is allowed and to be looked at."""
    return [
        f"{check.rule} should be below {warn_k:g}, got {check.value:.4g}"
        for check in one.checks
        if check.ok and check.warns
    ]


def assessment_text(found: dict[str, Any]) -> str:
    """Return what `assess_table` found as lines for reading."""
    lines = [
        f"stimulation: {found['route']}, profile {found['profile']}, contact of {found['electrode_area_cm2']:g} cm2 "
        f"({100 * found['electrode_area_cm2']:g} mm2), "
        f"mode {found['mode']}, device {found['device']}",
        f"{'state':<14} " + " ".join(f"{title:>9}" for title, _ in _COLUMNS) + "  verdict",
    ]
    for row in found["rows"]:
        numbers = row["numbers"]
        cells = " ".join(f"{_cell(key, numbers.get(key)):>9}" for _, key in _COLUMNS)
        lines.append(f"{row['state']:<14} {cells}  {row['verdict']}")
        lines += [f"  refused: {reason}" for reason in row["reason"].split("; ") if reason]
        lines += [f"  warning: {warning}" for warning in row["warnings"]]
        if found["device"] == "serial" and numbers["ramp_s"]:
            lines.append(f"  the box must ramp up over {numbers['ramp_s']:g} s or more by itself")
        if row["requires_override"]:
            lines.append("  given only if the operator names this state when arming")
        if row["is_asked_for"] is False:
            lines.append("  never asked for: no class of the classifier has this name")
    lines.append(f"phases that differ by {100 * found['imbalance']:g} % (device.imbalance, or what the device says)")
    lines.append(f"hard limits {found['limits_file']}, hard_limits_sha256: {found['limits_sha256']}")
    return "\n".join(lines)


def _cell(key: str, value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.3g}" if key == "duty" else f"{value:d}" if isinstance(value, int) else f"{value:.4g}"
