"""The safety case: every rule, step and invariant of the gate has its row, and what a row names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

from neuroloop.sinks.stimulator.counting import ENVELOPE_RULES
from neuroloop.sinks.stimulator.envelope.envelope import Envelope
from neuroloop.sinks.stimulator.envelope.limits import session_limits
from neuroloop.sinks.stimulator.envelope.profiles import load_hard_limits
from neuroloop.sinks.stimulator.gate.machine import TRANSITIONS
from neuroloop.sinks.stimulator.gate.output_state import OutputState
from neuroloop.sinks.stimulator.gate.rules import RULES, Effect, Hazard, Rule
from tests.sinks.stimulator.rig import CAPABILITIES, row, settings

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "safety-case.md").read_text(encoding="utf-8")
RULE, ENVELOPE, TO = 2, "envelope", 1


class Row(NamedTuple):
    """One row of the table of hazards."""

    hazard: str
    rules: frozenset[str]
    effect: str


def table(title: str) -> list[list[str]]:
    """Return the cells of the table below a heading."""
    lines = PAGE.split(f"## {title}\n")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert len({len(cells) for cells in rows}) == 1
    return rows[2:]


def ticked(cell: str) -> list[str]:
    return re.findall(r"`([^`]*)`", cell)


def hazard_rows() -> list[Row]:
    return [
        Row("".join(ticked(hazard)), frozenset(ticked(rules)), "".join(ticked(effect)))
        for hazard, _, rules, effect, *_ in table("Hazards and rules")
    ]


def without_a_row(rules: Iterable[Rule], rows: Iterable[Row]) -> list[str]:
    """Return the rules that have no row of their hazard and effect."""
    found = {(rule, one.hazard, one.effect) for one in rows for rule in one.rules}
    return [rule.id for rule in rules if (rule.id, rule.hazard.name, rule.effect.name) not in found]


def of_the_envelope() -> set[str]:
    """Return every check that the envelope can make, and those that are counted by name."""
    hard = load_hard_limits()[0]
    one = settings()
    envelope = Envelope(one, session_limits(one, hard), hard.shannon, CAPABILITIES)
    made = {check.rule for check in envelope.assess(row()).checks}
    return made | set(ENVELOPE_RULES)


@cache
def tree_of(path: str) -> ast.Module:
    return ast.parse((CHECKOUT / path).read_text(encoding="utf-8"))


def has(path: str, symbol: str) -> bool:
    """Return whether a file defines a function, a class, or a method as ``Class.method``."""
    if not (CHECKOUT / path).is_file():
        return False
    body: list[ast.stmt] = tree_of(path).body
    for part in symbol.split("."):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = next((one for one in body if isinstance(one, kinds) and one.name == part), None)
        if found is None:
            return False
        body = found.body
    return True


def named(page: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return the symbols and the tests that a page names, each with its file."""
    symbols, tests = [], []
    for path, colons, name in re.findall(r"`([\w/]+\.py)(::?)([\w.]+)`", page):
        if colons == "::":
            tests.append((path if path.startswith("tests/") else f"tests/sinks/stimulator/{path}", name))
        else:
            symbols.append((path if path.startswith("stream/") else f"sinks/stimulator/{path}", name))
    return symbols, tests


def missing(page: str) -> list[tuple[str, str]]:
    return [one for some in named(page) for one in some if not has(*one)]


def test_every_rule_has_a_row_of_its_hazard_and_effect() -> None:
    assert without_a_row(RULES, hazard_rows()) == []


def test_a_rule_that_is_new_or_moved_lacks_its_row() -> None:
    new = Rule("impedance_ohm", Hazard.DEVICE, Effect.FAULT, ("run",), lambda _: ())
    moved = Rule("stale", Hazard.RUNAWAY, Effect.KILL, ("run",), lambda _: ())
    assert without_a_row((*RULES, new, moved), hazard_rows()) == ["impedance_ohm", "stale"]
    for rule in RULES:
        rows = [one._replace(rules=one.rules - {rule.id}) for one in hazard_rows()]
        assert rule.id in without_a_row(RULES, rows)


def test_every_rule_of_the_envelope_has_a_row_and_every_row_names_rules_that_there_are() -> None:
    rows = hazard_rows()
    of_envelope = of_the_envelope()
    in_rows = {rule for one in rows if one.rules and one.effect == "REFUSE" for rule in one.rules}
    assert of_envelope <= in_rows
    there = {rule.id for rule in RULES} | of_envelope
    assert {rule for one in rows for rule in one.rules} <= there
    assert all(bool(one.rules) == bool(one.effect) for one in rows)


def test_every_hazard_is_named() -> None:
    assert {one.hazard for one in hazard_rows()} - {""} == {hazard.name for hazard in Hazard}
    assert set(re.findall(r"^\| (H\d+)", PAGE, re.MULTILINE)) == {f"H{n}" for n in range(1, 15)}


def test_every_step_of_the_machine_has_its_place() -> None:
    steps = {ticked(cells[0])[0]: tuple(ticked(cells[TO])) for cells in table("Steps of the machine")}
    assert steps == TRANSITIONS


def test_every_invariant_of_the_output_has_a_row() -> None:
    (output,) = (one for one in tree_of("sinks/stimulator/gate/output_state.py").body
                 if isinstance(one, ast.ClassDef) and one.name == OutputState.__name__)  # fmt: skip
    (broken,) = (one for one in output.body if isinstance(one, ast.FunctionDef) and one.name == "broken")
    said = []
    for one in ast.walk(broken):
        if isinstance(one, ast.Return) and isinstance(one.value, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "..." for part in one.value.values]
            said.append("".join(parts).split(", got")[0])
    assert len(said) >= 6
    assert sorted(said) == sorted(ticked(cells[0])[0] for cells in table("Invariants of the output"))


def test_every_symbol_and_test_that_is_named_exists() -> None:
    symbols, tests = named(PAGE)
    assert len(symbols) > 60
    assert len(tests) > 60
    assert missing(PAGE) == []
    assert all(name.startswith("test_") for _, name in tests)


def test_a_symbol_or_test_that_is_gone_is_told() -> None:
    gone = "`gate/rules.py:_gone` `gate/test_gate.py::test_gone` `gate/gone.py:Gate` `gate/gate.py:Gate.gone`"
    assert len(missing(gone)) == 4


def test_every_row_of_rules_names_code_and_tests() -> None:
    for cells in table("Hazards and rules"):
        symbols, tests = named("|".join(cells))
        assert symbols, cells
        assert tests, cells
