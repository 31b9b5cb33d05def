"""The page, from run folders good and bad."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroloop.config.plain_text import clean
from neuroloop.sinks.report.digest import EventDigest, extent
from neuroloop.sinks.report.page import make_page, write_page
from neuroloop.sinks.report.quality import measure_quality
from neuroloop.sinks.report.reading import ReportError, read_run
from neuroloop.sinks.report.signals import Signals, choose_events
from neuroloop.sinks.report.text import as_number, duration_text, number_text, si_text
from tests.sinks.report.runs import decisions, event, losses, start, write_run

VOID = {"meta", "link", "br", "img"}
SELF_CLOSED = re.compile(r"<(?:line|path|rect)[^>]*/>")


class Structure(HTMLParser):
    """Checks that every element is closed where it should be; collects the text and the scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def make_signals(n_samples: int = 5000, n_channels: int = 2) -> Signals:
    rng = np.random.default_rng(5)
    names = tuple(f"C{index}" for index in range(n_channels))
    data = rng.normal(0, 20, (n_samples, n_channels))
    return Signals("made", data, np.arange(n_samples), None, names, ("uV",) * n_channels, 250.0)


def page_of(folder: Path, signals: Signals | None = None, **options: object) -> str:
    return make_page(read_run(folder, EventDigest()), signals, **options)  # type: ignore[arg-type]


def test_a_whole_run_is_drawn_in_every_part(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [start(), *losses(), *decisions(200)])
    page = page_of(run, make_signals())
    seen = Structure(page)
    assert seen.tags.count("section") == 9
    for words in (
        "books balance",
        "1\u202f020 samples missing",
        "eyes closed",
        "seizure",
        "by hand",
        "the file says so",
    ):
        assert words in page
    for title in (
        "Losses and marks over time",
        "States and probabilities over time",
        "Latency by part",
        "Signals, whole",
    ):
        assert f"<title>{title}" in page
    assert "missing or broken" not in seen.text
    assert page.count("<svg ") >= 6


