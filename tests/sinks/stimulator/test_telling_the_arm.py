"""Whoever has all files of a blinded run but no key cannot tell its arm; and would, if charge leaked as it once did."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroloop.config.stimulation import BlindingSettings
from neuroloop.sinks.stimulator.blinding import DELIVERY_KEY_FILE, LIST_FILE, draw_arms, make_list, take_assignment
from neuroloop.sinks.stimulator.log.audit import AUDIT_FILE, read_log
from neuroloop.sinks.stimulator.log.verification import verify_run
from neuroloop.sinks.stimulator.records import Device, DeviceAnswer
from neuroloop.sinks.stimulator.sealed_record import SEALED_FILE
from neuroloop.sinks.stimulator.sealing import PrivateKey, SealError
from neuroloop.sinks.stimulator.sham import Arm, ArmFilter, _Asked
from neuroloop.sinks.stimulator.unblinding import unblind
from tests.sinks.stimulator.filed_rig import FiledRig

LONG = 2
"""A seed whose first dose is long enough to be told from a ramp alone."""
_HASH = re.compile(r"[0-9a-f]{64}")


class ShareOfLease(ArmFilter):
    """Tells a share of each lease's charge in a sham, as this program once did; a real device counts pulses."""

    _sum_uc = 0.0
    _since: tuple[int, float, float] | None = None

    def _let_shadow(self, asked: _Asked, one: DeviceAnswer) -> DeviceAnswer:
        due = super()._let_shadow(asked, one)
        now = self._shadow_ns
        if self._arm == "real":
            return due
        if self._since is not None:
            at, duration_s, charge_uc = self._since
            self._sum_uc += min(1.0, (now - at) * 1e-9 / duration_s) * charge_uc
            self._since = None
        if asked.command == "arm":
            self._sum_uc = 0.0
        if asked.lease is not None:
            self._since = (now, asked.lease.duration_s, asked.lease.charge_uc)
        return DeviceAnswer(due.kind, due.lease, due.is_on, self._sum_uc, due.reason, due.command, due.t_ns)


