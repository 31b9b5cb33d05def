"""Everything that a gate is made from, as JSON values: the first entry of its input log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from neuroloop.config.errors import ConfigError
from neuroloop.config.stimulation import RecommendationSettings, StimulationSettings
from neuroloop.sinks.stimulator.envelope.envelope import Assessment, Envelope
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import HardLimits, ProfileLimits
from neuroloop.sinks.stimulator.envelope.trigger_box import refuse_what_no_box_can
from neuroloop.sinks.stimulator.gate.earlier_runs import EarlierRuns, read_earlier_runs
from neuroloop.sinks.stimulator.gate.inputs import number, number_or_none, text
from neuroloop.sinks.stimulator.records import Capabilities

GATE_VERSION = 6
"""Raised whenever the same inputs would give other outputs: a log of another version cannot be decided again."""


def make_setup(
    settings: StimulationSettings,
    rows: Sequence[RecommendationSettings],
    *,
    hard: HardLimits,
    limits_sha256: str,
    capabilities: Capabilities,
    stream: str,
    delay_s: float,
    decision_s: float | None,
    window_s: float,
    plan_hash: str,
    bundle_hash: str | None,
    config_sha256: str,
    ledger: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the values of a ``setup`` input.

    Parameters
    ----------
    settings : StimulationSettings
    rows : sequence of RecommendationSettings
        The table, from `neuroloop.config.recommendations.rows_of`.
    hard : HardLimits
    limits_sha256 : str
        Of their file, as `load_hard_limits` returned it; every pulse must say the same.
    capabilities : Capabilities
        The device's own.
    stream : str
        Name of the stream that is decided on.
    delay_s : float
        The pipeline's algorithmic delay.
    decision_s : float, optional
        Seconds between two decisions; longer silence than three of them (at least the watchdog time) stops
        stimulation. Without it decisions may be any time apart.
    window_s : float
        How far back a decision looks: the windows and the reach of the filters, from the plan.
    plan_hash, bundle_hash : str
    config_sha256 : str
        Of the resolved configuration; every pulse must say the same.
    ledger : mapping
        What earlier runs left, as `read_earlier_runs` reads it: ``day_charge_uc`` (required), and what the ledger
        says of doses, session and lockout.
    """
    plain = settings.model_dump(
        mode="json", exclude={"operator", "table", "table_file", "hard_limits_file", "ledger", "blinding"}
    )
    return {
        "gate": GATE_VERSION,
        "settings": plain,
        "table": [row.model_dump(mode="json") for row in rows],
        "hard": hard.model_dump(mode="json"),
        "limits_sha256": limits_sha256,
        "capabilities": {**asdict(capabilities), "waveforms": list(capabilities.waveforms)},
        "stream": stream,
        "delay_s": delay_s,
        "decision_s": decision_s,
        "window_s": window_s,
        "plan_hash": plan_hash,
        "bundle_hash": bundle_hash,
        "config_sha256": config_sha256,
        "ledger": dict(ledger),
    }


@dataclass(frozen=True)
class Setup:
    """A ``setup`` input, read and checked."""

    settings: StimulationSettings
    limits: ProfileLimits
    limits_sha256: str
    capabilities: Capabilities
    stream: str
    delay_s: float
    decision_s: float | None
    window_s: float
    config_sha256: str
    rows: dict[str, RecommendationSettings]
    assessments: dict[str, Assessment]
    earlier: EarlierRuns

    @property
    def is_coded(self) -> bool:
        """Whether events must not show what was delivered."""
        return self.settings.mode in ("sham", "blinded")

    @property
    def lease_ns(self) -> int:
        """Length of a lease."""
        gate = self.settings.gate
        wanted = gate.lease_s if gate.lease_s is not None else gate.watchdog_s
        return round(min(wanted, self.capabilities.timeout_s) * 1e9)


def read_setup(values: Mapping[str, Any]) -> Setup:
    """Read the values of a ``setup`` input.

    Raises
    ------
    ConfigError
        If something is missing, wrong, looser than the hard limits, or nothing that a trigger box can do.
    """
    version = values.get("gate", 1)
    if version != GATE_VERSION:
        raise ConfigError(f"setup.gate must be {GATE_VERSION}, the version of this program's gate, got {version!r}")
    try:
        settings = StimulationSettings.model_validate({**values["settings"], "table": values["table"]})
        hard = HardLimits.model_validate(values["hard"])
        limits = session_limits(settings, hard)
        capabilities = Capabilities(
            **{**values["capabilities"], "waveforms": tuple(values["capabilities"]["waveforms"])}
        )
        rows = {row.state: row for row in settings.table or ()}
        refuse_what_no_box_can(settings, tuple(rows.values()), limits)
        envelope = Envelope(settings, limits, hard.shannon, capabilities)
        setup = Setup(
            settings=settings,
            limits=limits,
            limits_sha256=text(values, "limits_sha256"),
            capabilities=capabilities,
            stream=text(values, "stream"),
            delay_s=number(values, "delay_s"),
            decision_s=number_or_none(values, "decision_s"),
            window_s=number(values, "window_s"),
            config_sha256=text(values, "config_sha256"),
            rows=rows,
            assessments={state: envelope.assess(row) for state, row in rows.items()},
            earlier=read_earlier_runs(values["ledger"]),
        )
    except KeyError as error:
        raise ConfigError(f"setup.{error.args[0]} must be given, got nothing") from error
    except ConfigError:
        raise
    except (ValidationError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"setup must be as `make_setup` makes it, got: {error}") from error
    if setup.lease_ns < settings.gate.least_lease_s * 1e9:
        raise ConfigError(
            f"device capabilities.timeout_s must be at least {settings.gate.least_lease_s:g}, the shortest lease that "
            f"is renewed in time (a shorter gate.heartbeat_s needs less), got {capabilities.timeout_s!r}"
        )
    return setup
