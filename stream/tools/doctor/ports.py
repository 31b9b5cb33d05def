"""Ports: the one that metrics are served on, the ones that Lab Streaming Layer takes."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

from neuroloop.stream.tools.doctor.finding import Finding, Level

METRICS_PORT = 9108


def judge_metrics_port(port: int, fault: str | None) -> Finding:
    """Judge whether metrics can be served on a port."""
    if fault is None:
        return Finding("metrics port", "ok", f"{port} is free")
    cure = "another run may serve there already; choose another one: --metrics-port 0 takes any free port"
    return Finding("metrics port", "warn", f"{port} cannot be used: {fault}", cure)


def judge_lsl_ports(first: int, n_ports: int, taken: Sequence[int], *, may_leave_range: bool) -> Finding:
    """Judge how many of LSL's ports are free.

    Parameters
    ----------
    first, n_ports : int
        The range, as LSL's settings say.
    taken : sequence of int
        Ports of it that are in use.
    may_leave_range : bool
        Whether outlets take other ports when the range is used up.
    """
    n_free = n_ports - len(taken)
    found = f"{n_free} of {n_ports} free from {first} on"
    if n_free >= 8:
        return Finding("lsl ports", "ok", found)
    cure = "every outlet takes a port for itself: end programs that no longer stream, or raise PortRange in lsl_api.cfg"
    level: Level = "fail" if n_free == 0 and not may_leave_range else "warn"
    return Finding("lsl ports", level, found, cure)


def try_port(host: str, port: int, kind: socket.SocketKind = socket.SOCK_STREAM) -> str | None:
    """Bind a port for a moment; return what the system said where it refused."""
    try:
        with socket.socket(socket.AF_INET, kind) as probe:
            if kind == socket.SOCK_STREAM:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return "in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return None


def examine_ports(*, first: int, n_ports: int, may_leave_range: bool) -> list[Finding]:
    """Look at this machine's ports."""
    taken = [port for port in range(first, first + min(n_ports, 256)) if try_port("", port) is not None]
    return [
        judge_metrics_port(METRICS_PORT, try_port("127.0.0.1", METRICS_PORT)),
        judge_lsl_ports(first, min(n_ports, 256), taken, may_leave_range=may_leave_range),
    ]
