"""``summary.json`` of a live run, from the shared counters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.contracts.events import Event
from neuroloop.stream.engine.tally import Tally
from neuroloop.stream.live.shared_state import COUNTED, COUNTS, QUALITY, Shared


def summarise_live(
    shared: Shared,
    info: StreamInfo,
    tally: Tally,
    *,
    quality: Mapping[str, Any],
    rings: Mapping[str, int],
    accuracy: Mapping[str, Any] | None,
    left_out: Mapping[str, list[str]],
    plan_sha256: str,
) -> dict[str, Any]:
    """Return what came in, what became of it, and what was decided.

    Parameters
    ----------
    shared : Shared
    info : StreamInfo
    tally : Tally
        Of all events of the run.
    quality : mapping
        What `neuroloop.stream.quality.quality.QualityMeter.report` returned.
    rings : mapping
        What was overwritten before it was read.
    accuracy : mapping, optional
        Report of the online accuracy, where there is one.
    left_out : mapping
        What stages do not do for this stream, as the plan says.
    plan_sha256 : str
    """
    numbers = {name: int(shared.numbers(name)[0]) for name in COUNTS}
    rate = float(shared.numbers("decision_rate")[0])
    counted = {name: numbers[name] for name in COUNTED}
    return {
        "stream": {
            "name": info.name,
            "type": info.type,
            "sfreq": info.sfreq,
            "effective_sfreq": float(shared.numbers("effective_sfreq")[0]),
            "n_channels": info.n_channels,
        },
        "samples": {
            "in": numbers["received"],
            "processed": numbers["processed"],
            "counted": counted,
            "balanced": numbers["received"] == numbers["processed"] + sum(counted.values()),
            "missing": {"filled": numbers["filled"], "jumped": numbers["jumped"]},
        },
        "quality": {**{name: numbers[name] for name in QUALITY}, **quality},
        "rings": dict(rings),
        "events_unwritten": int(shared.numbers("events_unwritten")[0]),
        "markers": {
            "cut": int(shared.numbers("markers_cut")[0]),
            "errors": int(shared.numbers("marker_errors")[0]),
        },
        "outlet_errors": int(shared.numbers("outlet_errors")[0]),
        "events": dict(sorted(tally.events.items())),
        "predictions": dict(sorted(tally.predictions.items())),
        "states": tally.state_seconds(1.0 / rate if rate else 0.0),
        **({"accuracy": accuracy} if accuracy is not None else {}),
        "left_out": left_out,
        "plan_sha256": plan_sha256,
        "ended": "finished" if int(shared.numbers("finished")[0]) else "the hot process died",
        "elapsed_s": shared.elapsed_s(),
    }


def tally_of(events_file: Path) -> Tally:
    """Count the events of a whole file, where an earlier process has written some of them."""
    tally = Tally()
    with events_file.open("rb") as file:
        for line in file:
            values = json.loads(line)
            tally.add([Event(values["type"], values["stream"], values["sample"], 0, 0.0, 0.0, values)])
    return tally
