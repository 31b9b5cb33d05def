"""Configuration files: presets, overrides, and every fault at once with its place."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuroloop.config.errors import ConfigError
from neuroloop.config.loading import dump_config, load_config, parse, preset_names


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def faults_of(path: str, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    return list(caught.value.faults)


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_survives_being_written(name: str) -> None:
    config = load_config(name)
    assert parse(yaml.safe_load(dump_config(config))) == config


def test_presets_hold_what_the_readme_names() -> None:
    assert {"demo", "monitor", "seizure"} <= set(preset_names())


def test_all_faults_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "name: bad\n"
        "source:\n"
        "  kind: lsl\n"
        "  nmae: x\n"
        "stages:\n"
        "  - kind: filter\n"
        "    designs:\n"
        "      - {kind: bandpass, low_hz: 40, high_hz: 1}\n"
        "      - {kind: notch, freq_hz: -3}\n"
        "  - kind: bandpowr\n"
        "  - kind: bandpower\n"
        "    window_s: 1\n"
        "    bands: {alpha: [8, 13]}\n",
    )
    assert faults_of(path) == [
        f"{path}:4: source.nmae must be a known setting (did you mean 'name'?), got an unknown key",
        f"{path}:8: stages.0.designs.0.low_hz must be below high_hz=1.0, got 40.0",
        f"{path}:9: stages.0.designs.1.freq_hz must be greater than 0, got -3",
        f"{path}:10: stages.1.kind must be one of filter, reference, pick, window, bandpower, logvar, zscore, "
        "artifacts (did you mean 'bandpower'?), got 'bandpowr'",
        f"{path}:11: stages.2: exactly one of hop_s and hop_samples must be given",
    ]


def test_an_override_wins_and_is_named_when_it_is_wrong(tmp_path: Path) -> None:
    path = write(tmp_path, "name: some\nsource: {kind: lsl, gap_tolerance_s: 0.5}\n")
    assert load_config(path, ["source.gap_tolerance_s=0.1"]).source.gap_tolerance_s == 0.1
    assert faults_of(path, "source.gap_tolerance_s=-1") == [
        "--set source.gap_tolerance_s=-1: source.gap_tolerance_s must be greater than 0, got -1"
    ]


def test_another_kind_of_source_replaces_what_the_preset_says_of_its_own() -> None:
    source = load_config("demo", ["source.kind=lsl", "source.name=amp"]).source
    assert (source.kind, source.name) == ("lsl", "amp")
    assert faults_of("demo", "source.kind=lsl", "source.simulator.seed=1")


def test_an_override_reaches_into_lists() -> None:
    config = load_config("monitor", ["stages.2.hop_s=0.1"])
    assert config.stages[2].model_dump()["hop_s"] == 0.1


@pytest.mark.parametrize(
    ("override", "rule"),
    [
        ("source", "--set must be KEY=VALUE"),
        ("source..name=x", "--set must be KEY=VALUE"),
        ("stages.9.name=x", "must name an index below 3"),
        ("name.deeper=x", "must name a setting"),
        ("name=[", "must have a YAML value"),
        ("source.name=2026-02-30", "must have a YAML value"),
        ("source.name=" + "9" * 5000, "must have a YAML value"),
        ("source.name=" + "[" * 3000, "must be nested at most 32 deep, got more"),
        ("source.name=" + "x" * 70_000, "must have at most 65536 characters, got 70000"),
        ("source.name=*a", "must be without YAML aliases"),
        ("stages.².name=x", "must name an index below 3"),
        ("stages.99999999999999999999.name=x", "must name an index below 3"),
    ],
)
def test_a_wrong_override_is_refused(override: str, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule.replace("[", r"\[")):
        load_config("monitor", [override])


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("name: [1, 2", "file must be valid YAML"),
        ("- 1\n- 2\n", "file must be a mapping"),
        ("", "file must be a mapping"),
        ("name: a\nname: b\n", ":2: name must be given once"),
        ("name: !!python/object/apply:os.system [ls]\n", "file must be valid YAML"),
        ("a: &x [1]\nb: *x\n", "must be without YAML aliases"),
        ("name: \x00\n", "must be valid YAML"),
        ("source: {kind: lsl}\n", "name must be given, got nothing"),
        ("name: a\nsource: {kind: lsl, path: x.edf}\n", "path must be left out for kind 'lsl'"),
        ("name: a\nsource: {kind: recording}\n", "path must be given"),
        ("name: a\nsource: {gap_tolerance_s: .nan}\n", "must be"),
        ("name: a\nstages: [{kind: pick, name: input, channels: [C3]}]\n", "must be distinct and not 'input'"),
        ("name: a\ndecision: {threshold: 0.5}\n", "decision must be left out"),
        ("name: a\nsource: 3\n", "source must be a mapping of settings, got 3"),
        ("name: a\nstages: {a: 1}\n", "stages must be a list, got {'a': 1}"),
        (
            "name: a\nstages: [{kind: filter, designs: [{kind: notch, freq_hz: 5, when: sfreq > 1.2.3}]}]\n",
            "stages.0.designs.0.when must be valid",
        ),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, rule: str) -> None:
    path = write(tmp_path, text)
    faults = faults_of(path)
    assert len(faults) == 1
    assert rule in faults[0]


def test_a_file_that_is_not_there_names_the_presets() -> None:
    assert faults_of("no-such-preset") == [
        f"config must be a preset ({', '.join(preset_names())}) or the path of a YAML file, got 'no-such-preset'"
    ]


def test_a_preset_that_is_almost_named_is_suggested() -> None:
    assert faults_of("monitr")[0].endswith("or the path of a YAML file (did you mean 'monitor'?), got 'monitr'")


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("stages.2.hops=1", "stages.2.hops must be a known setting (did you mean 'hop_s'?), got an unknown key"),
        ("stages.0.designs.0.freq=1", "freq must be a known setting (did you mean 'freq_hz'?), got an unknown key"),
        ("sorce={}", "sorce must be a known setting (did you mean 'source'?), got an unknown key"),
        ("source.simulator={sedd: 1}", "sedd must be a known setting (did you mean 'seed'?), got an unknown key"),
        ("stages.0.cutoff=1", "stages.0.cutoff must be a known setting, got an unknown key"),
    ],
)
def test_an_unknown_key_names_the_nearest_of_its_place(override: str, said: str) -> None:
    assert faults_of("monitor", override)[0].endswith(said)


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"name: \xff\xfe")
    assert faults_of(str(path))[0].endswith("must be UTF-8 text, got byte 0xff")


def test_a_bundle_beside_the_file_is_found_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    path = write(tmp_path, "name: a\nclassifier: {bundle: mine}\n")
    classifier = load_config(path).classifier
    assert classifier is not None
    assert classifier.bundle == str(tmp_path / "mine")


def test_a_file_of_many_brackets_is_refused_at_once(tmp_path: Path) -> None:
    assert "must be nested at most 32 deep, got more" in faults_of(write(tmp_path, "a: " + "[" * 20_000))[0]


@pytest.mark.parametrize("value", ["1e308", "1e-320", "0xffffffffffff", "-1e13"])
def test_no_number_of_any_preset_may_be_of_a_size_that_no_quantity_has(value: str) -> None:
    """What is computed from it would overflow, never end, or ask for all memory."""

    def numbers(node: Any, at: tuple[str, ...] = ()) -> Iterator[str]:
        entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, one in entries:
            yield from numbers(one, (*at, str(key)))
        if isinstance(node, (int, float)) and not isinstance(node, bool) and at[-1] != "seed":
            yield ".".join(at)

    tried = 0
    for preset in preset_names():
        for path in numbers(json.loads(load_config(preset).model_dump_json())):
            tried += 1
            assert len(faults_of(preset, f"{path}={value}")) >= 1, f"{preset} {path}"
    assert tried > 200
