"""A real Prometheus scrapes a real run: no panel of the dashboard is empty, and alerts fire when the sender dies."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from neuroloop.sinks.stimulator.control import ControlError, ask
from neuroloop.sinks.stimulator.token import hash_token
from tests.integration.live import CHECKOUT, PATIENCE_S, SHARING, Program, scrape, starting
from tests.integration.lsl import DEADLINE_S, wait_until

DEPLOY = CHECKOUT / "deploy"
PROMETHEUS = shutil.which("prometheus")
WINDOW = "15s"
TOKEN = "let me"
pytestmark = [
    pytest.mark.usefixtures("lsl_session"),
    pytest.mark.skipif(PROMETHEUS is None, reason="no prometheus here (apt-get install prometheus)"),
]


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A Prometheus over one target, with the project's rules at a quicker pace."""

    def __init__(self, folder: Path, target: int) -> None:
        self.port = free_port()
        rules = yaml.safe_load((DEPLOY / "rules" / "neuroloop.yml").read_text(encoding="utf-8"))
        for rule in rules["groups"][0]["rules"]:
            if "for" in rule:
                rule["for"] = "1s"
        config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text(encoding="utf-8"))
        config["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
        config["rule_files"] = ["rules.yml"]
        config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{target}"]
        for name, content in (("rules.yml", rules), ("prometheus.yml", config)):
            (folder / name).write_text(yaml.safe_dump(content), encoding="utf-8")
        self.log = folder / "prometheus.log"
        with self.log.open("w", encoding="utf-8") as file:
            self.process = subprocess.Popen(
                [str(PROMETHEUS), f"--config.file={folder / 'prometheus.yml'}",
                 f"--storage.tsdb.path={folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"],
                stdout=file, stderr=file,
            )  # fmt: skip

    def ask(self, path: str, **parameters: str) -> Any:
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}{query}", timeout=DEADLINE_S) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def firing(self) -> set[str]:
        return {one["labels"]["alertname"] for one in self.ask("alerts")["alerts"] if one["state"] == "firing"}

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")
        try:
            return bool(self.query('up{job="neuroloop"} == 1'))
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)