def test_each_picture_has_a_title_to_be_read_out(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", [start(), *losses(), *decisions(50)]), make_signals())
    pictures = re.findall(r"<svg (?!class=\"key\")[^>]*>(.{0,8})", page)
    assert len(pictures) >= 6
    assert all(inside.startswith("<title>") for inside in pictures)
    assert page.count('role="img" aria-label="') == len(pictures)


def test_nothing_is_loaded_from_anywhere(tmp_path: Path) -> None:
    page = page_of(write_run(tmp_path / "run", [start(), *decisions(50)]), make_signals())
    assert re.findall(r"https?://|src=|url\(|@import", page) == []
    assert "default-src 'none'" in page
    assert [value for name, value in Structure(page).attributes if name == "href"] == ["data:,"]


def test_the_page_does_not_grow_with_the_number_of_events(tmp_path: Path) -> None:
    few = page_of(write_run(tmp_path / "few", [start(), *losses(), *decisions(20_000)]))
    many = page_of(write_run(tmp_path / "many", [start(), *losses(), *decisions(40_000)]))
    assert len(many) < 1.1 * len(few)
    assert len(many) < 400_000


def test_many_channels_and_samples_stay_below_the_limit(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [start(300), *losses(), *decisions(500)])
    signals = make_signals(40_000, 300)
    page = page_of(run, signals)
    assert len(page.encode()) < 3_000_000
    assert "32 of 300 channels" in page


def test_hostile_names_are_only_text(tmp_path: Path) -> None:
    bad = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'\u202e\x00\ud800"
    begin = event("stream", 0, what="start", content=bad, sfreq=250.0, channels=[bad], units=[bad])
    rows = [event("prediction", 30, label=bad, confidence=1, probabilities=[1.0], valid=True),
            event("state", 30, state=bad, previous=None, confidence=1), event(bad, 40, what=bad),
            event("marker", 50, label=bad, marker_stream=bad, marker_time=1.0)]  # fmt: skip
    run = write_run(tmp_path / "run", [begin, *rows], notes=[bad], ended=bad, states={bad: 1.0})
    (run / "config.yaml").write_text(f"name: {bad[:50]}\n", encoding="utf-8")
    (run / "latency.json").write_text(json.dumps({"rows": {bad: {"p50_us": 1}}, "machine": {bad: bad}}))
    (run / "provenance.json").write_text(json.dumps({"x_sha256": bad, "versions": {bad: bad}}))
    signals = Signals(bad, np.zeros((100, 1)), np.arange(100), None, (bad,), (bad,), 250.0)
    page = page_of(run, signals)
    seen = Structure(page)
    assert seen.tags.count("script") == 1
    assert "img" not in seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert "\u202e" not in page
    assert "\x00" not in page
    write_page(page, tmp_path / "page.html")
    assert "alert(1)" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_run_without_decisions_says_so(tmp_path: Path) -> None:
    text = Structure(page_of(write_run(tmp_path / "run", [start()]))).text
    assert "This run made no decisions." in text
    assert "no signals.xdf" in text


def test_a_run_without_any_event_is_drawn(tmp_path: Path) -> None:
    text = Structure(page_of(write_run(tmp_path / "run", []))).text
    assert "There are no events." in text


@pytest.mark.parametrize("name", ["config.yaml", "events.jsonl", "latency.json", "provenance.json", "summary.json"])
def test_a_missing_file_is_said_and_the_rest_is_drawn(tmp_path: Path, name: str) -> None:
    run = write_run(tmp_path / "run", [start(), *losses(), *decisions(50)])
    (run / name).unlink()
    text = Structure(page_of(run, make_signals())).text
    assert f"{name} is missing" in text
    assert "1 warning" in text


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", "null", '"x"', "{" * 5000, '{"a":' * 5000, "\x00\xff"])
@pytest.mark.parametrize("name", ["latency.json", "provenance.json", "summary.json"])
def test_a_broken_file_is_said_and_the_rest_is_drawn(tmp_path: Path, name: str, content: str) -> None:
    run = write_run(tmp_path / "run", [start(), *decisions(5)])
    (run / name).write_text(content, encoding="latin-1")
    found = read_run(run, EventDigest())
    assert [fault for fault in found.faults if fault.startswith(name)]
    Structure(make_page(found))


@pytest.mark.parametrize(
    "summary",
    [
        {"stream": {"sfreq": "fast"}, "samples": [], "quality": 7, "states": ["rest"], "notes": {"a": 1}},
        {"stream": {"sfreq": -1, "name": 5}, "samples": {"missing": {"filled": "x"}, "processed": 10**400}},
        {"samples": {"processed": 1e300}, "rings": {"samples_lost": True}, "ended": 4, "outlet_errors": "many"},
        {"quality": {"channels": [{"name": "C0", "nan": 3}, 5]}, "states": {"rest": "long"}},
        {"quality": {"channels": {"C0": {"nan": 3}, "C1": 4}}},
    ],
)
def test_a_summary_of_other_shapes_is_survived(tmp_path: Path, summary: dict[str, Any]) -> None:
    Structure(page_of(write_run(tmp_path / "run", [start(), *decisions(5)], **summary), make_signals()))


def test_broken_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [start(), *decisions(10)])
    bad = ["{", "[]", '{"type":"gap"}', '{"type":"gap","sample":-1}', '{"type":"gap","sample":1e3}', "[" * 9000]
    good = json.dumps({**event("gap", 5, missing=10**30, first_missing="x", filled=None), "id": ["no", "text"]})
    odd = json.dumps(event("prediction", 6, label=None, probabilities=[None, "x", 1e400], valid=3))
    with (run / "events.jsonl").open("a") as file:
        file.write("\n".join([*bad, good, odd, "x" * (3 << 20), good, '{"cut']))
    found = read_run(run, EventDigest())
    assert found.events is not None
    assert found.events.counts["gap"] == 2
    (fault,) = found.faults
    assert re.match(r"events.jsonl: 8 of \d+ lines are no events and were left out \(line \d+, ", fault)
    Structure(make_page(found))


def test_what_is_no_run_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="run must be the folder of a run"):
        read_run(tmp_path / "none", EventDigest())
    with pytest.raises(ReportError, match="run must be a folder with"):
        read_run(tmp_path, EventDigest())


def test_a_page_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="out must be a file that can be written"):
        write_page("x", tmp_path / "no" / "page.html")


