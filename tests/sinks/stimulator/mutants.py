"""Break the gate on purpose, once in each way, and see whether the tests notice: by hand, not in CI.

``python -m tests.sinks.stimulator.mutants`` prints a table; ``--only WORD`` takes those whose name holds a word.

Each breakage names a function and what in it is replaced, as code, wherever the function stands under
``sinks/stimulator``. One whose target is no longer there ends the program with 2, so that it is brought up to date.
It is tried in a copy of the checkout, on the tests of gate, actuator, ledger, envelope and device first, then on
random loops.
"""

# ruff: noqa: E501 - one mutant a line is a table, broken lines are none

from __future__ import annotations

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[3]
PLACE = Path("sinks") / "stimulator"
TESTS = ("gate", "test_actuator.py", "test_restarts.py", "test_sham.py", "log/test_ledger.py", "devices", "envelope")
_LEFT_OUT = (".git", ".venv", "docs", "benchmarks", "examples", "deploy", "__pycache__", ".mypy_cache", ".ruff_cache")
_LONGEST_S = 1200.0


@dataclass(frozen=True)
class Mutant:
    """One breakage.

    Parameters
    ----------
    name : str
    where : str
        ``Class.function`` or ``function``.
    old, new : str
        An expression or a statement, as Python code; every one that is equal to it is replaced.
    """

    name: str
    where: str
    old: str
    new: str


class TargetGone(Exception):
    """What was to be broken is not there any more."""


