"""Sealed lists: balanced, the same for a subject and visit however often, and nothing to read without a key."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest

from neuroloop.config.stimulation import BlindingSettings
from neuroloop.sinks.stimulator.blinding import (
    DELIVERY_KEY_FILE,
    LIST_FILE,
    BlindingError,
    commit,
    draw_arms,
    entry_of,
    make_list,
    open_list,
    take_assignment,
)
from neuroloop.sinks.stimulator.sealing import BoxKey, PrivateKey, SealError, read_private, seal
from neuroloop.stream.cli.main import main

SUBJECTS = {f"s{number:02d}": "young" if number % 3 else "old" for number in range(24)}
VISITS = ["v1", "v2"]


def sealed_list(folder: Path, seed: str = "a seed") -> PrivateKey:
    """Write a list and return the third party's key."""
    key = PrivateKey.make()
    make_list(folder, key, draw_arms(SUBJECTS, VISITS, seed=seed), seed=seed)
    return key


def settings(folder: Path, visit: str = "v1") -> BlindingSettings:
    return BlindingSettings(list_file=str(folder / LIST_FILE), key_file=str(folder / DELIVERY_KEY_FILE), visit=visit)


@pytest.mark.parametrize("seed", ["one", "two", "three"])
def test_arms_are_balanced_in_every_stratum_and_visit(seed: str) -> None:
    arms = draw_arms(SUBJECTS, VISITS, blocks=(2, 4), seed=seed)
    for stratum, visit in itertools.product(("young", "old"), VISITS):
        dealt = [arms[name, visit] for name, of in SUBJECTS.items() if of == stratum]
        so_far = [sum(1 if arm == "real" else -1 for arm in dealt[:n]) for n in range(len(dealt) + 1)]
        assert max(map(abs, so_far)) <= 2
        assert abs(so_far[-1]) <= 2


def test_the_seed_and_nothing_else_makes_the_arms() -> None:
    first = draw_arms(SUBJECTS, VISITS, seed="x")
    assert first == draw_arms(SUBJECTS, VISITS, seed="x")
    others = Counter(draw_arms({"a": "", "b": ""}, ["v"], seed=str(n))["a", "v"] for n in range(400))
    assert 150 < others["real"] < 250
    assert first != draw_arms(SUBJECTS, VISITS, seed="y")


@pytest.mark.parametrize(
    ("subjects", "visits", "blocks", "fault"),
    [
        ({}, ["v"], (4,), r"subject must be names .*, got \[\]"),
        ({"a b": ""}, ["v"], (4,), r"subject must be names .*, got \['a b'\]"),
        ({"a": ""}, ["v", "v"], (4,), r"visit must be names .*, each once, got"),
        ({"a": ""}, ["v"], (3,), r"blocks must be even and at least 2, got \[3\]"),
        ({"a": ""}, ["v"], (), r"blocks must be even and at least 2, got \[\]"),
    ],
)
def test_a_list_that_cannot_be_made_is_refused(
    subjects: dict[str, str], visits: list[str], blocks: tuple[int, ...], fault: str
) -> None:
    with pytest.raises(BlindingError, match=fault):
        draw_arms(subjects, visits, blocks=blocks, seed="s")


def test_a_run_takes_the_arm_that_the_third_party_dealt(tmp_path: Path) -> None:
    key = sealed_list(tmp_path)
    dealt = open_list((tmp_path / LIST_FILE).read_bytes(), key)
    for subject in list(SUBJECTS)[:6]:
        found = take_assignment(settings(tmp_path, "v2"), subject, memory=tmp_path / "memory")
        assert (found.arm, found.salt) == dealt[subject, "v2"]
        shown = entry_of(found.list_text, subject, "v2")
        assert shown is not None
        assert shown["commitment"] == commit(subject, "v2", *dealt[subject, "v2"]) == found.commitment


def test_the_list_shows_nothing_of_the_arms(tmp_path: Path) -> None:
    key = sealed_list(tmp_path)
    text = (tmp_path / LIST_FILE).read_text()
    assert "real" not in text
    assert "sham" not in text
    entries = json.loads(text)["entries"]
    assert len({len(json.dumps(one)) for one in entries}) == 1
    assert [(one["subject"], one["visit"]) for one in entries] == list(open_list(text.encode(), key))
    for name in (DELIVERY_KEY_FILE, LIST_FILE):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600


def test_a_run_that_is_begun_anew_has_the_same_arm_and_another_list_does_not_change_it(tmp_path: Path) -> None:
    first, second, memory = tmp_path / "first", tmp_path / "second", tmp_path / "memory"
    sealed_list(first)
    sealed_list(second)
    arm = take_assignment(settings(first), "s03", memory=memory).arm
    for _ in range(5):
        assert take_assignment(settings(first), "s03", memory=memory).arm == arm
    with pytest.raises(BlindingError, match=r"assignment must be the one that was taken first for s03 and v1 .*, got"):
        take_assignment(settings(second), "s03", memory=memory)
    take_assignment(settings(second), "s04", memory=memory)
    assert arm not in "".join(path.read_text() for path in memory.iterdir())


