"""What comes back: events of a type, tables, and what runs have written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import neuroloop as nl
from neuroloop.config.loading import dump_config
from neuroloop.sinks.run_folder.folder import RunFolder
from neuroloop.sinks.xdf.recorder import Recorder
from neuroloop.stream.contracts.chunks import make_chunk
from neuroloop.stream.contracts.events import canonical
from tests.face.test_pipeline import BANDS, noise
from tests.sinks.xdf.test_recorder import RUN, SETTINGS, TAP, record


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> nl.Run:
    """A replayed table of three channels, with a gap."""
    folder = tmp_path_factory.mktemp("face")
    stamps = np.delete(np.arange(1000) / 250, slice(400, 420))
    np.savez(
        folder / "lab.npz", data=noise(980), timestamps=stamps, channels=np.array(["C3", "C4", "Cz"]), sfreq=250.0,
        units=np.array(["uV"] * 3),
    )  # fmt: skip
    return nl.replay(folder / "lab.npz", "monitor", out=folder / "run", outputs=["bandpower", "input"])


def test_a_run_gives_back_its_events(run: nl.Run) -> None:
    lines = (run.path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [canonical(event) for event in run.events] == [canonical(json.loads(line)) for line in lines]
    assert run.of_type("gap")[0].values["missing"] == 20
    assert run.states == []


def test_a_run_gives_back_its_books_plan_and_configuration(run: nl.Run) -> None:
    again = nl.open_run(run.path)
    assert again.summary["samples"]["in"] == 980
    assert again.config.name == "monitor"
    assert [row["name"] for row in again.plan["stages"]] == ["filter", "reference", "bandpower"]


def test_a_run_gives_back_the_rows_that_it_kept(run: nl.Run) -> None:
    rows = run.signals("bandpower")
    assert rows.channels[:2] == ("C3:delta", "C3:theta")
    assert len(run.signals()) == 1000
    assert run.signals("input").valid.sum() == 980
    with pytest.raises(
        nl.RecordingError, match=r"^stage must be one whose rows the run kept \(bandpower, input\), got 'filter'$"
    ):
        run.signals("filter")


def test_a_recorded_run_gives_back_its_input_and_its_taps(tmp_path: Path) -> None:
    config = nl.load_config("monitor", ["name=pipe"])
    folder = RunFolder(tmp_path / "run", config_yaml=dump_config(config), provenance={})
    folder.close()
    recorder = Recorder(folder.path, RUN, SETTINGS)
    record(recorder, 0, 50)
    flags = np.array([True, False, True])
    recorder.add_tap_rows("power", make_chunk(np.arange(3.0)[:, None], 50 + np.arange(3.0), 7, flags, TAP))
    recorder.close()
    run = nl.open_run(folder.path)
    assert len(run.signals()) == 50
    power = run.signals("power")
    assert (power.data[:, 0].tolist(), power.valid.tolist()) == ([0, 1, 2], flags.tolist())
    assert power.samples.tolist() == [7, 8, 9]


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(nl.RecordingError, match=r"^path must be the folder of a run \(with events.jsonl\), got "):
        nl.open_run(tmp_path)
    with pytest.raises(nl.ConfigError, match=r"^config must be given for a recording that is no run folder, got "):
        nl.replay(tmp_path / "lab.npz", out=tmp_path / "run")


def test_tables_say_when_pandas_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with nl.open_pipeline(BANDS, sfreq=250, units="uV") as pipeline:
        result = pipeline.push(noise())
    for table in (result.outputs["power"].to_pandas, result.to_pandas):
        with pytest.raises(
            nl.NeuroloopError, match=r"^pandas must be installed for tables \(pip install .*, got none$"
        ):
            table()


def test_tables_have_rows_of_time_and_columns_of_names(run: nl.Run) -> None:
    pytest.importorskip("pandas")
    with nl.open_pipeline("monitor", sfreq=250, units="uV", channels=["C3", "C4"]) as pipeline:
        result = pipeline.push(noise(1000, 2), markers=[(0.5, "cue")])
    output = result.outputs["bandpower"]
    table = output.to_pandas()
    assert (table.index.name, list(table.columns[:2])) == ("time", ["C3:delta", "C3:theta"])
    np.testing.assert_array_equal(table.to_numpy(), output.data)
    np.testing.assert_array_equal(table.index.to_numpy(), output.timestamps)
    assert len(output.to_pandas(only_valid=True)) == output.valid.sum() < len(table)
    assert result.to_pandas("marker")["label"].tolist() == ["cue"]
    assert result.to_pandas("state").empty
    assert run.to_pandas("gap")["missing"].tolist() == [20]


def test_what_is_shown_in_a_notebook_is_one_short_line(run: nl.Run) -> None:
    assert repr(run.signals()) == "<Output input: 1000 rows x 3 channels, 250 Hz>"
    with nl.open_pipeline(BANDS, sfreq=250, units="uV", outputs=["power"]) as pipeline:
        assert repr(pipeline.push(noise(125))) == "<Result: 1 events, <Output power: 1 rows x 3 channels, 10 Hz>>"


def test_code_that_the_folder_of_a_run_names_is_not_imported(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    (tmp_path / "evil_stage.py").write_text(f"open({str(trace)!r}, 'w').close()\nclass Stage: ...\n", encoding="utf-8")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text("name: own\nstages: [{kind: 'evil_stage:Stage'}]\n", encoding="utf-8")
    (run / "events.jsonl").write_text("", encoding="utf-8")
    (run / "evil_stage.py").write_bytes((tmp_path / "evil_stage.py").read_bytes())
    with pytest.raises(
        nl.ConfigError,
        match=r"kind must be a known kind .*--allow-code or NEUROLOOP_ALLOW_CODE=1\), got 'evil_stage:Stage'",
    ):
        nl.replay(run, out=tmp_path / "again")
    assert nl.open_run(run).config.name == "own"
    assert not trace.exists()
