"""The charge ledger: never too little, whatever dies and whatever the clocks do."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroloop.sinks.stimulator.log.chain import Chain
from neuroloop.sinks.stimulator.log.ledger import Ledger, LedgerError, ledger_path, marks_path, read_ledger
from tests.sinks.stimulator.writing import Done, HandClock, writer

AUDIT = (3, "f" * 64)


def open_ledger(folder: Path, done: Done, hand: HandClock, run: str = "run", **options: int) -> Ledger:
    return Ledger(folder, "s01", "c3", run=run, writer=done.writer, clock=hand.clock(), **options)


def close(ledger: Ledger, done: Done) -> None:
    ledger.close(AUDIT)
    done.sync()
    ledger.release()


def test_settled_charge_replaces_what_was_reserved(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(tmp_path, done, hand)
        ledger.armed(0.0)
        ledger.reserve(1, 10.0, audit=AUDIT)
        assert ledger.day_uc() == ledger.session_uc == 10.0
        ledger.reserve(2, 10.0, audit=AUDIT)
        assert ledger.day_uc() == 20.0
        ledger.settle(1, 4.0, bound_uc=0.0)
        assert ledger.day_uc() == ledger.session_uc == 14.0
        ledger.settle(2, 9.0, bound_uc=0.0)
        assert ledger.day_uc() == ledger.session_uc == 9.0
        ledger.settle(2, 9.5, bound_uc=0.0)  # a device that is stuck on delivers without a lease
        assert ledger.day_uc() == 9.5
        close(ledger, done)
        again = open_ledger(tmp_path, done, hand, "next")
        assert again.day_uc() == 9.5
        assert again.session_uc == 0.0
        assert again.notes == []
        again.release()


def test_a_device_that_names_too_little_counts_with_what_it_can_have_delivered(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(tmp_path, done, hand)
        ledger.armed(0.0)
        for lease in (1, 2, 3):
            ledger.reserve(lease, 10.0, audit=AUDIT)
            ledger.settle(lease, 0.0, bound_uc=8.0 * lease)
        assert ledger.day_uc() == ledger.session_uc == 24.0
        ledger.settle(3, 30.0, bound_uc=24.0)
        assert ledger.day_uc() == ledger.session_uc == 30.0
        close(ledger, done)
        again = open_ledger(tmp_path, done, hand, "next")
        assert again.day_uc() == 30.0
        again.release()


@pytest.mark.parametrize("said", [float("nan"), -1.0, 0.5])
def test_a_charge_that_is_none_or_falls_settles_nothing(tmp_path: Path, said: float) -> None:
    with writer() as done:
        ledger = open_ledger(tmp_path, done, HandClock())
        ledger.armed(1.0)
        ledger.reserve(1, 10.0, audit=AUDIT)
        ledger.settle(1, said, bound_uc=0.0)
        assert ledger.day_uc() == 10.0
        ledger.release()


def test_an_unsettled_lease_of_a_dead_run_counts_in_full_and_is_said(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(tmp_path, done, hand)
        ledger.reserve(1, 10.0, audit=AUDIT)
        ledger.reserve(2, 7.0, audit=AUDIT)
        done.sync()
        ledger.release()  # as the system does for a killed process
        again = open_ledger(tmp_path, done, hand, "next")
        assert again.day_uc() == 17.0
        assert again.notes == ["ledger: 2 leases were never settled and count as delivered in full"]
        again.armed(0.0)
        again.reserve(1, 1.0, audit=AUDIT)
        again.settle(1, 0.5, bound_uc=0.0)  # settles its own lease 1, not the dead run's
        assert again.day_uc() == 17.5
        again.release()


def test_charge_leaves_the_window_after_a_day_and_stays_in_the_sum(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(tmp_path, done, hand)
        ledger.reserve(1, 10.0, audit=AUDIT)
        ledger.settle(1, 10.0, bound_uc=0.0)
        hand.pass_h(23.9)
        assert ledger.day_uc() == 10.0
        hand.pass_h(0.2)
        assert ledger.day_uc() == 0.0
        close(ledger, done)
        assert read_ledger(ledger.path)[0].all_uc() == 10.0


def test_a_wall_clock_set_forward_ages_nothing_while_the_machine_runs(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(tmp_path, done, hand)
        ledger.reserve(1, 10.0, audit=AUDIT)
        hand.wall_h += 48.0
        hand.boot_h += 1.0
        assert ledger.day_uc() == 10.0
        ledger.release()


def test_a_wall_clock_set_back_counts_more_and_is_said(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(tmp_path, done, hand)
        ledger.reserve(1, 10.0, audit=AUDIT)
        close(ledger, done)
        hand.pass_h(30.0)
        hand.wall_h -= 40.0
        hand.boot, hand.boot_h = "second", 0.0
        again = open_ledger(tmp_path, done, hand, "next")
        assert again.day_uc() == 10.0
        assert again.notes[-1].startswith("ledger: the wall clock is 36000.0 s behind the newest entry")
        again.reserve(1, 5.0, audit=AUDIT)
        hand.wall_h += 10.0 + 23.0  # right again, 23 h after the second lease by its stamp
        hand.boot_h += 23.0
        assert again.day_uc() == 15.0
        again.release()


def test_two_runs_cannot_have_it_open(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        first = open_ledger(tmp_path, done, hand)
        with pytest.raises(LedgerError, match=r"ledger must be free, got .*s01.c3.jsonl', which another run has open"):
            open_ledger(tmp_path, done, hand, "next")
        first.release()
        open_ledger(tmp_path, done, hand, "next").release()


def test_electrodes_and_subjects_have_ledgers_of_their_own(tmp_path: Path) -> None:
    names = {ledger_path(tmp_path, subject, electrode) for subject in ("a", "b") for electrode in ("a", "b")}
    assert len(names) == 4


def test_the_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    with writer() as done:
        ledger = open_ledger(tmp_path / "state" / "ledger", done, HandClock())
        assert ledger.path.parent.stat().st_mode & 0o777 == 0o700
        done.sync()
        assert ledger.path.stat().st_mode & 0o777 == 0o600
        ledger.release()


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with writer() as done, pytest.raises(LedgerError, match="ledger must be in a writable folder"):
        open_ledger(tmp_path / "file" / "ledger", done, HandClock())


def test_a_broken_ledger_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(tmp_path, done, hand)
        ledger.reserve(1, 10.0, audit=AUDIT)
        close(ledger, done)
        broken = ledger.path.read_bytes().replace(b'"uc":10.0', b'"uc":1.0')
        ledger.path.write_bytes(broken)
        with pytest.raises(LedgerError, match=r"ledger must hold from its first line on, got .*: line 3"):
            open_ledger(tmp_path, done, hand, "next")
        assert ledger.path.read_bytes() == broken


def test_the_anchors_of_a_run_are_kept(tmp_path: Path) -> None:
    with writer() as done:
        ledger = open_ledger(tmp_path, done, HandClock())
        ledger.reserve(1, 10.0, audit=(5, "a" * 64))
        ledger.close((9, "b" * 64))
        done.sync()
        ledger.release()
        assert read_ledger(ledger.path)[0].anchors == {"run": [(5, "a" * 64), (9, "b" * 64)]}


def test_a_long_ledger_is_folded_without_losing_charge_or_anchors(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        first = open_ledger(tmp_path, done, hand)
        for lease in range(1, 40):
            first.reserve(lease, 2.0, audit=AUDIT)
            first.settle(lease, float(lease), bound_uc=0.0)
        first.reserve(40, 7.0, audit=AUDIT)
        close(first, done)
        hand.pass_h(12.0)
        second = open_ledger(tmp_path, done, hand, "second")
        second.reserve(1, 3.0, audit=AUDIT)
        second.settle(1, 3.0, bound_uc=0.0)
        close(second, done)
        hand.pass_h(13.0)
        size = second.path.stat().st_size
        third = open_ledger(tmp_path, done, hand, "third", fold_bytes=1000)
        assert third.day_uc() == 3.0  # the open lease of the first run is as old as its run
        close(third, done)
        assert third.path.stat().st_size < size / 4
        books, chain = read_ledger(third.path)
        assert chain.fault is None
        assert books.all_uc() == 39.0 + 7.0 + 3.0
        assert set(books.anchors) == {"run", "second", "third"}
        assert books.anchors["run"] == [AUDIT]


def test_a_rewritten_ledger_keeps_doses_lockout_and_what_dead_runs_were_granted(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        first = open_ledger(tmp_path, done, hand)
        for lease in range(1, 40):
            first.note_start("alpha", ["beta"])
            first.reserve(lease, 2.0, audit=AUDIT)
            hand.pass_h(0.01)
            first.note_end(36.0, 1.5)
        first.note_lockout(7200.0)
        first.note_start("beta")
        first.reserve(40, 2.0, audit=AUDIT)
        done.sync()
        first.release()
        hand.pass_h(1.0)
        second = open_ledger(tmp_path, done, hand, "second")
        before = second.history()
        close(second, done)
        third = open_ledger(tmp_path, done, hand, "third", fold_bytes=1000)
        close(third, done)
        fourth = open_ledger(tmp_path, done, hand, "fourth")
        after = fourth.history()
        fourth.release()
    assert before["session_s"] == pytest.approx(39 * 36.0 + 4.0)
    assert before["given"] == {"beta": {"on_s": pytest.approx(4.0), "charge_uc": 2.0}}
    assert before["lockout_left_s"] == pytest.approx(3600.0)
    assert before["session_charge_uc"] == before["day_charge_uc"]
    for state in (before, after):
        for key in ("lines", "head", "folds", "notes"):
            del state[key]
    assert after == {key: pytest.approx(value) if isinstance(value, float) else value for key, value in before.items()}


@pytest.mark.parametrize("harm", ["removed", "emptied", "cut", "another"])
def test_a_ledger_that_has_vanished_or_lost_lines_is_refused(tmp_path: Path, harm: str) -> None:
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(tmp_path, done, hand)
        ledger.reserve(1, 10.0, audit=AUDIT)
        close(ledger, done)
        lines = ledger.path.read_bytes().splitlines(keepends=True)
        if harm == "removed":
            ledger.path.unlink()
        elif harm == "another":
            chain = Chain()
            stamp = {"wall_ns": 1, "boot": "first", "boot_ns": 1}
            ledger.path.write_bytes(b"".join(chain.add({"kind": "open", "run": "x", **stamp}) for _ in lines))
        else:
            ledger.path.write_bytes(b"" if harm == "emptied" else b"".join(lines[:-1]))
        with pytest.raises(LedgerError, match=r"ledger must have .* as its marks say, .*: put it back; who removes"):
            open_ledger(tmp_path, done, hand, "next")
        marks_path(ledger.path).unlink()
        open_ledger(tmp_path, done, hand, "next").release()


def test_a_new_ledger_says_that_nothing_is_known(tmp_path: Path) -> None:
    with writer() as done:
        ledger = open_ledger(tmp_path, done, HandClock())
        assert ledger.history()["notes"] == ["ledger: it is new, nothing is known of earlier doses"]
        ledger.release()


def test_marks_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    marks_path(ledger_path(tmp_path, "s01", "c3")).write_text("[]\n")
    with writer() as done, pytest.raises(LedgerError, match="ledger marks must be a readable file of this program"):
        open_ledger(tmp_path, done, HandClock())


def test_a_ledger_of_a_later_format_is_refused(tmp_path: Path) -> None:
    stamp = {"wall_ns": 1, "boot": "first", "boot_ns": 1}
    line = Chain().add({"kind": "open", "run": "x", "format": 3, **stamp})
    ledger_path(tmp_path, "s01", "c3").write_bytes(line)
    with (
        writer() as done,
        pytest.raises(LedgerError, match=r"entries of its own kinds.*format must be at most 2, got 3"),
    ):
        open_ledger(tmp_path, done, HandClock())


def test_leases_of_a_device_that_answers_nothing_are_final_and_add_up_by_the_minute(tmp_path: Path) -> None:
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(tmp_path, done, hand)
        ledger.never_settles()
        for lease in range(1, 2001):
            ledger.reserve(lease, 0.5, audit=AUDIT)
            hand.pass_h(0.25 / 3600)
        assert ledger.day_uc() == ledger.session_uc == 1000.0
        close(ledger, done)
        entries, _ = read_ledger(ledger.path)
        assert not entries.open
        assert len(entries.charges) <= 10
        again = open_ledger(tmp_path, done, hand, "next")
        assert again.day_uc() == 1000.0
        assert again.notes == []
        again.release()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_a_run_killed_at_any_byte_never_counts_less_than_was_delivered(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("killed")
    hand = HandClock()
    with writer() as done:
        ledger = open_ledger(folder, done, hand)
        done.sync()
        opened = ledger.path.stat().st_size
        truth: list[tuple[int, float]] = [(0, 0.0)]
        delivered = 0.0
        for lease in range(1, data.draw(st.integers(1, 6), label="leases") + 1):
            ledger.reserve(lease, 8.0, audit=AUDIT)
            done.sync()  # only now may it leave
            delivered += data.draw(st.sampled_from([0.0, 2.0, 8.0]), label="delivered")
            truth.append((ledger.path.stat().st_size, delivered))
            if data.draw(st.booleans(), label="answers"):
                ledger.settle(lease, delivered, bound_uc=0.0)
        done.sync()
        ledger.release()
        whole = ledger.path.read_bytes()
        cut = data.draw(st.integers(0, len(whole)), label="cut")
        ledger.path.write_bytes(whole[:cut])
        if cut < opened:  # the mark of a line comes to the disk behind the line
            marks_path(ledger.path).unlink()
        left = max(charge for size, charge in truth if size <= cut)
        again = open_ledger(folder, done, hand, "next")
        assert again.day_uc() >= left
        is_torn = cut and not whole[:cut].endswith(b"\n")
        assert any("half-written" in note for note in again.notes) == bool(is_torn)
        again.release()
