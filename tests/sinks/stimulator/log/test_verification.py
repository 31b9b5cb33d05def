"""A run's log proves itself: whatever is changed, left out, put in or decided otherwise is found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.sinks.run_folder.folder import CONFIG_FILE, EVENTS_FILE, SUMMARY_FILE, event_line
from neuroloop.sinks.stimulator.gate.setup import GATE_VERSION
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, AuditLog, read_log
from neuroloop.sinks.stimulator.log.chain import Chain, read_chain
from neuroloop.sinks.stimulator.log.events import events_of
from neuroloop.sinks.stimulator.log.ledger import Ledger
from neuroloop.sinks.stimulator.log.summary import summary_of
from neuroloop.sinks.stimulator.log.verification import Verdict, verify_run
from neuroloop.stream.contracts.events import in_order
from tests.sinks.stimulator.rig import Rig, row, settings, setup_of
from tests.sinks.stimulator.writing import HandClock, writer

Records = list[dict[str, Any]]


def play() -> Rig:
    """Arm, give a dose, leave the state, stop."""
    one = settings((row("alpha", duration_s=4.0),), gate={"lockout_s": 0.0, "refractory_s": 0.5, "ramp_s": 0.4})
    setup = setup_of(one)
    config = hashlib.sha256(b"config").hexdigest()
    rig = Rig({**setup, "run": "run-1", "config_sha256": config})
    rig.hashes = {**rig.hashes, "config_sha256": config}
    rig.arm()
    rig.stay("alpha", 3.0)
    rig.stay("rest", 2.0)
    rig.operator("stop", authorised=False)
    rig.move(0.3)
    rig.put("end", {"reason": "over", "charge": {"session_uc": 5.0, "day_uc": 6.0}})
    return rig


RIG = play()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run as its processes leave it; its ledger lies beside."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / CONFIG_FILE).write_bytes(b"config")
    with writer() as done:
        log = AuditLog(folder / AUDIT_FILE, done.writer)
        ledger = Ledger(
            tmp_path / "ledger" / "simulated",
            "unnamed",
            "unnamed",
            run="run-1",
            writer=done.writer,
            clock=HandClock().clock(),
        )
        for one, outputs in zip(RIG.inputs, RIG.outputs, strict=True):
            log.take_input(one)
            for output in outputs:
                log.take_output(one, output)
                if output.lease is not None:
                    anchor = (log.seq, log.head)
                    ledger.reserve(output.lease.number, output.lease.charge_uc, audit=anchor)
                    log.take_act(output.values["action"], one.number, one.t_ns + 1, lease=output.lease.number)
        ledger.close((log.seq, log.head))
        done.sync()
        ledger.release()
        log.close()
    events = in_order(events_of(output for outputs in RIG.outputs for output in outputs))
    (folder / EVENTS_FILE).write_text("".join(event_line(event) + "\n" for event in events), encoding="utf-8")
    books = summary_of(read_log(folder / AUDIT_FILE))
    (folder / SUMMARY_FILE).write_text(json.dumps({"stimulation": books}), encoding="utf-8")
    return folder


def check(run: Path) -> Verdict:
    return verify_run(run, run.parent / "ledger")


def lines_of(run: Path) -> list[bytes]:
    return (run / AUDIT_FILE).read_bytes().splitlines(keepends=True)


def forge(run: Path, change: Callable[[Records], object]) -> None:
    """Change records and make a chain of them that holds; summary and ledger are made to fit too."""
    records: Records = [link.record for link in read_chain(run / AUDIT_FILE).links]
    change(records)
    chain = Chain()
    (run / AUDIT_FILE).write_bytes(b"".join(chain.add(record) for record in records))
    log = read_log(run / AUDIT_FILE)
    (run / SUMMARY_FILE).write_text(json.dumps({"stimulation": summary_of(log)}), encoding="utf-8")
    (run.parent / "ledger" / "simulated" / "unnamed.unnamed.jsonl").unlink()


def test_a_run_as_it_was_is_proven_in_one_line(run: Path) -> None:
    verdict = check(run)
    assert verdict.findings == ()
    assert verdict.notes == ()
    n = len(lines_of(run))
    line = verdict.line()
    assert line.startswith(f"stimulation.jsonl: {n} records, {len(RIG.inputs)} inputs, ")
    assert line.endswith(f"head {read_chain(run / AUDIT_FILE).head}")
    actions = [one.values["action"] for one in RIG.all("command")]
    assert {"arm", "start", "renew", "stop", "disarm", "status"} <= set(actions)


def test_a_log_of_another_version_of_the_gate_is_checked_but_not_proven(run: Path) -> None:
    def older(records: Records) -> None:
        del records[0]["values"]["gate"]
        for record in records:
            if isinstance(record.get("lease"), dict):
                record["lease"]["start_ma"] = record["lease"].pop("slew_ma_s")

    forge(run, older)
    verdict = check(run)
    assert verdict.unproven == (f"decisions not replayed: the log is of gate 1, this program has gate {GATE_VERSION}",)
    assert verdict.findings == ()
    assert not verdict.is_clean


def test_the_books_say_what_was_given(run: Path) -> None:
    books = summary_of(read_log(run / AUDIT_FILE))
    assert books["doses"] == 1
    assert books["doses_full"] == 0
    assert 2.0 < books["on_s"] < 4.5
    assert books["session_charge_mc"] == 0.005
    assert books["day_charge_mc"] == 0.006
    assert books["log"]["ended"] is True


@pytest.mark.parametrize("place", [0, 17, 0.3, 0.62, -2])
def test_a_changed_byte_is_found(run: Path, place: float) -> None:
    data = bytearray((run / AUDIT_FILE).read_bytes())
    at = round(place * len(data)) if isinstance(place, float) else place
    data[at] ^= 1
    (run / AUDIT_FILE).write_bytes(data)
    assert any(AUDIT_FILE in finding for finding in check(run).findings)


def test_records_out_of_order_missing_and_doubled_are_found(run: Path) -> None:
    whole = lines_of(run)
    for changed in (
        [*whole[:5], whole[6], whole[5], *whole[7:]],
        [*whole[:5], *whole[6:]],
        [*whole[:5], whole[4], *whole[5:]],
    ):
        (run / AUDIT_FILE).write_bytes(b"".join(changed))
        assert check(run).findings[0].startswith("stimulation.jsonl: line 6 must have seq 5, got ")


def test_a_cut_tail_is_found_by_its_end_the_ledger_and_the_summary(run: Path) -> None:
    (run / AUDIT_FILE).write_bytes(b"".join(lines_of(run)[:20]))
    verdict = check(run)
    assert verdict.open_end == (
        "stimulation.jsonl must end with its end record, got seq 19 as the last whole one: cut off, or killed"
    )
    assert verdict.findings[0] == verdict.open_end
    assert any("as the ledger says, got 20 records: cut off" in finding for finding in verdict.findings)
    assert any("as summary.json says, got 20" in finding for finding in verdict.findings)
    assert not verdict.is_whole_but_for_its_end


def test_a_torn_line_is_said(run: Path) -> None:
    data = (run / AUDIT_FILE).read_bytes()
    (run / AUDIT_FILE).write_bytes(data[:-10])
    torn = len(lines_of(run)[-1])
    open_end = check(run).open_end
    assert open_end is not None
    assert f"and {torn} bytes of a torn one" in open_end


def test_a_cut_that_is_closed_again_is_found_by_the_ledger(run: Path) -> None:
    ledger = run.parent / "ledger" / "simulated" / "unnamed.unnamed.jsonl"
    kept = ledger.read_bytes()

    def cut(records: Records) -> None:
        end = records[-1]
        del records[records.index(outputs(records, "renew")[0]) :]
        last = max(one["in"] for one in records if "in" in one)
        records.append({**end, "in": last + 1, "t_ns": 10**18})

    forge(run, cut)
    ledger.write_bytes(kept)
    assert any("ledger" in finding for finding in check(run).findings)


def inputs(records: Records, kind: str) -> Records:
    return [one for one in records if "in" in one and one["kind"] == kind]


def outputs(records: Records, action: str) -> Records:
    return [one for one in records if one.get("kind") == "command" and one["values"]["action"] == action]


def raise_amplitude(records: Records) -> None:
    outputs(records, "start")[0]["lease"]["train"]["amplitude_ma"] += 1.0


def hide_refusal(records: Records) -> None:
    records.remove(next(one for one in records if one.get("kind") == "refusal" or one.get("kind") == "note"))


def authorise(records: Records) -> None:
    inputs(records, "operator")[0]["values"]["authorised"] = False


def loosen(records: Records) -> None:
    records[0]["values"]["hard"]["profiles"]["custom"]["implanted"]["max_amplitude_ma"] = 0.5


def drop_stop(records: Records) -> None:
    records.remove(outputs(records, "stop")[-1])


def older(records: Records) -> None:
    inputs(records, "pulse")[3]["t_ns"] -= 10**12


@pytest.mark.parametrize("change", [raise_amplitude, hide_refusal, authorise, loosen, drop_stop, older])
def test_a_forged_log_whose_chain_holds_is_found_by_the_gate(run: Path, change: Callable[[Records], object]) -> None:
    forge(run, change)
    assert read_chain(run / AUDIT_FILE).fault is None
    verdict = check(run)
    assert any(AUDIT_FILE in finding for finding in verdict.findings), verdict.findings


def test_events_that_differ_from_the_log_are_found(run: Path) -> None:
    path = run / EVENTS_FILE
    whole = path.read_text().splitlines(keepends=True)
    path.write_text("".join(whole[1:]))
    assert check(run).findings[0].startswith("events.jsonl must have the log's commands and refusals, got it without")
    path.write_text("".join(whole) + whole[0].replace('"action":"arm"', '"action":"stop"'))
    assert any("got it with {" in finding for finding in check(run).findings)
    path.write_text("".join(whole) + "{")
    assert check(run).findings == ()  # a line that is none of ours is not this check's matter


def test_a_changed_configuration_is_found(run: Path) -> None:
    (run / CONFIG_FILE).write_bytes(b"another")
    assert check(run).findings[0].startswith("config.yaml must be the one of the log, ")


def test_a_missing_ledger_is_said(run: Path) -> None:
    verdict = verify_run(run, run.parent / "elsewhere")
    assert verdict.is_clean
    assert verdict.notes[0].startswith("no ledger at ")


def test_a_log_whose_end_nothing_holds_is_found(run: Path) -> None:
    (run / SUMMARY_FILE).unlink()
    verdict = verify_run(run, run.parent / "elsewhere")
    assert verdict.findings == ("summary.json must hold the head of the log where no ledger knows the run, got none",)


def test_a_ledger_that_does_not_know_the_run_is_said(run: Path) -> None:
    for path in (run.parent / "ledger" / "simulated").glob("*.jsonl"):
        path.write_text("")
    verdict = check(run)
    assert verdict.is_clean
    assert "does not know this run" in verdict.notes[0]


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"run must be the folder of a run that stimulates, got .* without"):
        verify_run(tmp_path, tmp_path)
