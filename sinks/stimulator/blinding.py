"""Who gets real and who sham: a list that a third party makes, sealed, by subject and visit.

The list holds for each subject and visit a commitment (a salted hash), and the arm in a box for the *delivery key*,
which the account that runs the stimulator holds; and all of it once more in a box for the third party, with the seed. A
run takes its arm without anybody reading it. The same subject and visit always have the same arm, however often a run
is begun anew; a note in the folder of the ledgers keeps another list from changing that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuroloop.config.stimulation import BlindingSettings
from neuroloop.sinks.stimulator.sealing import PrivateKey, SealError, read_private, seal, write_private
from neuroloop.sinks.stimulator.sham import Arm

LIST_FILE = "assignments.sealed"
"""In the third party's folder, and as a copy in the folder of every blinded run."""
DELIVERY_KEY_FILE = "delivery.key"
THIRD_PARTY_KEY_FILE = "third-party.key"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_KIND = "blinding list 1"


class BlindingError(SealError):
    """A list of assignments cannot be made, read or used as asked."""


@dataclass(frozen=True, slots=True, repr=False)
class Assignment:
    """What a blinded run gives.

    Parameters
    ----------
    subject, visit : str
    arm : {'real', 'sham'}
    salt : str
        Keeps the commitment from being guessed.
    third_party : str
        Public key for what the run itself seals.
    list_text : bytes
        The list it was taken from.
    """

    subject: str
    visit: str
    arm: Arm
    salt: str
    third_party: str
    list_text: bytes

    @property
    def commitment(self) -> str:
        """The salted hash that the list shows."""
        return commit(self.subject, self.visit, self.arm, self.salt)

    def setup(self) -> dict[str, str]:
        """Return what the log's first record says of it: nothing that tells the arm."""
        return {
            "subject": self.subject,
            "visit": self.visit,
            "commitment": self.commitment,
            "list_sha256": hashlib.sha256(self.list_text).hexdigest(),
            "third_party": self.third_party,
        }


def commit(subject: str, visit: str, arm: str, salt: str) -> str:
    """Return the salted hash of an assignment."""
    return hashlib.sha256(f"{salt}:{subject}:{visit}:{arm}".encode("utf-8", "backslashreplace")).hexdigest()


