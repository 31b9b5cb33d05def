"""A run's log proves itself: whatever is changed, left out, put in or decided otherwise is found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from neuroloop.config.errors import RecordingError
from neuroloop.sinks.run_folder.folder import CONFIG_FILE, EVENTS_FILE, SUMMARY_FILE, event_line
from neuroloop.sinks.stimulator.devices.simulator.device_record import DeviceRecord
from neuroloop.sinks.stimulator.gate.setup import GATE_VERSION
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, AuditLog, read_log
from neuroloop.sinks.stimulator.log.chain import Chain, read_chain
from neuroloop.sinks.stimulator.log.device_check import DEVICE_FILE
from neuroloop.sinks.stimulator.log.events import events_of
from neuroloop.sinks.stimulator.log.ledger import Ledger
from neuroloop.sinks.stimulator.log.summary import summary_of
from neuroloop.sinks.stimulator.log.verification import Verdict, verify_run
from neuroloop.stream.cli.main import main
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
def run(made: Path, tmp_path: Path) -> Path:
    """Return the folder of a run as its processes leave it; its ledger lies beside."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the run and its ledger once; nothing is to be changed there."""
    parent = tmp_path_factory.mktemp("made")
    folder = parent / "run"
    folder.mkdir()
    (folder / CONFIG_FILE).write_bytes(b"config")
    with writer() as done:
        log = AuditLog(folder / AUDIT_FILE, done.writer)
        ledger = Ledger(
            parent / "ledger" / "simulated",
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
            for output in outputs:
                if output.kind != "command":
                    continue
                number = {} if output.lease is None else {"lease": output.lease.number}
                if output.lease is not None:
                    ledger.reserve(output.lease.number, output.lease.charge_uc, audit=(log.seq, log.head))
                log.take_act(output.values["action"], one.number, one.t_ns, **number)
        ledger.close((log.seq, log.head))
        done.sync()
        ledger.release()
        log.close()
    events = in_order(events_of(output for outputs in RIG.outputs for output in outputs))
    (folder / EVENTS_FILE).write_text("".join(event_line(event) + "\n" for event in events), encoding="utf-8")
    device = DeviceRecord(folder / DEVICE_FILE)
    device.write_intervals(RIG.intervals)
    device.close()
    books = summary_of(read_log(folder / AUDIT_FILE))
    (folder / SUMMARY_FILE).write_text(json.dumps({"stimulation": books}), encoding="utf-8")
    return parent


def check(run: Path) -> Verdict:
    return verify_run(run, run.parent / "ledger")


def lines_of(run: Path) -> list[bytes]:
    return (run / AUDIT_FILE).read_bytes().splitlines(keepends=True)


def forge(run: Path, change: Callable[[Records], object]) -> None:
    """Change records and make a chain of them that holds; the summary is made to fit too, the ledger taken away."""
    records: Records = [link.record for link in read_chain(run / AUDIT_FILE).links]
    change(records)
    chain = Chain()
    (run / AUDIT_FILE).write_bytes(b"".join(chain.add(record) for record in records))
    log = read_log(run / AUDIT_FILE)
    books = {"log": {"records": len(log.records), "head": log.chain.head}}
    (run / SUMMARY_FILE).write_text(json.dumps({"stimulation": books}), encoding="utf-8")
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
    replayed = f"decisions not replayed: the log is of gate 1, this program has gate {GATE_VERSION}"
    assert [one for one in verdict.unproven if "ledger" not in one] == [replayed]
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


def test_without_its_ledger_nothing_is_proven(run: Path) -> None:
    verdict = verify_run(run, run.parent / "elsewhere")
    assert verdict.findings == ()
    assert not verdict.is_clean
    assert verdict.unproven[0].startswith("not proven: the ledger must be there, got none at ")


@pytest.mark.parametrize("keeps", [0, 1, 4])
def test_with_a_ledger_that_was_emptied_or_cut_nothing_is_proven(run: Path, keeps: int) -> None:
    path = run.parent / "ledger" / "simulated" / "unnamed.unnamed.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keeps]))
    verdict = check(run)
    assert verdict.findings == ()
    assert verdict.unproven[0].endswith(f"lines, as its marks say, got {keeps}")
    must = "must know the end of this run, got seq" if keeps == 4 else "must know this run, got none of its leases"
    assert must in verdict.unproven[1]


def test_a_ledger_with_another_past_than_the_run_began_with_is_found(run: Path) -> None:
    def other(records: Records) -> None:
        records[0]["values"]["ledger"] |= {"lines": 1, "head": "e" * 64, "folds": 0}

    ledger = run.parent / "ledger" / "simulated" / "unnamed.unnamed.jsonl"
    kept = ledger.read_bytes()
    forge(run, other)
    ledger.write_bytes(kept)
    assert any(one.startswith("ledger must be the one that the log began with") for one in check(run).findings)


def test_a_log_whose_end_nothing_holds_is_found(run: Path) -> None:
    (run / SUMMARY_FILE).unlink()
    verdict = verify_run(run, run.parent / "elsewhere")
    assert verdict.findings == ("summary.json must hold the head of the log where no ledger knows the run, got none",)


def acts(records: Records) -> Records:
    return [one for one in records if "act" in one]


def drop_all_acts(records: Records) -> None:
    records[:] = [one for one in records if "act" not in one]


def drop_one_act(records: Records) -> None:
    records.remove(next(one for one in acts(records) if one["act"] == "renew"))


def double_an_act(records: Records) -> None:
    one = next(one for one in acts(records) if one["act"] == "start")
    records.insert(records.index(one), dict(one))


def put_acts_off(records: Records) -> None:
    for one in acts(records):
        one["t_ns"] += 10**9


def put_acts_before(records: Records) -> None:
    for one in acts(records):
        one["t_ns"] -= 10**9


def act_behind_the_end(records: Records) -> None:
    records.append({**acts(records)[-1], "act": "start", "lease": 1})


def act_with_an_unknown_lease(records: Records) -> None:
    next(one for one in acts(records) if one["act"] == "renew")["lease"] = 99


def unblind_unasked(records: Records) -> None:
    records.insert(-3, {**acts(records)[-1], "act": "unblind"})


@pytest.mark.parametrize(
    "change",
    [
        drop_all_acts, drop_one_act, double_an_act, put_acts_off, put_acts_before, act_behind_the_end,
        act_with_an_unknown_lease, unblind_unasked,
    ],
)  # fmt: skip
def test_acts_that_are_not_what_the_gate_decided_are_found(run: Path, change: Callable[[Records], object]) -> None:
    forge(run, change)
    assert read_chain(run / AUDIT_FILE).fault is None
    findings = check(run).findings
    assert len(findings) == 1, findings
    assert "must" in findings[0]


def test_a_forged_command_is_found_however_it_is_spaced(run: Path) -> None:
    path = run / EVENTS_FILE
    whole = path.read_text()
    first = json.loads(whole.splitlines()[0])
    path.write_text(whole + json.dumps({**first, "type": "command", "action": "start"}) + "\n")
    assert any("got it with {" in finding for finding in check(run).findings)
    path.write_text(whole + "[]\n")
    n_lines = len(whole.splitlines()) + 1
    assert check(run).findings == (f"events.jsonl: line {n_lines} must be one JSON object, got b'[]'",)


def interval(run: Path, **values: Any) -> None:
    """Put one more time with the output on behind the device's record, like its last."""
    lines = (run / DEVICE_FILE).read_text().splitlines()
    last = json.loads(lines[-1])
    lease = {**last["lease"], **values.pop("lease", {})}
    shift = 10**9
    moved = {key: last[key] + shift for key in ("on_ns", "off_ns", "reached_ns")}
    one = {**last, **moved, "from_ma": 0.0, "to_ma": 0.0, **values, "lease": lease}
    (run / DEVICE_FILE).write_text("".join(line + "\n" for line in [*lines, json.dumps(one)]))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"is_granted": False}, "must be under a lease, got the output on without one"),
        ({"lease": {"number": 99}}, "must be under a lease of the log, got lease 99"),
        ({"off_ns": 10**15}, "must be on for at most the "),
        ({"on_ns": 5, "off_ns": 6, "reached_ns": 6}, "must not be on before its lease was decided upon"),
        ({"from_ma": 50.0}, "must begin at most where the output was, 0 mA, got 50"),
        ({"to_ma": 50.0}, "must have at most the 0 mA of its lease, got 50"),
        ({"lease": {"pulse_width_us": 900.0}}, "must have the pulse_width_us of its lease"),
        ({"lease": 5}, "got, for its device record, "),
    ],
)
def test_what_a_simulated_device_delivered_beyond_its_leases_is_found(
    run: Path, values: dict[str, Any], said: str
) -> None:
    if values.get("lease") == 5:
        (run / DEVICE_FILE).write_text('{"what":"interval","is_granted":true,"lease":5}\n')
    else:
        interval(run, **values)
    assert any(said in finding for finding in check(run).findings)


