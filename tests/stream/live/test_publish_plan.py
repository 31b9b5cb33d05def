"""What `neuroloop check` says about publishing, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from neuroloop.config.errors import ConfigError
from neuroloop.config.kafka import KafkaSettings
from neuroloop.config.loading import load_config
from neuroloop.stream.cli.main import main
from neuroloop.stream.contracts.chunks import StreamInfo, make_chunk
from neuroloop.stream.live.publish_plan import publish_plan, publish_plan_lines
from neuroloop.stream.wire.frames import encode_frame, frames_of_chunk


def info_of(n_channels: int, sfreq: float = 1000.0) -> StreamInfo:
    names = tuple(f"c{index}" for index in range(n_channels))
    return StreamInfo("cap", "EEG", "amp-1", sfreq, names, ("EEG",) * n_channels, ("uV",) * n_channels)


def settings(**options: Any) -> KafkaSettings:
    return KafkaSettings(bootstrap="h1:9092,h2:9093", publish=("states", "samples"), **options)


def test_frames_are_never_larger_than_said() -> None:
    info = info_of(64)
    plan = publish_plan(settings(), info)["samples"]
    rng = np.random.default_rng(1)
    chunk = make_chunk(rng.standard_normal((100, 64)), np.sort(rng.random(100)), 2**40, rng.random(100) > 0.5, info)
    (frame,) = frames_of_chunk(chunk, stream="amp-1", session=2**41)
    assert 0 <= plan["frame_bytes"] - len(encode_frame(frame)) < 8
    assert (plan["rows_per_frame"], plan["frames_per_second"]) == (100, 10.0)


def test_the_plan_names_brokers_stream_and_topics() -> None:
    plan = publish_plan(settings(prefix="lab", overflow="drop_newest"), info_of(2))
    assert publish_plan_lines(plan)[0] == (
        "publishes to Kafka at h1:9092, h2:9093 as 'amp-1': lab.samples, lab.states, lab.streams; overflow: drop_newest"
    )
    assert publish_plan_lines(plan)[1].startswith("  samples: 100 rows a frame, at most ")
    assert publish_plan(settings(stream_id="x"), info_of(2), stream="y")["stream"] == "x"
    assert publish_plan(settings(), info_of(2), stream="y")["stream"] == "y"
    alone = publish_plan(KafkaSettings(bootstrap="h:1"), info_of(2))
    assert "samples" not in alone
    assert len(publish_plan_lines(alone)) == 1


def test_a_frame_that_is_too_long_is_cut_and_a_row_that_is_too_long_refused() -> None:
    plan = publish_plan(settings(max_message_bytes=20_000), info_of(64))["samples"]
    assert plan["rows_per_frame"] < 100
    assert plan["frame_bytes"] <= 20_000
    with pytest.raises(ConfigError, match="max_message_bytes must be room for one row of 300 channels, got 2000"):
        publish_plan(settings(max_message_bytes=2000), info_of(300))
    with pytest.raises(ConfigError, match=r"max_message_bytes must be room for the description of 1024 channels"):
        publish_plan(settings(max_message_bytes=2000), info_of(1024, 10.0))


def test_check_says_what_will_be_published(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--set", "kafka.bootstrap=127.0.0.1:9092", "--set", "kafka.publish=[states]")
    assert main(["check", "demo", *options]) == 0
    assert "publishes to Kafka at 127.0.0.1:9092 as 'neuroloop-simulator-" in capsys.readouterr().out


def test_check_refuses_what_is_larger_than_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "wide.yaml"
    path.write_text(
        "name: wide\nsource:\n  kind: simulator\n  simulator: {n_channels: 600}\n"
        "kafka:\n  bootstrap: 127.0.0.1:9092\n  publish: [samples]\n  max_message_bytes: 2000\n",
        encoding="utf-8",
    )
    assert main(["check", str(path)]) == 1
    fault = "wide.yaml:8: kafka.max_message_bytes must be room for one row of 600 channels, got 2000\n"
    assert capsys.readouterr().err.endswith(fault)


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ("recorder.enabled=true", r"recorder\.enabled must be false for a source of kind 'kafka'"),
        ("kafka.publish=[samples]", r"kafka\.publish must not name 'samples' for a source of kind 'kafka'"),
    ],
)
def test_what_would_go_in_circles_or_lose_flags_is_refused(option: str, fault: str) -> None:
    overrides = ["kafka.bootstrap=h:1", "source.kind=kafka", option]
    with pytest.raises(ConfigError, match=fault):
        load_config("monitor", overrides)
