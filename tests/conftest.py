"""Fixtures that every test may use."""

from __future__ import annotations

import sys
import warnings
from collections import defaultdict
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

with warnings.catch_warnings():  # other conftests import it, before the rules below hold
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED_DATA = CHECKOUT.parent / "shared" / "data"
ROOMS = ("config", "stream", "processors", "models", "sinks")
"""The folders of the program; each is imported as ``neuroloop.<folder>`` only."""


class _BareNames(MetaPathFinder):
    """Refuses the folders' bare names, which the checkout's root would give a second identity."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        if fullname in ROOMS:
            raise ImportError(f"{fullname} must be imported as neuroloop.{fullname}")
        return None


sys.meta_path.insert(0, _BareNames())


def pytest_configure(config: pytest.Config) -> None:
    """Let ``kafka-python`` be as it is.

    On Python 3.11 it reads its own files in a way that is deprecated there, and it leaves the sockets with which it
    tried in vain to reach a broker to the garbage collector.
    """
    ignored = (
        "ignore:(read|open)_text is deprecated:DeprecationWarning",
        r"ignore:unclosed <(ssl\.SSLSocket|socket\.socket .*laddr=\('0\.0\.0\.0'):ResourceWarning",
    )
    for line in ignored:
        config.addinivalue_line("filterwarnings", line)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how long the tests of each folder took, all processes of a parallel run together."""
    seconds: defaultdict[str, float] = defaultdict(float)
    numbers: defaultdict[str, int] = defaultdict(int)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                folders = Path(report.nodeid.partition("::")[0]).parts[1:-1]
                room = folders[0] if folders else "tests"
                seconds[room] += report.duration
                numbers[room] += report.when == "call"
    if seconds:
        terminalreporter.section("minutes by folder")
        for room in sorted(seconds, key=lambda name: -seconds[name]):
            terminalreporter.write_line(f"{seconds[room] / 60:6.1f}  {room} ({numbers[room]} tests)")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real recordings beside the checkout; skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no folder of shared recordings beside the checkout")
    return SHARED_DATA
