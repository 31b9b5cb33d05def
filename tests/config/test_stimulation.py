"""Settings of stimulation: what must be given, what excludes what, where a fault stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import load_config
from neuroloop.config.recommendations import rows_of
from neuroloop.config.stimulation import StimulationSettings

HEAD = "name: s\nsource: {kind: simulator}\nclassifier: {bundle: demo}\n"
ROW = "{state: rest, frequency_hz: 20, amplitude_ma: 1, pulse_width_us: 100, duration_s: 10}"


def faults_of(tmp_path: Path, **values: Any) -> list[str]:
    given = {"electrode_area_cm2": 0.06, "route": "implanted", "table": f"[{ROW}]", **values}
    lines = "".join(f"  {key}: {value}\n" for key, value in given.items() if value is not None)
    path = tmp_path / "s.yaml"
    path.write_text(f"{HEAD}stimulation:\n{lines}", "utf-8")
    try:
        load_config(str(path))
    except ConfigError as error:
        return [fault.removeprefix(str(path)) for fault in error.faults]
    return []


def test_area_and_route_are_mandatory(tmp_path: Path) -> None:
    assert faults_of(tmp_path) == []
    found = faults_of(tmp_path, electrode_area_cm2=None, route=None)
    assert found == [
        ":4: stimulation.electrode_area_cm2 must be given, got nothing",
        ":4: stimulation.route must be given, got nothing",
    ]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"table_file": "x"}, "stimulation.table must be given, either itself or as table_file, and not both"),
        ({"table": None}, "stimulation.table must be given, either itself or as table_file, and not both"),
        ({"table": f"[{ROW}, {ROW}]"}, "stimulation.table.1.state must be given once in a table, got 'rest' again"),
        (
            {"device": "{kind: tcp}"},
            "stimulation.device.kind must be 'simulated' for mode 'simulate' "
            "(choose mode: real, sham or blinded), got 'tcp'",
        ),
        ({"gate": "{lease_s: 0.6}"}, "stimulation.gate.lease_s must be at most gate.watchdog_s=0.5, got 0.6"),
        (
            {"gate": "{lease_s: 0.2}"},
            "stimulation.gate.lease_s must be at least 0.25, one and a half gate.heartbeat_s and a fifth of "
            "gate.watchdog_s, or it is not renewed in time, got 0.2",
        ),
        (
            {"gate": "{heartbeat_s: 0.3}"},
            "stimulation.gate.heartbeat_s must be at most half of gate.watchdog_s=0.5, got 0.3",
        ),
        ({"gate": "{blanking_s: 5.1}"}, "gate.blanking_s must be less than or equal to 5, got 5.1"),
        ({"gate": "{pulse_blanking_s: 1}"}, "gate.pulse_blanking_s must be less than or equal to 0.5, got 1"),
        ({"limits": "{max_shannon_k: 1.9}"}, "max_shannon_k must be less than or equal to 1.85, got 1.9"),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path: Path, values: dict[str, Any], fault: str) -> None:
    found = faults_of(tmp_path, **values)
    assert len(found) == 1
    assert fault in found[0]


SHAPE = "{kind: cylinder, diameter_mm: 1.27, length_mm: 1.5}"
BOX = {"mode": "real", "device": "{kind: serial, path: /dev/ttyS9}", "gate": "{ramp_s: 0, soft_stop_s: 0}"}
OTHER = ROW.replace("rest", "other")


def test_a_trigger_box_may_have_one_row_without_a_ramp_or_a_soft_stop(tmp_path: Path) -> None:
    assert faults_of(tmp_path, **BOX) == []


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"table": f"[{ROW}, {OTHER}]"}, r"table must be one row .*, which knows one train, got 2 rows"),
        ({"gate": "{soft_stop_s: 0}"}, r"gate\.ramp_s must be 0 .*, which cannot ramp, got 1\.0"),
        ({"gate": "{ramp_s: 0}"}, r"gate\.soft_stop_s must be 0 .*, which can only be cut off, got 0\.5"),
        ({"mode": "sham"}, r"mode must be 'real' .*, whose code always starts the whole train, got 'sham'"),
        ({"mode": "blinded"}, r"mode must be 'real' .*, whose code always starts the whole train, got 'blinded'"),
    ],
)
def test_what_a_trigger_box_cannot_do_is_named_with_its_line(
    tmp_path: Path, values: dict[str, Any], fault: str
) -> None:
    (found,) = faults_of(tmp_path, **(BOX | values))
    assert re.fullmatch(rf":4: stimulation\.{fault}", found)
    assert "for device.kind 'serial'" in found


def test_a_trigger_box_may_have_one_row_in_a_table_file_too(tmp_path: Path) -> None:
    (tmp_path / "two.yaml").write_text(f"states:\n  - {ROW}\n  - {OTHER}\n", "utf-8")
    values = {"electrode_area_cm2": 0.06, "route": "implanted", "table_file": str(tmp_path / "two.yaml"),
              "mode": "real", "device": {"kind": "serial"}, "gate": {"ramp_s": 0, "soft_stop_s": 0}}  # fmt: skip
    settings = StimulationSettings.model_validate(values)
    with pytest.raises(ConfigError, match=r"^stimulation\.table_file must be one row .* one train, got 2 rows$"):
        rows_of(settings)


def test_a_table_file_is_found_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(f"states:\n  - {ROW}\n", "utf-8")
    path = tmp_path / "s.yaml"
    path.write_text(HEAD + "stimulation: {electrode_area_cm2: 1, route: implanted, table_file: mine.yaml}\n", "utf-8")
    monkeypatch.chdir("/")
    settings = load_config(str(path)).stimulation
    assert settings is not None
    assert settings.table_file == str(tmp_path / "mine.yaml")


@pytest.mark.parametrize(
    ("shape", "area_cm2"),
    [
        (SHAPE, 0.0598473),  # 3.14159265 * 0.127 * 0.15
        ("{kind: disc, diameter_mm: 2.3}", 0.0415476),  # 3.14159265 * 0.115 * 0.115
        ("{kind: rectangle, length_mm: 70, width_mm: 50}", 35.0),
    ],
)
def test_an_area_must_be_that_of_its_shape_to_5_percent(tmp_path: Path, shape: str, area_cm2: float) -> None:
    for good in (0.951 * area_cm2, area_cm2, 1.049 * area_cm2):
        assert faults_of(tmp_path, electrode_area_cm2=good, electrode_shape=shape) == []
    for bad in (0.949 * area_cm2, 1.051 * area_cm2, 100 * area_cm2):
        (found,) = faults_of(tmp_path, electrode_area_cm2=bad, electrode_shape=shape)
        shown = f"{area_cm2:.4g} cm2 ({100 * area_cm2:.4g} mm2)"
        rule = f"electrode_area_cm2 must be that of electrode_shape, {shown}, to 5 %, got {bad!r}"
        assert found.endswith(f"stimulation.{rule}")


@pytest.mark.parametrize(
    ("shape", "fault"),
    [
        ("{kind: disc}", "diameter_mm must be given for a disc, got nothing"),
        ("{kind: disc, diameter_mm: 2, length_mm: 3}", "length_mm must be left out for a disc, got 3.0"),
        ("{kind: cylinder, diameter_mm: 2}", "length_mm must be given for a cylinder, got nothing"),
        ("{kind: rectangle, length_mm: 2}", "width_mm must be given for a rectangle, got nothing"),
    ],
)
def test_a_shape_has_its_own_sizes_and_no_others(tmp_path: Path, shape: str, fault: str) -> None:
    (found,) = faults_of(tmp_path, electrode_shape=shape)
    assert found.endswith(f"stimulation.electrode_shape.{fault}")


def test_a_device_is_no_code_of_somebodys_own_and_the_message_names_the_bridge() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config("stimulation", ["stimulation.device.kind=evil_device:Device"])
    assert caught.value.faults == (
        "--set stimulation.device.kind=evil_device:Device: stimulation.device.kind must be one of simulated, lsl, "
        "serial, tcp (a device of your own is reached through kind 'tcp' by a bridge in a process of its own, "
        "docs/devices.md), got 'evil_device:Device'",
    )
    assert "evil_device" not in sys.modules
