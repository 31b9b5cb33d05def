"""``neuroloop operator``: what is shown before arming, what is asked for, what is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neuroloop.sinks.stimulator.control import ControlServer, OperatorRequest
from tests.stream.cli.conftest import Command

SHOWN = "electrode E1 of S01: implanted, 0.06 cm2 (6 mm2); hard limits hard.yaml (sha256 ff)"
TOKEN = "open sesame"


class Run:
    """What answers on the socket of a run with a real device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[OperatorRequest] = []
        self._server = ControlServer(folder)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        fds: list[int] = []
        while not self._is_over.wait(0.002):
            fds += self._server.accept()
            for fd in list(fds):
                for request in self._server.read(fd) if self._server.has(fd) else []:
                    self.seen.append(request)
                    is_show = request.verb == "show"
                    answer: dict[str, Any] = {"accepted": True, "state": "ARMED", "text": SHOWN if is_show else ""}
                    self._server.answer(fd, {**answer, "needs_area": True} if is_show else answer)
                if not self._server.has(fd):
                    fds.remove(fd)

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._server.close()


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path)
    yield made
    made.close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n", "utf-8")
    return path


def test_arming_shows_the_electrode_and_sends_the_area_that_was_read(neuroloop: Command, run: Run, token: Path) -> None:
    done = neuroloop("operator", run.folder, "arm", "--token-file", token, "--area", "0.06")
    assert done.status == 0
    assert SHOWN in done.err
    assert run.seen == [OperatorRequest("show"), OperatorRequest("arm", TOKEN, area_cm2=0.06)]


def test_without_a_terminal_no_area_is_made_up(neuroloop: Command, run: Run, token: Path) -> None:
    neuroloop("operator", run.folder, "arm", "--token-file", token)
    assert run.seen[-1] == OperatorRequest("arm", TOKEN)


def test_an_area_belongs_to_arming(neuroloop: Command, run: Run) -> None:
    done = neuroloop("operator", run.folder, "stop", "--area", "0.06")
    assert done.err == "neuroloop operator: area must be left out for stop, it belongs to arm\n"
    assert run.seen == []


def test_a_token_on_the_command_line_is_refused(neuroloop: Command, run: Run) -> None:
    done = neuroloop("operator", run.folder, "confirm", "--token", TOKEN)
    assert done.status == 1
    assert "token must be in a file (--token-file), in NEUROLOOP_TOKEN or typed at the prompt, got one on" in done.err
    assert TOKEN not in done.err
    assert run.seen == []


def test_a_token_in_the_environment_is_sent(neuroloop: Command, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEUROLOOP_TOKEN", TOKEN)
    assert neuroloop("operator", run.folder, "confirm").status == 0
    assert run.seen == [OperatorRequest("confirm", TOKEN)]
