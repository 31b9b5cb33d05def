"""Nothing but the stimulator process can reach a stimulator, or make an outlet that one may act on."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ROOMS = ("config", "stream", "processors", "models", "sinks")
DEVICES = "sinks/stimulator/devices/"
OPENERS = {"stream/live/stimulation/setup.py", "stream/cli/latency.py"}
"""Who may open a device: the setup of the stimulator process, and the measurement of its latency."""
STARTERS = {"stream/live/stimulation/guard.py"}
"""Who may start the stimulator process."""
CONSTRUCTORS = {
    "StreamOutlet": {
        "sinks/lsl.py",  # monitoring, named and typed so
        "stream/playback/player.py",  # plays an amplifier
        "stream/tools/latency/sender.py",  # plays an amplifier for measurements
        "stream/bridge/to_lsl.py",  # Kafka to LSL, a process of its own without a pipeline
        "sinks/stimulator/devices/lsl.py",
        "sinks/stimulator/devices/simulator/output_level.py",
    },
    "Serial": {"sinks/stimulator/devices/serial_trigger.py"},
    "serial_for_url": set(),
    "create_connection": {
        "sinks/stimulator/devices/tcp.py",
        "stream/tools/dev_broker.py",
        "stream/wire/broker_probe.py",
    },
    "create_server": {"sinks/stimulator/devices/simulator/process.py"},
    "socketpair": {"sinks/stimulator/devices/simulated.py", "sinks/stimulator/devices/simulator/process.py"},
    "socket": {
        "sinks/stimulator/control.py",
        "sinks/stimulator/devices/simulator/process.py",
        "sinks/metrics/server.py",
        "stream/tools/dev_broker.py",
        "stream/tools/doctor/interfaces.py",
        "stream/tools/doctor/ports.py",
        "stream/tools/kafka_demo.py",
    },
}
"""Who may make what a device could listen to."""


@cache
def sources() -> tuple[tuple[str, ast.Module], ...]:
    paths = [path for room in ROOMS for path in sorted((CHECKOUT / room).rglob("*.py"))]
    paths += sorted((CHECKOUT / "neuroloop").glob("*.py"))  # the face
    return tuple((path.relative_to(CHECKOUT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))) for path in paths)


def imported(tree: ast.Module) -> set[str]:
    """Return all modules and names that a module imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def called(tree: ast.Module) -> set[str]:
    """Return the last names of all that a module calls."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Attribute):
                found.add(node.func.attr)
            elif isinstance(node.func, ast.Name):
                found.add(node.func.id)
    return found


NO_DEVICE = ("neuroloop.sinks.stimulator.devices.charge", "neuroloop.sinks.stimulator.devices.simulator.model")
"""Pure: what a device reckons, and how one behaves."""


def test_only_the_stimulator_process_opens_devices() -> None:
    users = {
        path
        for path, tree in sources()
        if not path.startswith(DEVICES)
        and any(
            name.startswith("neuroloop.sinks.stimulator.devices") and not name.startswith(NO_DEVICE)
            for name in imported(tree)
        )
    }
    assert "stream/live/stimulation/setup.py" in users
    assert users <= OPENERS


def test_only_the_supervisors_guard_starts_the_stimulator_process() -> None:
    users = {
        path
        for path, tree in sources()
        if imported(tree)
        & {"neuroloop.stream.live.stimulation.process", "neuroloop.stream.live.stimulation.process.run_stimulator"}
    }
    assert users == STARTERS


def test_outlets_serial_ports_and_sockets_are_made_where_they_are_known_to_be() -> None:
    for name, allowed in CONSTRUCTORS.items():
        makers = {path for path, tree in sources() if name in called(tree)}
        assert makers <= allowed, f"{name} is made in {sorted(makers - allowed)}"
        assert allowed <= makers, f"{name} is no longer made in {sorted(allowed - makers)}"


def test_the_hot_process_imports_nothing_of_the_gate_and_its_devices() -> None:
    tree = dict(sources())["stream/live/hot_process.py"]
    assert not any(name.startswith("neuroloop.sinks.stimulator") for name in imported(tree))
