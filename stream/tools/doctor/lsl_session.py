"""Which LSL settings are in force: the file, the session, how far streams are looked for."""

from __future__ import annotations

import configparser
import os
from dataclasses import dataclass
from pathlib import Path

from neuroloop.config.lsl_settings import lsl_settings_file
from neuroloop.stream.tools.doctor.finding import Finding

_SCOPES = ("machine", "link", "site", "organization", "global")
_DEFAULT_SESSION = "default"


@dataclass(frozen=True)
class LslSettings:
    """What a settings file says, liblsl's own defaults where it says nothing."""

    session_id: str = _DEFAULT_SESSION
    scope: str = "site"
    known_peers: tuple[str, ...] = ()
    base_port: int = 16572
    port_range: int = 32
    may_leave_range: bool = True


def parse_lsl_settings(text: str) -> LslSettings:
    """Read a settings file.

    Raises
    ------
    ValueError
        If it is no settings file, or a number in it is none.
    """
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=(";", "#"))
    try:
        parser.read_string(text)
    except configparser.Error as error:
        raise ValueError(f"settings must be sections of 'key = value', got {str(error).splitlines()[0]}") from error
    peers = parser.get("lab", "KnownPeers", fallback="").strip().strip("{}")
    known = LslSettings()
    return LslSettings(
        session_id=parser.get("lab", "SessionID", fallback=_DEFAULT_SESSION).strip() or _DEFAULT_SESSION,
        scope=parser.get("multicast", "ResolveScope", fallback=known.scope).strip(),
        known_peers=tuple(peer.strip() for peer in peers.split(",") if peer.strip()),
        base_port=parser.getint("ports", "BasePort", fallback=known.base_port),
        port_range=parser.getint("ports", "PortRange", fallback=known.port_range),
        may_leave_range=parser.getint("ports", "AllowRandomPorts", fallback=1) != 0,
    )


def judge_settings(file: Path | None, settings: LslSettings | str, named: str | None) -> list[Finding]:
    """Judge the settings in force.

    Parameters
    ----------
    file : Path, optional
        Where they come from; None for liblsl's defaults.
    settings : LslSettings or str
        Or why they cannot be read.
    named : str, optional
        What ``LSLAPICFG`` says.
    """
    findings = []
    if named and (file is None or file != Path(named).expanduser()):
        found = f"LSLAPICFG names {named!r}, which cannot be read; {'defaults' if file is None else file} in force"
        findings.append(Finding("lsl settings", "warn", found, "correct LSLAPICFG, or unset it"))
    elif isinstance(settings, str):
        cure = "correct the file: liblsl falls back to its defaults without a word"
        findings.append(Finding("lsl settings", "fail", f"{file}: {settings}", cure))
    else:
        findings.append(Finding("lsl settings", "ok", "liblsl's defaults (no file)" if file is None else str(file)))
    if isinstance(settings, str):
        return findings
    if settings.session_id == _DEFAULT_SESSION:
        findings.append(Finding("lsl session", "ok", f"{_DEFAULT_SESSION!r}, as every sender without settings"))
    else:
        cure = "senders need the same SessionID in their lsl_api.cfg; those of another session stay unseen"
        findings.append(Finding("lsl session", "note", repr(settings.session_id), cure))
    if settings.scope not in _SCOPES:
        cure = f"use one of {', '.join(_SCOPES)}"
        findings.append(Finding("lsl scope", "warn", f"ResolveScope is {settings.scope!r}", cure))
    elif settings.scope == "machine":
        peers = f", and at {', '.join(settings.known_peers)}" if settings.known_peers else ""
        cure = "fine where the sender runs here; else set ResolveScope = site or KnownPeers"
        findings.append(Finding("lsl scope", "note", f"streams are looked for on this machine only{peers}", cure))
    return findings


def settings_in_force() -> tuple[Path | None, LslSettings | str]:
    """Return the user's settings file and what it says."""
    found = lsl_settings_file()
    if found is None:
        return None, LslSettings()
    try:
        return found[0], parse_lsl_settings(found[1])
    except ValueError as error:
        return found[0], str(error)


def examine_lsl_settings() -> list[Finding]:
    """Look at the settings of LSL."""
    return judge_settings(*settings_in_force(), os.environ.get("LSLAPICFG"))