def draw_arms(
    subjects: Mapping[str, str], visits: Sequence[str], *, blocks: Sequence[int] = (4,), seed: str
) -> dict[tuple[str, str], Arm]:
    """Return an arm for each subject and visit: balanced in permuted blocks within each stratum and visit.

    Parameters
    ----------
    subjects : mapping
        Stratum of each, in the order in which they are expected.
    visits : sequence of str
    blocks : sequence of int
        Even lengths; which one a block has is drawn too, so that the end of a block is no certainty.
    seed : str
        Whoever knows it knows the list. The same gives the same.

    Raises
    ------
    BlindingError
        If there is nobody, a name is none, or a block cannot be balanced.
    """
    for what, names in (("subject", list(subjects)), ("visit", list(visits))):
        wrong = [name for name in names if not _NAME.fullmatch(name)]
        if wrong or not names or len(set(names)) < len(names):
            rule = "names of letters, digits, _ and -, beginning with a letter, each once"
            raise BlindingError(f"{what} must be {rule}, got {(wrong or names)!r}")
    if not blocks or any(length < 2 or length % 2 for length in blocks):
        raise BlindingError(f"blocks must be even and at least 2, got {list(blocks)!r}")

    def drawn(*what: object) -> bytes:
        return hmac.new(seed.encode(), repr(what).encode(), hashlib.sha256).digest()

    found: dict[tuple[str, str], Arm] = {}
    for visit in visits:
        for stratum in dict.fromkeys(subjects.values()):
            waiting = [name for name, of in subjects.items() if of == stratum]
            number = 0
            while waiting:
                where = (stratum, visit, number)
                length = blocks[int.from_bytes(drawn("length", *where), "big") % len(blocks)]
                arms: list[Arm] = ["real", "sham"] * (length // 2)
                order = sorted(range(length), key=lambda index: drawn("place", *where, index))
                for name, index in zip(waiting, order, strict=False):
                    found[name, visit] = arms[index]
                waiting, number = waiting[length:], number + 1
    return found


def make_list(folder: Path, key: PrivateKey, arms: Mapping[tuple[str, str], Arm], *, seed: str) -> None:
    """Write the sealed list and the delivery key that goes with it.

    Parameters
    ----------
    folder : Path
        Made where it is not there.
    key : PrivateKey
        The third party's.
    arms : mapping
        From `draw_arms`.
    seed : str
        Goes into the third party's box.

    Raises
    ------
    SealError
        If a file is there already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    delivery = PrivateKey.make()
    name, entries, opened = secrets.token_hex(16), [], []
    for (subject, visit), arm in arms.items():
        salt = secrets.token_hex(32)
        box = seal(f"{arm}:{salt}".encode(), delivery.public, f"{name} {subject} {visit}")
        entries.append(
            {"subject": subject, "visit": visit, "commitment": commit(subject, visit, arm, salt), "box": box}
        )
        opened.append({"subject": subject, "visit": visit, "arm": arm, "salt": salt})
    whole = json.dumps({"seed": seed, "arms": opened}).encode()
    public = {
        "kind": _KIND,
        "name": name,
        "third_party": key.public,
        "entries": entries,
        "box": seal(whole, key.public, f"{name} list"),
    }
    stamped = {**public, "stamp": key.stamp(_plain(public))}
    delivery.write(folder / DELIVERY_KEY_FILE, "delivery key: for the account that runs the stimulator")
    write_private(folder / LIST_FILE, json.dumps(stamped, indent=1).encode() + b"\n")


def open_list(text: bytes, key: PrivateKey) -> dict[tuple[str, str], tuple[Arm, str]]:
    """Return arm and salt of every subject and visit; for the third party.

    Raises
    ------
    SealError
        If the list was not made with this key, or was changed.
    """
    values = _read_list(text)
    public = {name: value for name, value in values.items() if name != "stamp"}
    if not hmac.compare_digest(key.stamp(_plain(public)), str(values.get("stamp"))):
        raise BlindingError("list must be the one that was made with this key, unchanged, got another")
    opened = json.loads(key.open(values["box"], f"{values['name']} list"))
    return {(one["subject"], one["visit"]): (one["arm"], one["salt"]) for one in opened["arms"]}


def entry_of(text: bytes, subject: str, visit: str) -> dict[str, str] | None:
    """Return what a list shows of a subject and visit, None where it has none."""
    return next(
        (one for one in _read_list(text)["entries"] if (one["subject"], one["visit"]) == (subject, visit)), None
    )


def take_assignment(settings: BlindingSettings | None, subject: str, *, memory: Path) -> Assignment:
    """Return the arm of a subject and visit, the same every time.

    Parameters
    ----------
    settings : BlindingSettings or None
    subject : str
    memory : Path
        Folder that keeps the commitment of every subject and visit that was ever taken.

    Raises
    ------
    SealError
        If the list has no such subject and visit, the key does not open it, or it was another before.
    """
    if settings is None:
        raise BlindingError("stimulation.blinding must be given for mode 'blinded', got nothing")
    path = Path(settings.list_file).expanduser()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise BlindingError(f"blinding.list_file must be readable, got {str(path)!r}: {error.strerror}") from error
    values, entry = _read_list(text), entry_of(text, subject, settings.visit)
    if entry is None:
        who = f"subject {subject!r} and visit {settings.visit!r}"
        raise BlindingError(f"blinding.list_file must have {who}, got {str(path)!r} without")
    key = read_private(Path(settings.key_file).expanduser())
    opened = key.open(entry["box"], f"{values['name']} {subject} {settings.visit}").decode()
    arm, _, salt = opened.partition(":")
    if arm not in ("real", "sham") or commit(subject, settings.visit, arm, salt) != entry["commitment"]:
        raise BlindingError("list must hold what it commits to, got an entry that does not")
    found = Assignment(subject, settings.visit, "real" if arm == "real" else "sham", salt, values["third_party"], text)
    _remember(found, memory)
    return found


def _remember(found: Assignment, memory: Path) -> None:
    """Keep the commitment of the first run of a subject and visit; refuse another."""
    memory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = memory / f"{found.subject}.{found.visit}.assignment"
    try:
        write_private(path, found.commitment.encode() + b"\n")
    except SealError:
        try:
            before = path.read_text(encoding="ascii").strip()
        except OSError as error:
            raise BlindingError(f"assignment must be kept in {str(path)!r}, got {error.strerror}") from error
        if before != found.commitment:
            rule = f"the one that was taken first for {found.subject} and {found.visit} ({path})"
            raise BlindingError(f"assignment must be {rule}, got another list") from None


def _read_list(text: bytes) -> dict[str, Any]:
    """Read the open part of a list."""
    try:
        values = json.loads(text)
        is_list = values["kind"] == _KIND and all(
            isinstance(one[key], str) for one in values["entries"] for key in ("subject", "visit", "commitment", "box")
        )
    except (ValueError, KeyError, TypeError):
        is_list = False
    if not is_list:
        raise BlindingError(f"list must be one that 'neuroloop blinding list' made, got {text[:40]!r}")
    return dict(values)


def _plain(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()