class Scene:
    """A sender, a run on it, and a Prometheus."""

    def __init__(self, sender: Program, run: Program, port: int, server: Server) -> None:
        self.sender = sender
        self.run = run
        self.port = port
        self.server = server

    def found(self, expression: str) -> list[dict[str, Any]]:
        """Wait until a query has an answer; a scrape may come too late on a busy machine."""
        answer: list[dict[str, Any]] = wait_until(lambda: self.server.query(expression), expression, PATIENCE_S)
        return answer

    def probe(self, path: str) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=DEADLINE_S) as answer:
                return answer.status, json.load(answer)
        except HTTPError as refused:
            return refused.code, json.load(refused)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory, lsl_session: str) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("prometheus")
    port = free_port()
    config = yaml.safe_load((DEPLOY / "neuroloop.yaml").read_text(encoding="utf-8"))
    config["source"] = {"kind": "lsl", "name": "watched"}
    config["markers"] = {"names": ["watched-markers"]}
    config["drift"][0] |= {"window_s": 1.0, "baseline": {"minutes": 0.05}}
    config["accuracy"]["wait_s"] = 0.2
    config["stimulation"] = yaml.safe_load((CHECKOUT / "config" / "stimulation.yaml").read_text())["stimulation"]
    config["stimulation"] |= {"ledger": str(folder / "ledger"), "operator": {"token_sha256": hash_token(TOKEN)}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    server = Server(folder, port)
    try:
        with starting(folder) as start:
            sender = start("play", "simulator", "--wait", "--restamp", "--name", "watched", "--set", "block_s=2")
            out = folder / "run"
            run = start("run", folder / "config.yaml", "--out", out, "--metrics-port", port, "--log", "json", *SHARING)
            run.says("metrics: http://127.0.0.1:")
            scene = Scene(sender, run, port, server)
            wait_until(server.is_up, "the target scraped", PATIENCE_S)
            wait_until(lambda: is_armed(out), "armed", PATIENCE_S)
            yield scene
    finally:
        server.stop()


def is_armed(run: Path) -> bool:
    """Ask to arm; the run may not be ready for it yet."""
    try:
        return bool(ask(run, {"verb": "arm", "token": TOKEN, "reason": "test"})["accepted"])
    except ControlError:
        return False


def panel_queries() -> list[tuple[str, str]]:
    board = json.loads((DEPLOY / "grafana" / "dashboards" / "neuroloop.json").read_text(encoding="utf-8"))
    return [
        (panel["title"], target["expr"].replace("$pipeline", ".+").replace("$__rate_interval", WINDOW))
        for panel in board["panels"]
        for target in panel.get("targets", [])
    ]


def test_every_query_of_every_panel_returns_numbers(scene: Scene) -> None:
    queries = panel_queries()
    assert len(queries) >= 30
    empty = dict.fromkeys(queries)

    def is_full() -> bool:
        for title, expression in list(empty):
            found = scene.server.query(expression)
            if found and all(one["value"][1] != "NaN" for one in found):
                del empty[title, expression]
        return not empty

    try:
        wait_until(is_full, "no panel empty", PATIENCE_S)
    except AssertionError:
        pytest.fail(f"still empty: {list(empty)}; {scene.run.err}")


def test_a_good_run_is_healthy_and_ready_and_raises_no_alarm(scene: Scene) -> None:
    critical = {"NeuroloopDown", "NeuroloopStreamDown", "NeuroloopSamplesStale", "NeuroloopHotProcessStalled"}

    def is_good() -> bool:
        (ready, fresh), (status, facts) = scene.probe("/readyz"), scene.probe("/healthz")
        return (
            (ready, status, facts["status"]) == (200, 200, "running")
            and 0 <= facts["heartbeat_age_s"] < 1
            and fresh["newest_sample_age_s"] < 2
            and not critical & scene.server.firing()
        )

    wait_until(is_good, "healthy and ready, no alarm", PATIENCE_S)


def test_the_projects_rules_are_all_loaded_and_evaluated_without_error(scene: Scene) -> None:
    def rules() -> list[dict[str, Any]] | None:
        found: list[dict[str, Any]] = scene.server.ask("rules")["groups"][0]["rules"]
        return found if all(rule["health"] == "ok" for rule in found) else None

    assert len(wait_until(rules, "rules evaluated", PATIENCE_S)) == 13


def test_what_is_served_is_valid_in_both_formats_and_passes_the_linter(scene: Scene) -> None:
    wanted = {"model_accuracy", "data_drift_score", "data_drift_alarm", "model_predictions"}
    wanted |= {"neuroloop_commands", "neuroloop_refusals", "neuroloop_stimulator_state"}
    wait_until(lambda: wanted <= {one.name for one in parse_text(scrape(scene.port))}, "all is served", PATIENCE_S)
    texts = {}
    for accept in ("text/plain", "application/openmetrics-text; version=1.0.0"):
        texts[accept] = scrape(scene.port, accept)
    classic, modern = texts.values()
    names = {family.name for family in parse_text(classic)}
    assert names == {family.name for family in parse_openmetrics(modern)}  # type: ignore[no-untyped-call]
    assert wanted <= names
    done = subprocess.run(
        [str(shutil.which("promtool")), "check", "metrics"], input=classic, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_scraped_memory_is_what_the_system_says_of_the_hot_process(scene: Scene) -> None:
    def is_right() -> bool:
        said = scene.found('neuroloop_process_resident_memory_bytes{process="hot"}')[0]["value"][1]
        return bool(float(said) == pytest.approx(scene.run.child("hot").memory_info().rss, rel=0.1))

    wait_until(is_right, "the memory of the hot process, which grows while it begins", PATIENCE_S)
    assert {one["metric"]["process"] for one in scene.found("neuroloop_process_cpu_seconds_total")} == {
        "supervisor", "hot", "cold", "stimulator",
    }  # fmt: skip


def test_one_state_of_the_gate_is_on_and_refusals_name_their_rule(scene: Scene) -> None:
    (one,) = scene.found("sum(neuroloop_stimulator_state)")
    assert one["value"][1] == "1"
    scene.found("neuroloop_refusals_total > 0")
    scene.found('neuroloop_commands_total{action="start"} > 0')
    (charge,) = scene.found("neuroloop_stimulation_charge_coulombs_total")
    assert 0 < float(charge["value"][1]) < 5e-3


def test_the_heartbeat_and_the_newest_sample_are_unix_times_of_now(scene: Scene) -> None:
    for name in ("watchdog_heartbeat", "newest_sample"):
        scene.found(f"abs(time() - neuroloop_{name}_timestamp_seconds) < 5")


def test_every_line_of_the_log_is_an_object_that_names_its_process(scene: Scene) -> None:
    lines = [json.loads(line) for line in scene.run.err.splitlines()]
    assert {"main", "hot"} <= {line["process"] for line in lines}
    assert all(set(line) == {"time", "level", "logger", "process", "message"} for line in lines)


def test_a_dead_sender_raises_the_alarms_and_takes_the_run_out_of_service(scene: Scene) -> None:
    scene.sender.popen.kill()
    wait_until(lambda: {"NeuroloopStreamDown", "NeuroloopSamplesStale"} <= scene.server.firing(), "alarms", PATIENCE_S)
    status, facts = scene.probe("/readyz")
    assert (status, facts["status"]) == (503, "the stream is not up")
    assert scene.probe("/healthz")[0] == 200
    wait_until(lambda: "NeuroloopDown" not in scene.server.firing(), "the run itself is up", PATIENCE_S)
    on = 'neuroloop_stimulator_state{state="DISARMED"} == 1 and on () neuroloop_stimulation_amplitude_amperes == 0'
    scene.found(on)


def test_a_stopped_hot_process_is_unhealthy(scene: Scene) -> None:
    hot = scene.run.child("hot")
    hot.suspend()
    try:
        wait_until(lambda: scene.probe("/healthz")[0] == 503, "unhealthy", PATIENCE_S)
        assert scene.probe("/healthz")[1]["status"] == "the hot process does not move"
        wait_until(lambda: "NeuroloopHotProcessStalled" in scene.server.firing(), "alarm", PATIENCE_S)
    finally:
        hot.resume()
