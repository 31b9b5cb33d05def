"""``--log json`` where something goes wrong, and in a player."""

from __future__ import annotations

import json

import pytest

from tests.integration.live import Start

pytestmark = pytest.mark.usefixtures("lsl_session")


def test_a_refusal_is_one_object_too(start: Start) -> None:
    program = start("run", "monitor", "--set", "source.resolve_s=0.2", "--set", "source.name=nobody", "--log", "json")
    (line,) = map(json.loads, program.fails().splitlines())
    assert (line["level"], line["logger"], line["process"]) == ("error", "neuroloop.run", "main")
    assert "nobody" in line["message"]


def test_a_player_logs_objects_and_reads_plain_without_the_option(start: Start) -> None:
    arguments = ("play", "simulator", "--seconds", 0.2, "--name", "logged")
    chosen, plain = start(*arguments, "--log", "json"), start(*arguments)
    chosen.ends_well()
    plain.ends_well()
    lines = [json.loads(line) for line in chosen.err.splitlines()]
    assert [line["logger"] for line in lines] == ["neuroloop.play"] * 2
    assert [line["message"].split(" ")[0] for line in lines] == ["logged:", "50"]
    assert plain.err.startswith("logged: 8 channels at 250 Hz\n50 samples and ")
