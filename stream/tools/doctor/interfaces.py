"""Network interfaces, and whether multicast, by which LSL finds streams, goes out and comes back on each."""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from neuroloop.stream.tools.doctor.finding import Finding, Level

LSL_GROUP = "224.0.0.183"
"""The link-local group in which liblsl asks for streams."""
_GET_FLAGS, _GET_ADDRESS = 0x8913, 0x8915
_UP, _LOOPBACK, _MULTICAST = 0x1, 0x8, 0x1000


@dataclass(frozen=True)
class Interface:
    """One network interface that is up and has an IPv4 address."""

    name: str
    address: str
    is_loopback: bool
    allows_multicast: bool


def list_interfaces() -> list[Interface]:
    """Return the interfaces of this machine (Linux; none elsewhere)."""
    if sys.platform != "linux":
        return []
    import fcntl  # absent on Windows

    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                flags = struct.unpack("H", fcntl.ioctl(probe, _GET_FLAGS, request)[16:18])[0]
                address = socket.inet_ntoa(fcntl.ioctl(probe, _GET_ADDRESS, request)[20:24])
            except OSError:
                continue  # no IPv4 address
            if flags & _UP:
                found.append(Interface(name, address, bool(flags & _LOOPBACK), bool(flags & _MULTICAST)))
    return found


def try_multicast(interface: Interface, timeout_s: float = 0.3) -> str | None:
    """Send one packet to LSL's group, on a port that nobody else listens to, and wait for it.

    Returns
    -------
    str or None
        What failed; None if the packet came back.
    """
    token = os.urandom(16)
    group, local = socket.inet_aton(LSL_GROUP), socket.inet_aton(interface.address)
    try:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        ):
            receiver.bind(("", 0))
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group + local)
            receiver.settimeout(timeout_s)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, local)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            sender.sendto(token, (LSL_GROUP, receiver.getsockname()[1]))
            while receiver.recv(64) != token:
                pass
    except TimeoutError:
        return "a packet was sent and did not come back"
    except OSError as error:
        return error.strerror or str(error)
    return None


def judge_multicast(interfaces: Sequence[Interface], faults: Mapping[str, str | None]) -> list[Finding]:
    """Judge what came of `try_multicast` on each interface.

    Parameters
    ----------
    interfaces : sequence of Interface
    faults : mapping
        By interface name; None where the packet came back.
    """
    if not interfaces:
        cure = "bring an interface up; streams of this machine need the loopback at least"
        return [Finding("network", "warn", "no interface is up with an IPv4 address", cure)]
    findings = []
    for one in interfaces:
        fault = faults[one.name]
        where = f"{one.name} ({one.address})"
        if fault is None:
            findings.append(Finding("multicast", "ok", f"{where}: a packet to {LSL_GROUP} came back"))
        else:
            cure = (
                f"allow UDP to {LSL_GROUP} and ports 16571-16604 in the firewall, or list the senders' addresses"
                " under KnownPeers in lsl_api.cfg"
            )
            level: Level = "note" if one.is_loopback else "warn"
            findings.append(Finding("multicast", level, f"{where}: {fault}", cure))
    working = [one for one in interfaces if faults[one.name] is None]
    if not any(not one.is_loopback for one in working):
        what = "streams of other machines cannot be found" if working else "no stream can be found by multicast"
        cure = "fine where sender and pipeline share this machine; else connect a network or set KnownPeers"
        findings.append(Finding("network", "note" if working else "warn", what, cure))
    return findings


def examine_interfaces() -> list[Finding]:
    """Look at this machine's interfaces."""
    if sys.platform != "linux":
        cure = "try 'neuroloop streams' with a sender on the network"
        return [Finding("multicast", "note", f"not examined on {sys.platform}", cure)]
    interfaces = list_interfaces()
    return judge_multicast(interfaces, {one.name: try_multicast(one) for one in interfaces})
