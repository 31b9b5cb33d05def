"""``neuroloop check`` and stimulation: a refused row is a statement, a loose limit is a fault."""

import hashlib
import json
from pathlib import Path

from neuroloop.sinks.stimulator.envelope.profiles import HARD_LIMITS_FILE
from tests.stream.cli.conftest import Command

CONFIG = """name: s
source: {kind: simulator}
classifier: {bundle: demo}
stimulation:
  electrode_area_cm2: 0.06
  route: implanted
  table_file: adaptive_stimulation
"""


def test_the_table_is_judged_and_a_refused_row_is_no_fault(neuroloop: Command, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(CONFIG, "utf-8")
    done = neuroloop("check", path)
    assert done.status == 0, done.err
    assert "refused: charge_density_uc_cm2 must be at most 30, got 41.67" in done.out
    assert "refused: shannon_k must be at most 1.5, got 2.018" in done.out
    assert "never asked for: no class of the classifier has this name" in done.out
    found = json.loads(neuroloop("check", path, "--json").out)
    assert found["ok"] is True
    assert [one["verdict"] for one in found["stimulation"]["rows"]] == ["allowed", "allowed", "refused"]
    numbers = found["stimulation"]["rows"][2]["numbers"]
    assert (numbers["charge_per_phase_uc"], numbers["pulses"], numbers["full_charge_mc"]) == (2.5, 360000, 900.0)


def test_it_is_said_where_no_decision_can_end_a_dose(neuroloop: Command, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(CONFIG + "  gate: {pulse_blanking_s: 0.005, look_every_s: 20}\n", "utf-8")
    done = neuroloop("check", path)
    assert done.status == 0, done.err
    assert "warning: given in parts: off for a look after 20 s of output, at most 5 times, 100 of 1800 s" in done.out
    assert "no decision during its dose can be free of its pulses (window 0.928 s)" in done.out


def test_every_loose_limit_is_a_fault_with_its_line(neuroloop: Command, tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(CONFIG + "  limits:\n    max_shannon_k: 1.8\n    max_charge_density_uc_cm2: 31\n", "utf-8")
    done = neuroloop("check", path)
    assert done.status == 1
    assert sorted(done.err.strip().splitlines()) == [
        f"neuroloop check: {path}:{line}: stimulation.limits.{text}"
        for line, text in (
            (10, "max_charge_density_uc_cm2 must be at most 30, got 31.0"),
            (9, "max_shannon_k must be at most 1.75, got 1.8"),
        )
    ]


def test_without_stimulation_nothing_is_said_of_it(neuroloop: Command) -> None:
    assert json.loads(neuroloop("check", "demo", "--json").out)["stimulation"] is None


def test_the_hash_to_pin_is_said_for_a_file_of_ones_own(neuroloop: Command, tmp_path: Path) -> None:
    own, path = tmp_path / "own.yaml", tmp_path / "s.yaml"
    own.write_bytes(HARD_LIMITS_FILE.read_bytes() + b"# ours\n")
    sha256 = hashlib.sha256(own.read_bytes()).hexdigest()
    path.write_text(CONFIG + "  hard_limits_file: own.yaml\n", "utf-8")
    (line,) = neuroloop("check", path).err.strip().splitlines()
    assert f"stimulation.hard_limits_sha256 must be that of own.yaml, {sha256}, " in line
    path.write_text(CONFIG + f"  hard_limits_file: own.yaml\n  hard_limits_sha256: {sha256}\n", "utf-8")
    assert f"hard limits own.yaml, hard_limits_sha256: {sha256}" in neuroloop("check", path).out