# fmt: off
MUTANTS = (
    Mutant("leases rise too fast", "LeaseLine._slope", "min(plan.train.amplitude_ma / plan.ramp_s, self._max_slew_ma_s)", "10.0 * plan.train.amplitude_ma / plan.ramp_s"),
    Mutant("leases twice as long", "LeaseLine._make", "Lease(self._number + 1, sent, slew_ma_s, seconds, charge)", "Lease(self._number + 1, sent, slew_ma_s, 2 * seconds, charge)"),
    Mutant("leases say half of their charge", "LeaseLine._make", "ramp_charge_uc(sent, from_ma, slew_ma_s, seconds)", "0.5 * ramp_charge_uc(sent, from_ma, slew_ma_s, seconds)"),
    Mutant("renewed though never answered", "LeaseLine.is_due", "one.is_answered or not self._capabilities.acknowledges", "True"),
    Mutant("a lapsed lease is not noticed", "LeaseLine.is_lapsed", "now_ns >= self.current.end_ns", "False"),
    Mutant("leases longer than the watchdog", "Setup.lease_ns", "min(wanted, self.capabilities.timeout_s)", "2.0"),
    Mutant("only the device's word counts", "ChargeMeter.total_uc", "max(self.bound_uc, self.said_uc)", "self.said_uc"),
    Mutant("only the own bound counts", "ChargeMeter.total_uc", "max(self.bound_uc, self.said_uc)", "self.bound_uc"),
    Mutant("open leases are free", "ChargeMeter._open_uc", "total += one.lease.charge_uc", "pass"),
    Mutant("settled leases are free", "ChargeMeter._count", "self._settled_uc += charge", "pass"),
    Mutant("the day forgets this run", "ChargeBudget.day_uc", "max(self._ledger_uc + self._since_uc, self.meter.day_uc(now_ns))", "0.0"),
    Mutant("charge limits always hold", "ChargeBudget.checks", "value <= most", "True"),
    Mutant("too much is not noticed", "DeviceWatch._judge_charge", "spent > most * (1 + _EXCESS) + _EXCESS_UC", "False"),
    Mutant("too little is not noticed", "DeviceWatch._judge_deficit", "delivered - one.since_uc < _LEAST_SHARE * due_uc", "False"),
    Mutant("an unanswered stop is not noticed", "DeviceWatch.judge_silence", "self._stop_ns is not None and now_ns - self._stop_ns > self._watchdog_ns", "False"),
    Mutant("a device that went off is not noticed", "DeviceWatch._judge_off", "current is not None and current.is_answered and not current.is_final", "False"),
    Mutant("a device that stays on is not noticed", "DeviceWatch._judge_on", "self._line.current is not None", "True"),
    Mutant("a mute device is not noticed", "DeviceWatch.is_mute", "self._asked_ns is not None and now_ns - self._asked_ns > max(self._watchdog_ns, STATUS_S * 1e9)", "False"),
    Mutant("stops leave waiting leases", "Actuator.carry_out", "self._waiting.clear()", "pass"),
    Mutant("leases do not wait for the disk", "Actuator.leave", "one.ticket <= done and not self._writer.failures", "True"),
    Mutant("leases wait for ever", "Actuator.leave", "self._clock_ns() - one.since_ns > self._patience_ns", "False"),
    Mutant("leases are not reserved", "Actuator._reserve", "self._ledger.reserve(lease.number, lease.charge_uc, audit=(self._log.seq, self._log.head))", "pass"),
    Mutant("the ledger believes a small figure", "Ledger.settle", "max(self._said_uc, bound_uc)", "self._said_uc"),
    Mutant("the ledger forgets open leases", "LedgerEntries.day_uc", "[uc for stamp, uc in self.open.values() if stamp.is_within_a_day(now)]", "[]"),
    Mutant("a fault leaves the output on", "Gate._fault", "self._off(f'fault: {reason}')", "pass"),
    Mutant("an operator's stop leaves the output on", "Gate._stop", "self._off(reason, is_event=not is_told)", "pass"),
    Mutant("no token is needed", "_authorised", "Check('authorised', facts.is_authorised, True, facts.is_authorised, '')", "Check('authorised', True, True, True, '')"),
    Mutant("arming never expires", "Gate._control", "self._armed_until_ns is not None and now >= self._armed_until_ns", "False"),
    Mutant("rows need not be named", "_override", "not row.requires_override or row.state in facts.overrides", "True"),
    Mutant("refused trains are given", "_envelope", "() if facts.plan is None else facts.plan.failures", "()"),
    Mutant("a dose lasts ten times its row", "DoseHistory.plan", "min(own_s, left_s)", "10.0 * row.duration_s"),
    Mutant("a dose outlives its state", "_state_left", "facts.state == row.state and facts.label == row.state", "True"),
    Mutant("one decision is enough", "Gate._consider", "decisions.n_in_a_row >= self._gate.confirm_n", "True"),
    Mutant("no pause between doses", "DoseHistory.judge", "until <= now_ns", "True"),
    Mutant("any number of starts", "DoseHistory.judge", "n <= most", "True"),
    Mutant("a missing heartbeat does nothing", "_heartbeat", "_over('heartbeat', facts.pulse_s, facts.most_silent_s)", "()"),
    Mutant("a standing hot loop does nothing", "_progress", "_over('progress', facts.stuck_s, facts.most_silent_s)", "()"),
    Mutant("old samples do nothing", "_stale", "_over('stale', facts.age_s, facts.max_age_s)", "()"),
    Mutant("lost decisions do nothing", "_decisions_lost", "_over('decisions_lost', facts.silent_s, facts.max_silence_s)", "()"),
    Mutant("a lost stream does nothing", "Interlocks.pulse", "not one.is_up", "False"),
    Mutant("a dead hot process does nothing", "Interlocks.pulse", "not one.is_hot_alive", "False"),
    Mutant("changed limits do nothing", "Interlocks.pulse", "sha256 != self._hashes[name]", "False"),
    Mutant("everything stops softly", "Effect.is_immediate", "self in (Effect.CUT, Effect.KILL, Effect.FAULT)", "False"),
    Mutant("Shannon's rule always holds", "Envelope._tissue_checks", "Fraction(found.k) <= exact(most)", "True"),
    Mutant("every other limit always holds", "_at_most", "value <= exact(limit)", "True"),
    Mutant("the device is deaf to the end of a lease", "StimulatorModel.advance", "output is not None and output.is_granted and now >= output.end_ns", "False"),
    Mutant("any area may be read back", "_area", "read == wanted", "True"),
    Mutant("no area need be read back", "_area", "read is None and electrode.device.kind == 'simulated'", "read is None"),
    Mutant("no looks", "Dosing.start", "self._bound(dose, self._gate.look_every_s, is_look=True)", "pass"),
    Mutant("any number of starts of an episode", "Episode.judge", "n <= most", "True"),
    Mutant("every decision ends the episode", "Episode.accept", "label != self._state", "True"),
    Mutant("windows need not be clean", "Dosing.is_blanked", "at < self._clean_from_ns", "False"),
    Mutant("no lockout behind a full dose", "DoseHistory._lock_out", "self._lockout_ns = max(self._lockout_ns or 0, ended_ns + round(self._gate.lockout_s * 1e9))", "pass"),
    Mutant("parts of a dose are forgotten", "DoseHistory.ended", "self._given[state] = Given(before.on_s + on_s, before.charge_uc + charge_uc)", "pass"),
    Mutant("a restart forgets the lockout", "DoseHistory.begin", "earlier.lockout_left_s > 0", "False"),
    Mutant("a restart forgets the time of the session", "DoseHistory.begin", "self.on_s = earlier.session_s", "pass"),
    Mutant("a restart forgets the starts", "DoseHistory.begin", "earlier.start_ages_s", "()"),
    Mutant("a restart forgets what rows have given", "DoseHistory.begin", "dict(earlier.given)", "{}"),
    Mutant("a restart forgets the pause", "DoseHistory.begin", "self._wait_from(ended_ns, earlier.last_on_s or 0.0)", "pass"),
    Mutant("a restart forgets the charge of the session", "ChargeBudget.session_uc", "self._earlier_uc + self.meter.total_uc", "self.meter.total_uc"),
    Mutant("doses that never ended took no time", "DoseEntry.length_s", "self.on_s if self.is_ended else (self.seen.age_since(self.begun) + _LAST_LEASE_NS) * 1e-9", "self.on_s"),
    Mutant("a slow device is granted as much", "LeaseLine.slowed", "self._lease_ns = min(self._longest_ns, max(left_ns, self.least_lease_ns(usual_ns)))", "pass"),
    Mutant("any device is quick enough", "LeaseLine.fits", "self.least_lease_ns(trip_ns) <= min(self._longest_ns, self._watchdog_ns - 2 * trip_ns)", "True"),
    Mutant("silence may use up the way to the device", "Interlocks.facts", "self._settings.watchdog_s - self._round_trip_s", "self._settings.watchdog_s"),
    Mutant("a lease ends however late it came", "StimulatorModel._begin", "not_after_ns is not None", "False"),
    Mutant("a lease that came too late is taken", "StimulatorModel._refusal", "not_after_ns is not None and now >= not_after_ns", "False"),
    Mutant("a start that waits is not withdrawn", "Dosing._has_not_begun", "self.line.current is not None and self.line.begun_ns is None", "False"),
    Mutant("nothing is proved", "Gate._prove", "broken is not None", "False"),
    Mutant("a sham is real", "ArmFilter.renew", "self._arm == 'sham' and self._phase == 'up' and self._is_ramp_over()", "False"),
)
# fmt: on


