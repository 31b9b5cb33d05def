"""The hard limits: the shipped file, its known hash, and what each profile and route may have."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_settings
from neuroloop.config.settings import NonNegativeFloat, PositiveFloat, PositiveInt, Probability, Settings
from neuroloop.config.stimulation import DeviceKind, LimitSettings, Profile, Route, Waveform

LIMITS_FOLDER = Path(__file__).resolve().parents[3] / "config" / "limits"
HARD_LIMITS_FILE = LIMITS_FOLDER / "hard.yaml"
HARD_LIMITS_SHA256 = "d0e37df76fb498daed2eacc914cfa3b4a37ea9d2e21fc0d6eac569d117fc38bf"
BENCH_LIMITS_SHA256 = "8836040ac41272080fcb4e29b5ad5b6860a90d9ca4cafff198658e47af3f9176"
NEVER_ABOVE_K = 1.85
"""No file may allow a Shannon k above it."""


Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class ProfileLimits(LimitSettings):
    """Hard limits of one profile and route; what is absent is not limited."""

    waveforms: Annotated[tuple[Waveform, ...], Field(min_length=1)]
    min_area_cm2: PositiveFloat
    """With ``max_area_cm2``: areas of one active contact that are plausible here."""
    max_area_cm2: PositiveFloat
    min_impedance_ohm: PositiveFloat
    """With ``max_impedance_ohm``: loads that voltage and energy may be computed into."""
    max_impedance_ohm: PositiveFloat
    max_amplitude_ma: PositiveFloat
    max_slew_ma_s: PositiveFloat
    max_dose_s: PositiveFloat
    max_session_s: PositiveFloat
    max_session_charge_mc: PositiveFloat
    max_day_charge_mc: PositiveFloat
    max_starts_per_h: PositiveInt
    min_ramp_s: NonNegativeFloat
    min_lockout_s: NonNegativeFloat
    """Shortest wait after a dose that was given in full."""
    min_confidence: Probability = 0.0
    """Least that a row may ask of a decision; in a session at least that of the file's section ``gate``."""
    default_imbalance: Share = 1.0
    """What the second phase leaves of the first; in a session that of the file's section ``charge_balance``."""
    max_voltage_v: PositiveFloat | None = None
    """Peak, into the stated impedance."""
    max_starts_per_day: PositiveInt | None = None
    min_off_ratio: NonNegativeFloat = 0.0
    """Off after a dose at least so many times as long as it was on."""
    override_band_hz: tuple[PositiveFloat, PositiveFloat] | None = None
    """Frequencies from the first to the second need a row with ``requires_override``."""


class RouteLimits(Settings):
    """Limits of one profile; a route that is absent is not allowed."""

    implanted: ProfileLimits | None = None
    transcutaneous: ProfileLimits | None = None

    @model_validator(mode="after")
    def _no_sine_is_direct_current(self) -> RouteLimits:
        for route in RouteLimits.model_fields:
            one: ProfileLimits | None = getattr(self, route)
            if one is not None and "sine" in one.waveforms and one.min_frequency_hz is None:
                raise ValueError(f"{route}.min_frequency_hz must be given where sines are allowed, got nothing")
        return self

    @model_validator(mode="after")
    def _implanted_is_charge_balanced(self) -> RouteLimits:
        one = self.implanted
        if one is None:
            return self
        if one.waveforms != ("biphasic",):
            raise ValueError(f"implanted.waveforms must be ['biphasic'], got {list(one.waveforms)!r}")
        for key in (
            "max_pulse_width_us",
            "max_frequency_hz",
            "max_charge_per_phase_uc",
            "max_charge_density_uc_cm2",
            "max_shannon_k",
            "max_net_dc_ua",
        ):
            if getattr(one, key) is None:
                raise ValueError(f"implanted.{key} must be given, got nothing")
        return self


class ShannonLimits(Settings):
    """How Shannon's k is used for implanted electrodes."""

    default_k: Annotated[float, Field(le=NEVER_ABOVE_K, allow_inf_nan=False)]
    """The limit where the configuration has none."""
    warn_k: Annotated[float, Field(le=NEVER_ABOVE_K, allow_inf_nan=False)]


class MicroelectrodeLimits(Settings):
    """What holds for implanted contacts so small that Shannon's rule does not."""

    below_area_cm2: PositiveFloat
    max_charge_per_phase_uc: PositiveFloat


class BalanceLimits(Settings):
    """What is assumed of a device that does not say how well its phases match."""

    default_imbalance: Share
    """Share of a phase's charge that the other phase leaves."""