def test_a_list_or_key_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    key, other = sealed_list(tmp_path / "a"), sealed_list(tmp_path / "b")
    memory = tmp_path / "memory"
    with pytest.raises(BlindingError, match=r"blinding must be given for mode 'blinded', got nothing"):
        take_assignment(None, "s03", memory=memory)
    with pytest.raises(BlindingError, match=r"list_file must have subject 'nobody' and visit 'v1', got .* without"):
        take_assignment(settings(tmp_path / "a"), "nobody", memory=memory)
    with pytest.raises(BlindingError, match=r"list_file must be readable, got .*: No such file"):
        take_assignment(settings(tmp_path / "c"), "s03", memory=memory)
    mixed = BlindingSettings(
        list_file=str(tmp_path / "a" / LIST_FILE), key_file=str(tmp_path / "b" / DELIVERY_KEY_FILE), visit="v1"
    )
    with pytest.raises(SealError, match=r"box must be .* s03 v1', sealed for this key and unchanged, got another"):
        take_assignment(mixed, "s03", memory=memory)
    text = (tmp_path / "a" / LIST_FILE).read_bytes()
    with pytest.raises(BlindingError, match="list must be the one that was made with this key, unchanged, got another"):
        open_list(text, other)
    with pytest.raises(BlindingError, match="list must be the one that was made with this key, unchanged, got another"):
        open_list(text.replace(b'"s03"', b'"s30"', 1), key)
    with pytest.raises(BlindingError, match=r"list must be one that 'neuroloop blinding list' made, got b'{}'"):
        open_list(b"{}", key)
    (tmp_path / "a" / DELIVERY_KEY_FILE).chmod(0o644)
    with pytest.raises(SealError, match=r"key must be for its owner only \(chmod 600\), got .* with mode 644"):
        take_assignment(settings(tmp_path / "a"), "s03", memory=memory)


def test_an_entry_that_was_moved_to_another_subject_is_refused(tmp_path: Path) -> None:
    sealed_list(tmp_path)
    path = tmp_path / LIST_FILE
    values = json.loads(path.read_text())
    one, two = values["entries"][0], values["entries"][1]
    one["box"], two["box"] = two["box"], one["box"]
    path.write_text(json.dumps(values))
    with pytest.raises(SealError, match="sealed for this key and unchanged, got another"):
        take_assignment(settings(tmp_path, one["visit"]), one["subject"], memory=tmp_path / "memory")


def test_what_is_sealed_is_opened_by_its_key_alone(tmp_path: Path) -> None:
    key = PrivateKey.make()
    box = seal(b"text", key.public, "a thing")
    assert key.open(box, "a thing") == b"text"
    for wrong, what in ((PrivateKey.make(), "a thing"), (key, "another")):
        with pytest.raises(SealError, match="sealed for this key and unchanged, got another"):
            wrong.open(box, what)
    with pytest.raises(SealError, match="public key must be 64 hex digits, got 'none'"):
        seal(b"text", "none", "a thing")
    boxes = BoxKey(b"k" * 32)
    with pytest.raises(SealError, match="box 4 must be sealed by its run and unchanged, got another"):
        boxes.open(4, boxes.seal(3, b"text"))
    with pytest.raises(SealError, match="key must be a readable file, got"):
        read_private(tmp_path / "none")
    (tmp_path / "some").write_text("{}")
    (tmp_path / "some").chmod(0o600)
    with pytest.raises(SealError, match="key must be a file that 'neuroloop blinding' made, got"):
        read_private(tmp_path / "some")


def test_a_third_party_makes_a_list_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subjects, key = tmp_path / "subjects.csv", tmp_path / "office" / "third-party.key"
    subjects.write_text("# subject,stratum\ns01,a\ns02,a\ns03,b\n\ns04,b\n")
    assert main(["blinding", "keys", str(tmp_path / "office")]) == 0
    made = ["blinding", "list", "--key", str(key), "--subjects", str(subjects), "--visits", "v1,v2", "--blocks", "2"]
    assert main([*made, "--out", str(tmp_path / "rig")]) == 0
    said = capsys.readouterr().out
    assert "8 assignments" in said
    assert "real" not in said
    assert main(["blinding", "show", str(tmp_path / "rig" / LIST_FILE), "--key", str(key)]) == 0
    shown = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert Counter(arm for _, _, arm in shown) == {"real": 4, "sham": 4}
    assert main([*made, "--out", str(tmp_path / "rig")]) == 1
    assert "file must be a new one that can be made" in capsys.readouterr().err
    subjects.write_text("s01\ns01\n")
    assert main([*made, "--out", str(tmp_path / "again")]) == 1
    assert "subject must be there once" in capsys.readouterr().err