def test_a_simulated_device_without_a_record_is_not_proven(run: Path) -> None:
    (run / DEVICE_FILE).unlink()
    verdict = check(run)
    assert verdict.findings == ()
    assert "what the simulated device delivered is not proven" in verdict.unproven[0]


@pytest.mark.parametrize("name", [EVENTS_FILE, SUMMARY_FILE, DEVICE_FILE, CONFIG_FILE])
def test_a_pipe_in_place_of_a_file_is_refused_and_not_waited_for(run: Path, name: str) -> None:
    (run / name).unlink()
    os.mkfifo(run / name)
    verdict = check(run)
    assert not verdict.is_clean or (name == SUMMARY_FILE and "no head in summary.json" in verdict.notes)


def test_a_hash_that_was_noted_must_be_in_the_log(run: Path) -> None:
    heads = [link.hash for link in read_chain(run / AUDIT_FILE).links]
    assert verify_run(run, run.parent / "ledger", heads=[heads[7], heads[-1][:16].upper()]).is_clean
    findings = verify_run(run, run.parent / "ledger", heads=["d" * 64]).findings
    assert findings == (
        "stimulation.jsonl must have a record with the hash that was noted, dddddddddddddddd, got none",
    )
    with pytest.raises(RecordingError, match="head must be at least 16 characters of a hash, got 'abc'"):
        verify_run(run, heads=["abc"])