def _parse(code: str) -> ast.expr | ast.stmt:
    """Return code as an expression where it is one, else as a statement."""
    try:
        return ast.parse(code, mode="eval").body
    except SyntaxError:
        return ast.parse(code).body[0]


class _Replacing(ast.NodeTransformer):
    """Replaces what is equal to a piece of code."""

    def __init__(self, old: str, new: str) -> None:
        self.old, self.new = _parse(old), _parse(new)
        self.wanted = ast.dump(self.old)
        self.n = 0

    def visit(self, node: ast.AST) -> ast.AST:
        if isinstance(node, ast.Expr) and isinstance(self.new, ast.stmt) and ast.dump(node.value) == self.wanted:
            self.n += 1
            return ast.copy_location(self.new, node)
        if ast.dump(node) == self.wanted:
            self.n += 1
            return ast.copy_location(self.new, node)
        return self.generic_visit(node)


def _functions(tree: ast.Module) -> dict[str, ast.FunctionDef]:
    found = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for owner in tree.body:
        if isinstance(owner, ast.ClassDef):
            found |= {f"{owner.name}.{node.name}": node for node in owner.body if isinstance(node, ast.FunctionDef)}
    return found


def broken_source(mutant: Mutant, checkout: Path) -> tuple[Path, str]:
    """Return the file that a mutant is in, and its text with the mutant.

    Raises
    ------
    TargetGone
        If the function, or what is to be replaced in it, is not there, or is there in more than one file.
    """
    found: list[tuple[Path, str]] = []
    for path in sorted((checkout / PLACE).rglob("*.py")):
        text = path.read_text()
        function = _functions(ast.parse(text)).get(mutant.where)
        if function is None:
            continue
        replacing = _Replacing(mutant.old, mutant.new)
        first, last, indent = function.lineno, function.end_lineno or 0, function.col_offset
        replacing.visit(function)
        if not replacing.n:
            continue
        function.decorator_list = []
        body = textwrap.indent(ast.unparse(ast.fix_missing_locations(function)), " " * indent)
        lines = text.splitlines()
        found.append((path, "\n".join([*lines[: first - 1], *body.splitlines(), *lines[last:], ""])))
    if len(found) != 1:
        raise TargetGone(f"{mutant.name}: {mutant.old!r} must stand in one {mutant.where}, got {len(found)}")
    return found[0]


