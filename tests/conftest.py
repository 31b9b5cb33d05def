"""Fixtures that every test may use."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import warnings
from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]  # it has no types

with warnings.catch_warnings():  # other conftests import it, before the rules below hold
    warnings.simplefilter("ignore", DeprecationWarning)
    import kafka  # noqa: F401

settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

CHECKOUT = Path(__file__).resolve().parent.parent
SHARED_DATA = CHECKOUT.parent / "shared" / "data"
ROOMS = ("config", "stream", "processors", "models", "sinks")
"""The folders of the program; each is imported as ``neuroloop.<folder>`` only."""
GROUPS_VARIABLE = "NEUROLOOP_TEST_GROUPS"
DEAR = ("apache_broker", "restartable", "sasl_broker", "tls_broker", "scram_broker", "stage", "scene")
"""Fixtures of integration tests that take seconds to start."""


class _BareNames(MetaPathFinder):
    """Refuses the folders' bare names, which the checkout's root would give a second identity."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> ModuleSpec | None:
        if fullname in ROOMS:
            raise ImportError(f"{fullname} must be imported as neuroloop.{fullname}")
        return None


sys.meta_path.insert(0, _BareNames())


def pytest_configure(config: pytest.Config) -> None:
    """Let ``kafka-python`` be as it is, and name the file of `GroupScheduling`.

    On Python 3.11 it reads its own files in a way that is deprecated there, and it leaves the sockets with which it
    tried in vain to reach a broker to the garbage collector.
    """
    ignored = (
        "ignore:(read|open)_text is deprecated:DeprecationWarning",
        r"ignore:unclosed <(ssl\.SSLSocket|socket\.socket .*laddr=\('0\.0\.0\.0'):ResourceWarning",
    )
    for line in ignored:
        config.addinivalue_line("filterwarnings", line)
    if "PYTEST_XDIST_WORKER" not in os.environ and config.getoption("dist", "no") == "loadgroup":
        descriptor, os.environ[GROUPS_VARIABLE] = tempfile.mkstemp(prefix="neuroloop-tests-", suffix=".json")
        os.close(descriptor)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests together that share something dear, and those of a file elsewhere: one worker makes it once."""
    path = os.environ.get(GROUPS_VARIABLE)
    if path is None or os.environ.get("PYTEST_XDIST_WORKER") != "gw0":
        return
    groups: dict[str, str] = {}
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if "integration" in item.path.parts:
            kinds = item.callspec.params.values() if hasattr(item, "callspec") else ()
            wanted = [*item.fixturenames, *(f"{kind}_broker" for kind in kinds if kind == "apache")]
            group = next((name for name in DEAR if name in wanted), None)
        else:
            group = None if item.get_closest_marker("slow") else str(item.path.relative_to(CHECKOUT))
        if group is not None:
            groups[item.nodeid] = group
    Path(path).write_text(json.dumps(groups), encoding="utf-8")


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # see the import
    """Gives tests of one group to one worker; the groups are those that a worker wrote down when it had collected."""

    @cached_property
    def _groups(self) -> dict[str, str]:
        path = Path(os.environ[GROUPS_VARIABLE])
        groups: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
        path.unlink()
        return groups

    def _split_scope(self, nodeid: str) -> str:
        return self._groups.get(nodeid, nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> GroupScheduling | None:
    """Take the place of ``--dist loadgroup``, whose marks this version of pytest does not let through."""
    if config.getvalue("dist") != "loadgroup":
        return None
    return GroupScheduling(config, log)


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
