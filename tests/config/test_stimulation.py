"""Settings of stimulation: what must be given, what excludes what, where a fault stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from config.loading import ConfigFaults, load_config

HEAD = "name: s\nsource: {kind: simulator}\nclassifier: {bundle: demo}\n"
ROW = "{state: rest, frequency_hz: 20, amplitude_ma: 1, pulse_width_us: 100, duration_s: 10}"


def faults_of(tmp_path: Path, **values: Any) -> list[str]:
    given = {"electrode_area_cm2": 0.06, "route": "implanted", "table": f"[{ROW}]", **values}
    lines = "".join(f"  {key}: {value}\n" for key, value in given.items() if value is not None)
    path = tmp_path / "s.yaml"
    path.write_text(f"{HEAD}stimulation:\n{lines}", "utf-8")
    try:
        load_config(str(path))
    except ConfigFaults as error:
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
            {"gate": "{heartbeat_s: 0.3}"},
            "stimulation.gate.heartbeat_s must be at most half of gate.watchdog_s=0.5, got 0.3",
        ),
        ({"limits": "{max_shannon_k: 1.9}"}, "max_shannon_k must be less than or equal to 1.85, got 1.9"),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path: Path, values: dict[str, Any], fault: str) -> None:
    found = faults_of(tmp_path, **values)
    assert len(found) == 1
    assert fault in found[0]


def test_a_table_file_is_found_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(f"states:\n  - {ROW}\n", "utf-8")
    path = tmp_path / "s.yaml"
    path.write_text(HEAD + "stimulation: {electrode_area_cm2: 1, route: implanted, table_file: mine.yaml}\n", "utf-8")
    monkeypatch.chdir("/")
    settings = load_config(str(path)).stimulation
    assert settings is not None
    assert settings.table_file == str(tmp_path / "mine.yaml")