def test_signals_are_shown_around_what_was_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [start(), *losses(), *decisions(200)])
    digest = EventDigest(["amp/gap/700/0"])
    read_run(run, digest)
    assert [one["id"] for one in choose_events(digest, ["amp/gap/700/0"])] == ["amp/gap/700/0"]
    assert {one["type"] for one in choose_events(digest, ["marker"])} == {"marker"}
    kinds = [one["type"] for one in choose_events(digest, ())]
    assert len(kinds) == 6
    assert {"gap", "artifact", "state"} <= set(kinds)
    assert choose_events(digest, ["nothing such"]) == []


def test_changes_between_known_states_are_shown_first_each_pair_once() -> None:
    digest = EventDigest()
    names = [None, "unknown", "rest", "unknown", "rest", "seizure", "rest", "seizure", "rest"]
    for k, (before, after) in enumerate(pairwise(names)):
        digest.add(event("state", 100 * k, k, state=after, previous=before, confidence=1.0))
    chosen = choose_events(digest, (), most=2)
    assert [(one["previous"], one["state"]) for one in chosen] == [("rest", "seizure"), ("seizure", "rest")]


def test_the_line_of_an_event_stands_at_its_sample(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [start(), event("marker", 2500, label="now", marker_stream="", marker_time=10.0)])
    signals = make_signals()
    signals.data[2500, 0] = 500.0
    page = page_of(run, signals)
    panel = page[page.index("marker now at 10 s") :]
    at = re.search(r'<line x1="([\d.]+)"[^>]*class="event"', panel)
    assert at is not None
    assert float(at[1]) == pytest.approx((60 + 466) / 2, abs=0.1)


def test_an_event_says_which_samples_it_is_about() -> None:
    assert extent({"first_sample": 10}, 20) == (10, 21)
    assert extent({"first_skipped": 10, "skipped": 5}, 20) == (10, 15)
    assert extent({"skipped": 5}, 20) == (15, 20)
    assert extent({"first_sample": 10, "last_sample": 12}, 20) == (10, 13)
    assert extent({"first_sample": -3, "n_samples": "x"}, 20) == (20, 20)


def test_quality_is_measured_and_what_is_odd_is_said() -> None:
    rng = np.random.default_rng(7)
    t = np.arange(5000) / 250
    data = rng.normal(0, 10, (5000, 7))
    data[:, 1] = 3.0
    data[:, 2] += 200 * np.sin(2 * np.pi * 50 * t)
    data[1000:1600, 3] = data[1000, 3]
    data[:, 4] = np.clip(data[:, 4], -12, 12)
    data[:1000, 5] = np.nan
    names = ("good", "flat", "hum", "part", "clipped", "lost", "good2")
    rows = measure_quality(Signals("made", data, np.arange(5000), None, names, ("uV",) * 7, 250.0))
    said = {row["channel"]: row["verdict"] for row in rows}
    assert said["good"] == said["good2"] == ""
    assert said["flat"] == "flat"
    assert "mains hum" in said["hum"]
    assert said["part"] == "flat in part"
    assert said["clipped"] == "clipped"
    assert said["lost"] == "losses"
    assert rows[0]["std"] == pytest.approx(10, rel=0.05)
    assert rows[5]["lost"] == pytest.approx(0.2)


def test_a_class_that_never_won_has_the_name_that_the_plan_knows(tmp_path: Path) -> None:
    row = event("prediction", 25, label="rest", confidence=0.8, probabilities=[0.8, 0.1, 0.1], valid=True)
    run = write_run(tmp_path / "run", [start(), row])
    (run / "provenance.json").write_text(json.dumps({"plan": {"classes": ["rest", "alpha", "seizure"]}}))
    page = page_of(run)
    assert "seizure" in page
    assert "class 2" not in page
    (run / "provenance.json").write_text(json.dumps({"plan": {"classes": ["rest", 3, "seizure"]}}))
    assert "class 2" in page_of(run)


def test_texts_for_a_reader() -> None:
    assert (number_text(12345.0), number_text(None), number_text(0.25)) == ("12\u202f345", "-", "0.25")
    assert (duration_text(3.5), duration_text(3700.0)) == ("3.5 s", "1:01:40 (3700.0 s)")
    assert (si_text(12.3), si_text(4500.0), si_text(2e6)) == ("12.3 µs", "4.5 ms", "2 s")
    assert (as_number(True), as_number("1"), as_number(float("nan")), as_number(10**400)) == (None,) * 4
    assert clean("a\x1b[31m\u202eb") == "a\ufffd[31m\ufffdb"
    assert clean("x" * 500, 10) == "x" * 10 + " …"