def put(*keys: Any, value: Any) -> Callable[[Records], object]:
    """Return what puts a value of another kind into a log."""

    def change(records: Records) -> None:
        place: Any = records[keys[0]]
        for key in keys[1:-1]:
            place = place[key]
        place[keys[-1]] = value

    return change


def first_lease(value: Any) -> Callable[[Records], object]:
    def change(records: Records) -> None:
        outputs(records, "start")[0]["lease"] = value

    return change


def first_event(value: Any) -> Callable[[Records], object]:
    def change(records: Records) -> None:
        outputs(records, "start")[0]["event"] = value

    return change


def deep(n: int) -> Any:
    value: Any = []
    for _ in range(n):
        value = [value]
    return value


@pytest.mark.parametrize(
    "change",
    [
        put(0, "values", "settings", value=[]), put(0, "values", "settings", value="text"),
        put(0, "values", "settings", "ledger", value=5), put(0, "values", "settings", "ledger", value="a\0b"),
        put(0, "values", "settings", "device", value=[]), put(0, "values", "settings", "subject", value="x" * 5000),
        put(0, "values", "ledger", value=[]), put(0, "values", "ledger", value={"day_charge_uc": "much"}),
        put(0, "values", "ledger", value={"day_charge_uc": 0.0, "given": [], "lines": "many"}),
        put(0, "values", "assignment_sha256", value=5), put(0, "values", "program", value=[]),
        put(0, "values", "gate", value=[]), put(0, "values", value={}), put(0, "values", "table", value=None),
        put(3, "values", value={}), put(3, "t_ns", value=10**40), put(0, "values", "hard", value=deep(300)),
        first_lease([]), first_lease("text"), first_lease({"number": "one"}), first_event([]), first_event("text"),
        first_event({"time": []}),
    ],
)  # fmt: skip
def test_records_of_other_kinds_are_findings_of_one_line(run: Path, change: Callable[[Records], object]) -> None:
    forge(run, change)
    verdict = verify_run(run, run.parent / "elsewhere")
    assert not verdict.is_clean
    assert all(line.isprintable() and len(line) <= 600 for line in (*verdict.findings, *verdict.unproven))


def test_json_that_is_too_deep_is_a_finding(run: Path) -> None:
    with (run / AUDIT_FILE).open("ab") as file:
        file.write(b"[" * 100_000 + b"]" * 100_000 + b"\n")
    assert "must be one JSON object" in check(run).findings[0]
    (run / EVENTS_FILE).write_bytes(b"[" * 100_000 + b"\n")
    assert any("events.jsonl: line 1 must be one JSON object" in finding for finding in check(run).findings)


@pytest.mark.parametrize("text", ["[]", '{"stimulation": 5}', '{"stimulation": {"log": []}}', "[" * 100_000, "{"])
def test_a_summary_of_another_kind_is_a_finding(run: Path, text: str) -> None:
    (run / SUMMARY_FILE).write_text(text)
    said = "summary.json must be an object with the books of stimulation, got something else"
    assert check(run).findings == (said,)


def test_books_that_are_not_those_of_the_log_are_found(run: Path) -> None:
    summary = json.loads((run / SUMMARY_FILE).read_text())
    summary["stimulation"]["doses"] = 0
    (run / SUMMARY_FILE).write_text(json.dumps(summary))
    assert check(run).findings == ("summary.json must have the books of the log, doses 1, got 0",)


@pytest.mark.parametrize("harm", ["emptied", "removed"])
def test_verify_ends_with_2_where_the_ledger_is_gone(run: Path, harm: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = run.parent / "ledger" / "simulated" / "unnamed.unnamed.jsonl"
    arguments = ["verify", str(run), "--ledger", str(path.parent.parent)]
    assert main(arguments) == 0
    path.write_text("")
    if harm == "removed":
        path.unlink()
    assert main(arguments) == 2
    assert "not proven: the ledger" in capsys.readouterr().err


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"run must be the folder of a run that stimulates, got .* without"):
        verify_run(tmp_path, tmp_path)
