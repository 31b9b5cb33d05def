"""The parts of the page that are words and tables."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from neuroloop.config.plain_text import clean
from neuroloop.sinks.report.digest import EventDigest
from neuroloop.sinks.report.reading import RunFiles
from neuroloop.sinks.report.signals import Signals
from neuroloop.sinks.report.text import as_number, duration_text, escape, number_text
from neuroloop.sinks.report.timelines import Axis

_MOST_CONFIG = 60_000
_MOST_NAMES = 64


def inner(record: Mapping[str, Any] | None, *keys: str) -> Any:
    """Return what stands at a path of keys; None where anything on the way is missing or no object."""
    value: Any = record
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def section(anchor: str, title: str, *parts: str) -> str:
    """Return one part of the page."""
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>{"".join(parts)}</section>'


def missing(text: str) -> str:
    """Say what is not there."""
    return f'<p class="missing">{escape(text, 400)}</p>'


def facts_table(rows: Sequence[tuple[str, str]]) -> str:
    """Return names and values; the values are HTML already."""
    lines = "".join(f'<tr><th scope="row">{escape(name)}</th><td>{value}</td></tr>' for name, value in rows if value)
    return f'<table class="facts"><tbody>{lines}</tbody></table>'


def recorded_section(run: RunFiles, axis: Axis | None, signals: Signals | None) -> str:
    """Say what was recorded, with what."""
    start: Mapping[str, Any] = (run.events.start if run.events else None) or {}
    plan = inner(run.provenance, "plan", "stream")
    stream = {**(plan if isinstance(plan, dict) else {}), **(_dict(inner(run.summary, "stream")))}
    names = start.get("channels") or stream.get("channels")
    units = start.get("units") or stream.get("units")
    rate = as_number(stream.get("effective_sfreq"))
    rows = [
        ("stream", escape(stream.get("name") or start.get("stream") or "-")),
        ("type", escape(stream.get("type") or start.get("content") or "-")),
        ("rate", f"{number_text(as_number(stream.get('sfreq') or start.get('sfreq')))} Hz nominal"
         + (f", {number_text(rate, 7)} Hz by its stamps" if rate else "")),
        ("channels", _channels(names, units, stream.get("n_channels"))),
        ("duration", duration_text(axis.range[1]) if axis and axis.sfreq else "-"),
        ("began", escape(run.events.first_wall_time) if run.events and run.events.first_wall_time else ""),
        ("timing of stamps", escape(stream["timing"]) if stream.get("timing") else ""),
        ("signals shown", escape(signals.origin) if signals else "none at hand"),
    ]  # fmt: skip
    return section("recorded", "What was recorded", facts_table(rows), _provenance(run))


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _channels(names: Any, units: Any, count: Any) -> str:
    """Name the channels with their units."""
    if not isinstance(names, list):
        return number_text(as_number(count))
    shown = ", ".join(escape(name, 40) for name in names[:_MOST_NAMES]) + (", ..." if len(names) > _MOST_NAMES else "")
    text = f"{len(names)}: {shown}"
    if isinstance(units, list) and units:
        kinds = list(dict.fromkeys(clean(unit, 20) or "(none)" for unit in units))
        text += f"; unit{'s' if len(kinds) > 1 else ''} {escape(', '.join(kinds[:8]))}"
    return text


def _provenance(run: RunFiles) -> str:
    """Return hashes and versions, folded."""
    record = run.provenance
    if record is None:
        return missing("Hashes and versions are not known: provenance.json is missing or broken.")
    hashes = [(key.removesuffix("_sha256") + " hash", f"<code>{escape(value, 80)}</code>")
              for key, value in record.items() if str(key).endswith("_sha256") and value]  # fmt: skip
    versions = _dict(record.get("versions"))
    texts = [f"{escape(k, 40)} {escape(v, 40)}" for k, v in list(versions.items())[:40] if v is not None]
    rows = [
        *hashes[:12],
        ("versions", ", ".join(texts)),
        ("machine", escape(record["host"]) if "host" in record else ""),
    ]
    stages = inner(record, "plan", "stages")
    return (
        f"<details><summary>Hashes, versions, stages</summary>{facts_table(rows)}"
        f"{_stage_table(stages) if isinstance(stages, list) else ''}</details>"
    )


def _stage_table(stages: Sequence[Any]) -> str:
    """Return the plan's stages."""
    lines = []
    for stage in [one for one in stages if isinstance(one, dict)][:60]:
        delay = as_number(stage.get("delay_s"))
        cells = (
            escape(stage.get("name", ""), 60),
            escape(stage.get("kind", ""), 60),
            number_text(as_number(stage.get("sfreq"))),
            number_text(as_number(stage.get("n_channels"))),
            number_text(None if delay is None else delay * 1e3),
            number_text(as_number(stage.get("warmup_samples"))),
        )
        lines.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    head = "".join(f"<th>{name}</th>" for name in ("stage", "kind", "rows/s", "columns", "delay ms", "warm-up"))
    return f'<table class="numbers"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'


