"""What a run that is started again knows: a gate, a ledger on the disk, and clocks moved by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from neuroloop.config.stimulation import RecommendationSettings
from neuroloop.sinks.stimulator.log.chain import Chain
from neuroloop.sinks.stimulator.log.ledger import Ledger, ledger_path
from tests.sinks.stimulator.rig import Rig, row, settings, setup_of
from tests.sinks.stimulator.writing import HandClock, writer

QUICK = {"hold_off_s": 0.5, "dwell_s": 0.0, "refractory_s": 1.0, "blanking_s": 0.0, "ramp_s": 0.5, "lockout_s": 0.0}
ALPHA, BETA = row("alpha"), row("beta")
_AUDIT = (0, "a" * 64)


class Electrode:
    """One electrode over several runs; their ledger lies on the disk, their time passes on one clock."""

    def __init__(self, folder: Path, *rows: RecommendationSettings, **values: Any) -> None:
        self.folder = folder
        self.hand = HandClock()
        values["gate"] = {**QUICK, **values.get("gate", {})}
        self.settings = settings(rows or (ALPHA,), **values)
        self.n_runs = 0
        self.notes: list[str] = []

    @contextmanager
    def run(self, *, is_killed: bool = False) -> Iterator[Rig]:
        """Start a run on what the ledger says, arm it, and keep what it gave in the ledger, as its process does."""
        self.n_runs += 1
        with writer() as done:
            ledger = Ledger(
                self.folder, "s", "e", run=f"run-{self.n_runs}", writer=done.writer, clock=self.hand.clock()
            )
            rig = Rig(setup_of(self.settings, ledger=ledger.history()))
            self.notes = list(ledger.notes)
            rig.arm()
            begun_ns, before_h = rig.now_ns, self.hand.wall_h
            try:
                yield rig
            finally:
                successors = {one.state: one.successors for one in self.settings.table or ()}
                for entry, found in zip(rig.inputs, rig.outputs, strict=True):
                    passed_h = max(0, entry.t_ns - begun_ns) / 3600e9
                    self.hand.pass_h(before_h + passed_h - self.hand.wall_h)
                    for one in found:
                        if one.values.get("action") == "start":
                            ledger.note_start(one.values["state"], successors[one.values["state"]])
                        if one.lease is not None:
                            ledger.reserve(one.lease.number, one.lease.charge_uc, audit=_AUDIT)
                        if one.kind == "note" and one.values["what"] == "dose":
                            ledger.note_end(*(one.values[name] for name in ("on_s", "charge_uc")))
                            if one.values["lockout_s"] > 0:
                                ledger.note_lockout(one.values["lockout_s"])
                if not is_killed:
                    ledger.close(_AUDIT)
                done.sync()
                ledger.release()


def give(rig: Rig, seconds: float, label: str = "alpha") -> None:
    """Let a state last so long, then leave it."""
    rig.stay(label, seconds)
    rig.stay("rest", 2.0)


def last_rules(rig: Rig) -> list[str]:
    return rig.refused()[-1] if rig.refused() else []


def test_the_pause_after_a_dose_holds_over_a_restart(tmp_path: Path) -> None:
    electrode = Electrode(tmp_path, gate={"refractory_s": 30.0})
    with electrode.run() as rig:
        give(rig, 4.0)
    electrode.hand.pass_h(5.0 / 3600)
    with electrode.run() as rig:
        rig.stay("alpha", 3.0)
        assert "start" not in rig.actions()
        assert last_rules(rig) == ["refractory_left_s"]
        rig.stay("alpha", 30.0)
        assert "start" in rig.actions()


def test_the_time_off_that_a_profile_asks_for_holds_over_a_restart(tmp_path: Path) -> None:
    electrode = Electrode(
        tmp_path, row("alpha", frequency_hz=20.0, amplitude_ma=0.5), profile="vns", gate={"ramp_s": 2.0}
    )
    with electrode.run() as rig:
        give(rig, 40.0)
    electrode.hand.pass_h(5.0 / 3600)
    with electrode.run() as rig:
        rig.stay("alpha", 10.0)
        assert "start" not in rig.actions()
        assert last_rules(rig) == ["off_left_s"]


def test_the_time_of_a_session_is_that_of_a_day_whatever_restarts(tmp_path: Path) -> None:
    electrode = Electrode(tmp_path, row("alpha", duration_s=8.0), limits={"max_session_s": 20.0})
    for _ in range(2):
        with electrode.run() as rig:
            give(rig, 7.0)
            assert rig.actions().count("start") == 1
        electrode.hand.pass_h(0.1)
    with electrode.run() as rig:
        give(rig, 10.0)
        dose = next(one.values for one in rig.all("note") if one.values["what"] == "dose")
        assert dose["on_s"] < 20.0 - 2 * 6.0
        give(rig, 10.0)
    electrode.hand.pass_h(0.1)
    with electrode.run() as rig:
        give(rig, 10.0)
        assert last_rules(rig) == ["session_s"]
    electrode.hand.pass_h(24.0)
    with electrode.run() as rig:
        give(rig, 10.0)
        assert "start" in rig.actions()


def test_the_charge_of_a_session_is_that_of_a_day_whatever_restarts(tmp_path: Path) -> None:
    electrode = Electrode(tmp_path, row("alpha", duration_s=8.0), limits={"max_session_charge_mc": 0.3})
    delivered_uc = 0.0
    for _ in range(4):
        with electrode.run() as rig:
            give(rig, 12.0)
            delivered_uc += rig.model.total_uc
        electrode.hand.pass_h(1.0)
    assert 150.0 < delivered_uc <= 300.0
    assert last_rules(rig) == ["session_charge_mc"]


def test_pieces_of_a_dose_lock_out_as_one_does(tmp_path: Path) -> None:
    lockout = {"lockout_s": 86_400.0}
    electrode = Electrode(tmp_path, row("alpha", duration_s=20.0), row("beta", duration_s=20.0), gate=lockout)
    with electrode.run() as rig:
        for _ in range(12):
            rig.stay("alpha", 19.0)
            rig.stay("beta", 1.0)
        on_s = sum(one.values["on_s"] for one in rig.all("note") if one.values["what"] == "dose")
        assert on_s <= 20.0
        assert "lockout_left_s" in last_rules(rig)
    electrode.hand.pass_h(20.0)
    with electrode.run() as rig:
        rig.stay("beta", 4.0)
        assert "lockout_left_s" in last_rules(rig)


def test_pieces_of_a_dose_lock_out_over_restarts(tmp_path: Path) -> None:
    electrode = Electrode(tmp_path, row("alpha", duration_s=20.0), gate={"lockout_s": 86_400.0})
    on_s = 0.0
    for _ in range(12):
        with electrode.run() as rig:
            give(rig, 9.0)
            on_s += sum(one.values["on_s"] for one in rig.all("note") if one.values["what"] == "dose")
        electrode.hand.pass_h(0.2)
    assert 16.0 < on_s <= 20.0


def test_a_killed_run_counts_as_long_as_it_had_leases(tmp_path: Path) -> None:
    electrode = Electrode(tmp_path, row("alpha", duration_s=20.0), gate={"lockout_s": 86_400.0})
    with electrode.run(is_killed=True) as rig:
        rig.stay("alpha", 14.0)
        assert "stop" not in rig.actions()
    electrode.hand.pass_h(0.1)
    with electrode.run() as rig:
        assert "ledger: 1 doses have no end and count as long as they had leases, and one more" in electrode.notes
        rig.stay("alpha", 9.0)
        assert last_rules(rig) == ["lockout_left_s"]


@pytest.mark.parametrize("successors", [("gamma",), ()])
def test_what_may_follow_a_row_holds_though_the_table_has_lost_it(tmp_path: Path, successors: tuple[str, ...]) -> None:
    old = (row("alpha", successors=successors), BETA, row("gamma"))
    electrode = Electrode(tmp_path, *old)
    with electrode.run() as rig:
        give(rig, 4.0)
    electrode.settings = settings((BETA, row("gamma")), gate=QUICK)
    with electrode.run() as rig:
        give(rig, 4.0, "beta")
        assert last_rules(rig) == ["successor"]
        give(rig, 4.0, "gamma")
        assert ("start" in rig.actions()) == bool(successors)


def test_a_clock_set_forward_shortens_nothing_in_one_boot_and_is_said_in_the_next(tmp_path: Path) -> None:
    electrode = Electrode(tmp_path, row("alpha", duration_s=8.0), gate={"lockout_s": 3600.0})
    with electrode.run() as rig:
        give(rig, 10.0)
    electrode.hand.wall_h += 25.0
    with electrode.run() as rig:
        give(rig, 4.0)
        assert last_rules(rig) == ["lockout_left_s"]
    assert any("the wall clock says" in note and "which counts" in note for note in electrode.notes)
    electrode.hand.boot, electrode.hand.boot_h = "second", 0.1
    with electrode.run() as rig:
        assert any("is by the wall clock alone" in note for note in electrode.notes)
        assert any("wall clock alone" in note for note in rig.setup["ledger"]["notes"])


def test_a_ledger_of_the_first_format_is_read_with_its_doses(tmp_path: Path) -> None:
    electrode = Electrode(tmp_path, gate={"refractory_s": 7200.0})
    chain, lines = Chain(), []

    def add(kind: str, at_s: float, **values: Any) -> None:
        stamp = {"wall_ns": round(electrode.hand.wall_h * 3600e9 + at_s * 1e9), "boot": "first",
                 "boot_ns": round(electrode.hand.boot_h * 3600e9 + at_s * 1e9)}  # fmt: skip
        lines.append(chain.add({"kind": kind, "run": "old", **values, **stamp}))

    add("open", 0.0)
    add("start", 1.0, state="gone")
    for number in range(1, 41):
        add("reserve", 1.0 + number / 4, lease=number, uc=1.0, audit_seq=number, audit_hash="b" * 64)
        add("settle", 1.2 + number / 4, lease=number, uc=0.5)
    add("close", 20.0, audit_seq=99, audit_hash="c" * 64)
    ledger_path(tmp_path, "s", "e").write_bytes(b"".join(lines))
    electrode.hand.pass_h(1.0)
    with electrode.run() as rig:
        earlier = rig.setup["ledger"]
        assert earlier["day_charge_uc"] == 20.0
        assert 10.0 <= earlier["session_s"] <= 15.0
        give(rig, 4.0)
        assert last_rules(rig) == ["successor", "refractory_left_s"]