class GateMost(Settings):
    """The largest values that settings of the gate may have. No file may go beyond what stands here."""

    arming_s: Annotated[float, Field(gt=0, le=86_400)]
    armed_total_s: Annotated[float, Field(gt=0, le=604_800)]
    watchdog_s: Annotated[float, Field(ge=0.1, le=2.0)]
    heartbeat_s: Annotated[float, Field(ge=0.01, le=0.5)]
    max_age_s: Annotated[float, Field(gt=0, le=5.0)]
    max_missing: Annotated[float, Field(ge=0, le=0.5)]
    missing_window_s: Annotated[float, Field(gt=0, le=60.0)]
    max_clock_step_s: Annotated[float, Field(gt=0, le=1.0)]
    blanking_s: Annotated[float, Field(ge=0, le=5.0)]
    pulse_blanking_s: Annotated[float, Field(ge=0, le=0.5)]
    soft_stop_s: Annotated[float, Field(ge=0, le=1.0)]


class GateLeast(Settings):
    """The smallest values that settings of the gate, and ``min_confidence`` of a row, may have."""

    hold_off_s: NonNegativeFloat
    confirm_n: PositiveInt
    blanking_s: NonNegativeFloat
    refractory_s: NonNegativeFloat
    min_confidence: Probability


class GateLimits(Settings):
    """Bounds of the gate's own settings; a configuration may only be tighter."""

    at_most: GateMost
    at_least: GateLeast


class HardLimits(Settings):
    """The whole file of hard limits."""

    version: Literal[1]
    devices: Annotated[tuple[DeviceKind, ...], Field(min_length=1)] | None = None
    """Kinds of device that these limits are for; without it any. Another one is refused."""
    shannon: ShannonLimits
    microelectrode: MicroelectrodeLimits
    charge_balance: BalanceLimits
    gate: GateLimits
    profiles: dict[Profile, RouteLimits]

    def of(self, profile: Profile, route: Route) -> ProfileLimits:
        """Return the limits of a profile and route.

        Raises
        ------
        ConfigError
            If there are none.
        """
        routes = self.profiles.get(profile)
        if routes is None:
            known = ", ".join(self.profiles)
            raise ConfigError(f"stimulation.profile must be one of the hard limits' ({known}), got {profile!r}")
        found: ProfileLimits | None = getattr(routes, route)
        if found is None:
            allowed = " or ".join(repr(name) for name in RouteLimits.model_fields if getattr(routes, name) is not None)
            raise ConfigError(f"stimulation.route must be {allowed} for profile {profile!r}, got {route!r}")
        return found


def file_sha256(path: Path) -> str:
    """Return the hash of a file of hard limits as it lies there now."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def hard_limits_path(named: str | None) -> Path:
    """Return the file that a configuration means: a shipped one by its name, or a path."""
    if named is None:
        return HARD_LIMITS_FILE
    shipped = LIMITS_FOLDER / f"{named}.yaml"
    return shipped if "/" not in named and shipped.is_file() else Path(named)


def load_hard_limits(named: str | None = None, pinned: str | None = None) -> tuple[HardLimits, str]:
    """Read the hard limits, and their SHA-256.

    Parameters
    ----------
    named : str, optional
        ``stimulation.hard_limits_file``; without it the shipped file. A shipped one must be as it was shipped, by
        whatever name or path it is called.
    pinned : str, optional
        ``stimulation.hard_limits_sha256``; a file that was not shipped must be named together with it.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not valid, is not the shipped one or not the one that is pinned.
    """
    path = hard_limits_path(named)
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise ConfigError(
            f"stimulation.hard_limits_file must be a readable file, got {str(path)!r}: {error.strerror}"
        ) from error
    known = {HARD_LIMITS_FILE.resolve(): HARD_LIMITS_SHA256, LIMITS_FOLDER / "bench.yaml": BENCH_LIMITS_SHA256}
    shipped = known.get(path.resolve())
    if shipped is not None and sha256 != shipped:
        rule = f"the one that was shipped (sha256 {shipped[:12]})"
        raise ConfigError(f"{path.name} must be {rule}, got {sha256[:12]}: reinstall, or name a file of your own")
    hard = load_settings(path, HardLimits)
    if pinned != sha256 and (shipped is None or pinned is not None):
        rule = f"that of {path.name}, {sha256}, once somebody has read what it allows"
        raise ConfigError(f"stimulation.hard_limits_sha256 must be {rule}, got {pinned or 'nothing'}")
    return hard, sha256
