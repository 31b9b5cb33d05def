"""``neuroloop blinding``: keys and sealed lists, for the third party of a blinded study."""

from __future__ import annotations

import argparse
import secrets
from pathlib import Path

from neuroloop.sinks.stimulator.blinding import (
    DELIVERY_KEY_FILE,
    LIST_FILE,
    THIRD_PARTY_KEY_FILE,
    BlindingError,
    draw_arms,
    make_list,
    open_list,
)
from neuroloop.sinks.stimulator.sealing import PrivateKey, read_private


def run_blinding(options: argparse.Namespace) -> int:
    """Make keys or a list, or show one."""
    if options.verb == "keys":
        options.folder.mkdir(parents=True, exist_ok=True)
        path = options.folder / THIRD_PARTY_KEY_FILE
        PrivateKey.make().write(path, "third party's key: opens every list and run that was sealed for it")
        print(f"{path}: keep it, and a copy of it, away from the rig")
        return 0
    key = read_private(options.key)
    if options.verb == "show":
        for (subject, visit), (arm, _) in open_list(_bytes(options.list_file), key).items():
            print(f"{subject}\t{visit}\t{arm}")
        return 0
    seed = options.seed if options.seed is not None else secrets.token_hex(16)
    subjects, visits = _subjects(options.subjects), [one.strip() for one in options.visits.split(",")]
    arms = draw_arms(subjects, visits, blocks=_blocks(options.blocks), seed=seed)
    make_list(options.out, key, arms, seed=seed)
    print(f"{len(arms)} assignments: {options.out / LIST_FILE} and {options.out / DELIVERY_KEY_FILE}")
    return 0


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BlindingError(f"file must be readable, got {str(path)!r}: {error.strerror}") from error


def _subjects(path: Path) -> dict[str, str]:
    """Read a subject and a stratum from each line."""
    found: dict[str, str] = {}
    for line in _bytes(path).decode("utf-8", "replace").splitlines():
        subject, _, stratum = (part.strip() for part in line.partition(","))
        if not subject or subject.startswith("#"):
            continue
        if subject in found:
            raise BlindingError(f"subject must be there once in {str(path)!r}, got {subject!r} again")
        found[subject] = stratum
    return found


def _blocks(text: str) -> list[int]:
    try:
        return [int(one) for one in text.split(",")]
    except ValueError as error:
        raise BlindingError(f"blocks must be whole numbers, got {text!r}") from error