def books_table(summary: Mapping[str, Any] | None) -> str:
    """Return what became of every sample, and what else was counted."""
    if summary is None:
        return missing("The books are not known: summary.json is missing or broken.")
    rows = []
    for group in ("samples", "quality", "rings"):
        for name, value in _dict(summary.get(group)).items():
            if isinstance(value, dict) and name != "channels":
                rows += [(f"{clean(name, 40)}: {clean(key, 40)}", as_number(number)) for key, number in value.items()]
            elif as_number(value) is not None:
                rows.append((clean(name, 60), as_number(value)))
    errors = as_number(summary.get("outlet_errors"))
    rows += [("outlet errors", errors)] if errors is not None else []
    kept = [row for row in rows[:60] if row[1] is not None]
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{number_text(value)}</dd></div>" for name, value in kept)
    return f'<dl class="books">{items}</dl>'


def events_section(digest: EventDigest | None, axis: Axis | None) -> str:
    """List how many events of each type there are, the first and the last of each."""
    if digest is None:
        return section("events", "Events", missing("events.jsonl is missing."))
    if not digest.n:
        return section("events", "Events", missing("There are no events."))
    parts = [f"<p>{number_text(digest.n)} events.</p>"]
    for kind, n in sorted(digest.counts.items()):
        examples = digest.examples(kind)
        lines, n_first = [], len(digest.first[kind])
        for index, record in enumerate(examples):
            if index == n_first and n > len(examples):
                lines.append(f'<tr><td colspan="3" class="sub">{number_text(n - len(examples))} more</td></tr>')
            at = axis.text(record["sample"]) if axis else f"sample {record['sample']}"
            lines.append(
                f"<tr><td>{at}</td><td>{record['sample']}</td><td><code>{_own_numbers(record)}</code></td></tr>"
            )
        head = "<tr><th>time</th><th>sample</th><th>what</th></tr>"
        parts.append(
            f"<details><summary>{escape(kind, 40)}: {number_text(n)}</summary><div class='wide'>"
            f"<table><thead>{head}</thead><tbody>{''.join(lines)}</tbody></table></div></details>"
        )
    return section("events", "Events", *parts)


def _own_numbers(record: Mapping[str, Any]) -> str:
    """Return what an event says beyond its identity, as JSON."""
    hidden = ("id", "type", "stream", "sample", "delay_s")
    own = {key: value for key, value in record.items() if key not in hidden and value is not None}
    return escape(json.dumps(own, ensure_ascii=False), 400)


def settings_section(run: RunFiles) -> str:
    """Return the resolved configuration as it is."""
    if run.config is None:
        return section("settings", "Settings", missing("config.yaml is missing or broken."))
    text = escape(run.config, _MOST_CONFIG, keep_lines=True)
    machine = inner(run.latency, "machine")
    rows = [(clean(k, 40), escape(v)) for k, v in _dict(machine).items() if v is not None]
    for name in ("hot", "cold"):
        rows += [(f"{name}: {clean(k, 40)}", escape(v)) for k, v in _dict(inner(run.latency, name)).items()]
    return section(
        "settings",
        "Settings",
        facts_table(rows[:40]),
        f"<details><summary>config.yaml</summary><pre>{text}</pre></details>",
    )


def notes_section(run: RunFiles, extra: Sequence[str]) -> str:
    """List what is missing or broken, and what the run itself noted."""
    noted = inner(run.summary, "notes")
    notes = [clean(note, 400) for note in noted[:100]] if isinstance(noted, list) else []
    faults = "".join(f"<li>{escape(fault, 400)}</li>" for fault in [*run.faults, *extra])
    said = "".join(f"<li>{escape(note, 400)}</li>" for note in notes)
    parts = [f'<ul class="faults">{faults}</ul>' if faults else "", f"<ul>{said}</ul>" if said else ""]
    return section("notes", "Notes and warnings", *(parts if faults or said else [missing("None.")]))