@pytest.fixture(scope="module")
def dealt(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folder of a list of 200 subjects, and the third party's key."""
    folder = tmp_path_factory.mktemp("list")
    key = PrivateKey.make()
    key.write(folder / "third-party.key", "a key")
    arms = draw_arms({f"s{number:03d}": "" for number in range(200)}, ["v1"], seed="of the test")
    make_list(folder, key, arms, seed="of the test")
    return folder, folder / "third-party.key"


def run_of(folder: Path, dealt: Path, subject: str, seed: int, kind: type[ArmFilter] = ArmFilter) -> Arm:
    """Run a session of a subject; its arm is returned for the judge alone."""
    settings = BlindingSettings(list_file=str(dealt / LIST_FILE), key_file=str(dealt / DELIVERY_KEY_FILE), visit="v1")
    assignment = take_assignment(settings, subject, memory=folder / "memory")
    FiledRig(folder / subject, assignment, seed, kind).run()
    return assignment.arm


def records_of(run: Path) -> list[dict[str, Any]]:
    """Return the records of all files of a run that anybody can read, hashes blotted out."""
    found = []
    for path in sorted(run.iterdir()):
        if path.name in (LIST_FILE, SEALED_FILE):
            sizes = [len(line) for line in path.read_bytes().split(b"\n")]
            found.append({"file": path.name, "n": len(sizes), "bytes": sum(sizes), "most": max(sizes)})
            continue
        lines = path.read_text().splitlines()
        found += [{"file": path.name, **json.loads(_HASH.sub("#", line))} for line in lines if line]
        found.append({"file": path.name, "bytes": path.stat().st_size, "lines": len(lines)})
    return found


def features_of(run: Path) -> dict[str, float]:
    """Return numbers about every number in a run's files: how many, mean, spread, ends, and steps between them."""
    columns: dict[str, list[float]] = defaultdict(list)

    def walk(where: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{where}.{key}", inner)
        elif isinstance(value, list):
            for inner in value:
                walk(f"{where}[]", inner)
        elif isinstance(value, (bool, int, float)):
            columns[where].append(float(value))
        elif isinstance(value, str):
            columns[f"{where}#"].append(float(len(value)))

    for record in records_of(run):
        walk(f"{record['file']}:{record.get('kind', record.get('act', ''))}", record)
    found = {}
    for name, values in columns.items():
        steps = np.diff(values) if len(values) > 1 else np.zeros(1)
        for what, number in (
            ("n", len(values)), ("mean", np.mean(values)), ("std", np.std(values)), ("last", values[-1]),
            ("most", max(values)), ("step", np.mean(steps)), ("steps", np.std(steps)), ("median", np.median(steps)),
        ):  # fmt: skip
            found[f"{name} {what}"] = float(number)
    return found | charges_of(run)


def charges_of(run: Path) -> dict[str, float]:
    """Return what somebody looks at who knows how stimulators count: whole pulses? what share of a lease?"""
    log = read_log(run / AUDIT_FILE)
    granted = {output.lease.number: output.lease for _, output in log.outputs() if output.lease is not None}
    said = [one.values for one in log.inputs() if one.kind == "device" and one.values["lease"]]
    parts, shares = [0.0], [0.0]
    for before, after in itertools.pairwise(said):
        lease = granted[before["lease"]]
        train, more = lease.train, after["delivered_uc"] - before["delivered_uc"]
        if after["command"] != "renew" or train.amplitude_ma == 0 or more <= 0:
            continue
        pulses = more / (train.amplitude_ma * train.pulse_width_us * 1e-3)
        parts.append(abs(pulses - round(pulses)))
        shares.append(more / lease.charge_uc)
    found: dict[str, float] = {}
    for name, values in (("parts", parts), ("shares", shares)):
        found |= {f"{name} mean": float(np.mean(values)), f"{name} median": float(np.median(values))}
        found |= {f"{name} std": float(np.std(values)), f"{name} most": max(values)}
    return found


def accuracy(runs: list[dict[str, float]], arms: list[Arm], n_folds: int = 5) -> float:
    """Return the share of runs whose arm is told right by the best single feature of the other folds."""
    names = sorted(set.intersection(*(set(one) for one in runs)))
    x = np.array([[one[name] for name in names] for one in runs])
    y = np.array([arm == "real" for arm in arms])
    fold = np.arange(len(y)) % n_folds
    n_right = 0
    for number in range(n_folds):
        test, train = fold == number, fold != number
        a, b = x[train & y], x[train & ~y]
        spread = np.sqrt(a.var(axis=0) + b.var(axis=0)) + 1e-12 * (1 + np.abs(a.mean(axis=0)))
        best = int(np.argmax(np.abs(a.mean(axis=0) - b.mean(axis=0)) / spread))
        middle = 0.5 * (a[:, best].mean() + b[:, best].mean())
        is_up = a[:, best].mean() > middle
        n_right += int(np.sum((x[test, best] > middle) == (y[test] == is_up)))
    return n_right / len(y)


def told_share(folder: Path, dealt: Path, n: int, kind: type[ArmFilter]) -> float:
    """Return how many of so many runs a classifier tells right."""
    arms = [run_of(folder, dealt, f"s{number:03d}", 1000 + number, kind) for number in range(n)]
    return accuracy([features_of(folder / f"s{number:03d}") for number in range(n)], arms)


@pytest.mark.parametrize("n", [40, pytest.param(200, marks=pytest.mark.slow)])
def test_a_classifier_with_all_files_is_at_chance(n: int, tmp_path: Path, dealt: tuple[Path, Path]) -> None:
    half_width = 3.3 * 0.5 / math.sqrt(n)  # 99.9 % of a binomial of one half
    assert abs(told_share(tmp_path, dealt[0], n, ArmFilter) - 0.5) <= half_width


def test_the_same_classifier_finds_the_arm_in_charge_that_is_a_share_of_a_lease(
    tmp_path: Path, dealt: tuple[Path, Path]
) -> None:
    assert told_share(tmp_path, dealt[0], 40, ShareOfLease) > 0.5 + 3.3 * 0.5 / math.sqrt(40)


def subjects_of_both_arms(folder: Path, dealt: Path) -> dict[Arm, str]:
    """Return a subject of each arm, after a run of the same seed."""
    found: dict[Arm, str] = {}
    for number in range(200):
        subject = f"s{number:03d}"
        arm = run_of(folder, dealt, subject, seed=7)
        found.setdefault(arm, subject)
        if len(found) == 2:
            break
    return found


def test_the_same_session_leaves_the_same_records_in_both_arms(tmp_path: Path, dealt: tuple[Path, Path]) -> None:
    found = subjects_of_both_arms(tmp_path, dealt[0])

    def text(arm: Arm) -> list[str]:
        return [json.dumps(one).replace(found[arm], "subject") for one in records_of(tmp_path / found[arm])]

    assert text("real") == text("sham")


def test_a_third_party_proves_what_was_given_and_nobody_else_opens_it(tmp_path: Path, dealt: tuple[Path, Path]) -> None:
    found = subjects_of_both_arms(tmp_path, dealt[0])
    charges = {}
    for arm, subject in found.items():
        run = tmp_path / subject
        log = read_log(run / AUDIT_FILE)
        opened = unblind(log, run, dealt[1])
        assert opened.findings == ()
        assert f"{subject}, v1: {arm}; " in opened.line
        charges[arm] = float(opened.line.split()[-2])
        with pytest.raises(SealError, match="list must be the one that was made with this key"):
            unblind(log, run, dealt[0] / DELIVERY_KEY_FILE)
    assert 0 < charges["sham"] < charges["real"]


class Swapped(ArmFilter):
    """Gives the other arm than the one that was dealt."""

    def __init__(self, device: Device, arm: Arm, **values: Any) -> None:
        super().__init__(device, "sham" if arm == "real" else "real", **values)


def test_a_third_party_finds_that_the_other_arm_was_given(tmp_path: Path, dealt: tuple[Path, Path]) -> None:
    arms = set()
    for subject in ("s000", "s001", "s002", "s003"):
        arms.add(run_of(tmp_path, dealt[0], subject, seed=LONG, kind=Swapped))
        run = tmp_path / subject
        findings = unblind(read_log(run / AUDIT_FILE), run, dealt[1]).findings
        assert findings
        assert all(
            re.match(r"device\.sealed(: lease \d+)? must (ask for nothing|be as|have the)", one) for one in findings
        )
    assert arms == {"real", "sham"}


@pytest.mark.parametrize("change", ["a box", "one box less", "another list", "of another run"])
def test_what_was_sealed_cannot_be_changed_unnoticed(change: str, tmp_path: Path, dealt: tuple[Path, Path]) -> None:
    run_of(tmp_path, dealt[0], "s001", seed=1)
    run = tmp_path / "s001"
    path, others = run / SEALED_FILE, [LIST_FILE, SEALED_FILE]

    def faults() -> list[str]:
        return [one for one in verify_run(run, run).findings if any(name in one for name in others)]

    assert faults() == []
    lines = path.read_bytes().split(b"\n")
    if change == "a box":
        lines[3] = lines[4]
        path.write_bytes(b"\n".join(lines))
    elif change == "one box less":
        path.write_bytes(b"\n".join(lines[:-2]) + b"\n")
    elif change == "of another run":
        run_of(tmp_path, dealt[0], "s002", seed=1)
        path.write_bytes((tmp_path / "s002" / SEALED_FILE).read_bytes())
    else:
        (run / LIST_FILE).write_bytes((run / LIST_FILE).read_bytes() + b"\n")
    assert len(faults()) == 1
    assert re.match(
        r"(device|assignments)\.sealed must (have the boxes that the log names|be the one of the log)", faults()[0]
    )