def _is_noticed(copy: Path, command: list[str]) -> bool:
    """Return whether a command fails in the copy; one that does not end counts as failing."""
    surrounding = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [sys.executable, *command], cwd=copy, env=surrounding, capture_output=True, timeout=_LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return True
    return done.returncode != 0


def _killer(copy: Path, n_loops: int, wanted: list[str]) -> str:
    """Return what notices first, empty where nothing does."""
    tests = [str(Path("tests") / PLACE / one) for one in TESTS]
    ways = {
        "tests": ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
        "loops": ["-m", "tests.sinks.stimulator.random_loops", "--stop", "--loops", str(n_loops)],
    }
    return next((name for name in wanted if _is_noticed(copy, ways[name])), "")


def main() -> int:
    """Try them all; 1 where one survives, 2 where a target is gone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="those whose name holds this")
    parser.add_argument("--loops", type=int, default=200)
    parser.add_argument(
        "--ways", nargs="+", choices=["tests", "loops"], default=["tests", "loops"], help="in this order"
    )
    parser.add_argument("--list", action="store_true", help="look only whether every target is there")
    given = parser.parse_args()
    chosen = [one for one in MUTANTS if given.only in one.name]
    gone = []
    for one in chosen:
        try:
            broken_source(one, CHECKOUT)
        except TargetGone as error:
            gone.append(str(error))
    if gone or given.list:
        print("\n".join(gone) or f"all {len(chosen)} targets are there")
        return 2 if gone else 0
    n_survived = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "checkout"
        shutil.copytree(CHECKOUT, copy, symlinks=True, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        killer = _killer(copy, given.loops, given.ways)
        if killer:
            print(f"{killer} must pass before anything is broken, got a failure")
            return 2
        for one in chosen:
            path, text = broken_source(one, CHECKOUT)
            target = copy / path.relative_to(CHECKOUT)
            whole = target.read_text()
            target.write_text(text)
            began = time.monotonic()
            killer = _killer(copy, given.loops, given.ways)
            target.write_text(whole)
            n_survived += not killer
            verdict = f"killed by {killer}" if killer else "SURVIVED"
            print(f"{one.name:45} {one.where:32} {verdict:24} {time.monotonic() - began:5.0f} s", flush=True)
    print(f"{len(chosen) - n_survived} of {len(chosen)} killed")
    return 1 if n_survived else 0


if __name__ == "__main__":
    raise SystemExit(main())
