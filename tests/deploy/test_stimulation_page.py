"""The page on stimulation: its commands are commands of the program, its rules are rules of the gate."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from neuroloop.config.loading import load_config
from neuroloop.sinks.stimulator.counting import REFUSAL_RULES
from neuroloop.sinks.stimulator.envelope.profiles import load_hard_limits
from neuroloop.stream.cli.main import build_parser

CHECKOUT = Path(__file__).resolve().parents[2]
PAGE = (CHECKOUT / "docs" / "stimulation.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    written = re.findall(r"^ {4,}neuroloop (.*)$", PAGE, re.MULTILINE) + re.findall(r"`neuroloop ([^`]*)`", PAGE)
    return [shlex.split(line, comments=True) for line in written]


def test_every_command_of_the_page_is_one_of_the_program() -> None:
    found = [line for line in commands() if len(line) > 1]
    assert len(found) >= 10
    assert {line[0] for line in found} >= {"demo", "check", "latency", "verify", "export", "operator"}
    for line in found:
        build_parser().parse_args(line)


def test_settings_that_commands_of_the_page_override_are_settings() -> None:
    overrides = [build_parser().parse_args(line).set for line in commands() if "--set" in line]
    assert overrides
    for given in overrides:
        assert load_config("stimulation", given).stimulation is not None


def test_every_rule_that_the_page_names_is_one_that_the_gate_refuses_by() -> None:
    section = PAGE.split("## The envelope")[1].split("## States")[0]
    named = {
        name for cell in re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE) for name in re.findall("`(.*?)`", cell)
    }
    assert len(named) >= 15
    assert named <= set(REFUSAL_RULES)


def test_the_bounds_that_the_page_names_are_those_of_the_shipped_file() -> None:
    section = PAGE.split("## Bounds of the gate's settings")[1].split("## ")[0]
    bounds = load_hard_limits()[0].gate
    most, least = bounds.at_most.model_dump(), bounds.at_least.model_dump()
    named: list[dict[str, float]] = [{}, {}]
    for line in re.findall(r"^\| .* \|$", section, re.MULTILINE):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        for side, (names, values) in zip(named, (cells[:2], cells[2:]), strict=True):
            if re.fullmatch(r"[0-9., ]+", values):
                numbers = [float(value) for value in values.split(", ")]
                side.update(zip(re.findall("`(.*?)`", names), numbers, strict=True))
    assert named == [most, least]


def test_the_page_quotes_no_conformity() -> None:
    assert not re.search(r"\b(is certified|conforms to|complies with [A-Z])", PAGE)
    assert "not a medical device" in PAGE
