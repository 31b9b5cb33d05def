"""The files of deploy/, the image and the composition: each checked by the tool that reads it, where that is here."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from neuroloop.config.loading import load_config
from neuroloop.sinks.metrics.run import RunCollector
from neuroloop.sinks.metrics.stimulation import StimulationMetrics
from neuroloop.sinks.stimulator.counting import stimulation_counters
from neuroloop.stream.cli.main import build_parser
from neuroloop.stream.contracts.chunks import StreamInfo
from neuroloop.stream.live.process_usage import use_of_run
from neuroloop.stream.live.shared_state import Shared
from neuroloop.stream.ring.counters import CounterBlock

CHECKOUT = Path(__file__).resolve().parents[2]
DEPLOY = CHECKOUT / "deploy"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "neuroloop.json"
PROMTOOL = shutil.which("promtool")
COMPOSE_SCHEMA = {
    "type": "object",
    "required": ["services", "networks", "volumes"],
    "additionalProperties": False,
    "properties": {
        "services": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["image", "networks", "restart"],
                "additionalProperties": False,
                "properties": {
                    "build": {"type": "string"},
                    "image": {"type": "string", "pattern": r"^[a-z0-9./-]+:v?\d+\.\d+\.\d+$"},
                    "command": {"type": "array", "items": {"type": "string"}},
                    "environment": {"type": "object", "additionalProperties": {"type": "string"}},
                    "expose": {"type": "array", "items": {"type": "string", "pattern": r"^\d+$"}},
                    "ports": {"type": "array", "items": {"type": "string", "pattern": r"^127\.0\.0\.1:\d+:\d+$"}},
                    "volumes": {"type": "array", "items": {"type": "string"}},
                    "depends_on": {
                        "oneOf": [
                            {"type": "array", "items": {"type": "string"}},
                            {
                                "type": "object",
                                "additionalProperties": {
                                    "type": "object",
                                    "required": ["condition"],
                                    "additionalProperties": False,
                                    "properties": {"condition": {"enum": ["service_started", "service_healthy"]}},
                                },
                            },
                        ]
                    },
                    "healthcheck": {
                        "type": "object",
                        "required": ["test", "interval", "timeout", "retries"],
                        "additionalProperties": False,
                        "properties": {
                            "test": {"type": "array", "items": {"type": "string"}},
                            "retries": {"type": "integer"},
                            **{
                                key: {"type": "string", "pattern": r"^\d+s$"}
                                for key in ("interval", "timeout", "start_period")
                            },
                        },
                    },
                    "networks": {"type": "array", "items": {"type": "string"}},
                    "shm_size": {"type": "string", "pattern": r"^\d+[mg]$"},
                    "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
                    "restart": {"enum": ["unless-stopped", "on-failure", "always"]},
                },
            },
        },
        "networks": {"type": "object"},
        "volumes": {"type": "object"},
    },
}


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def families() -> set[str]:
    """Every sample name that a run with a classifier, drift, accuracy and stimulation can serve."""
    info = StreamInfo("cap", "EEG", "s", 250.0, ("C3",), ("eeg",), ("uV",))
    shared = Shared.make(info, stages=["filter"], classes=["rest"], ring_s=1.0)
    shared.numbers("received")[0] = 1
    for name in ("heartbeat_ns", "newest_arrival_ns"):
        shared.numbers(name)[0] = 1
    counters = CounterBlock.private(stimulation_counters())
    for name in ("stim_heartbeat_ns", "stim_session_limit_uc", "stim_day_limit_uc"):
        counters.numbers(name)[0] = 1
    stimulation = StimulationMetrics(counters, pipeline="p", stream="cap")
    collector = RunCollector(
        shared.counters, pipeline="p", stream="cap", classes=shared.classes, beside=(stimulation,),
        stage_figures=lambda: {"loop": {"p50_us": 1.0, "p99_us": 1.0, "p99.9_us": 1.0}},
        ring_status=shared.samples.status, process_use=lambda: use_of_run(os.getpid()), reference_accuracy=0.9,
        has_drift=True,
    )  # fmt: skip
    collector.accuracy, collector.drift_score, collector.clock_offset_s = 1.0, 1.0, 0.0
    names = {sample.name for family in collector.collect() for sample in family.samples}
    shared.close()
    return names


def metric_names(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:neuroloop|model|data)_[a-z_]+\b", re.sub(r"\{[^}]*\}|by \([^)]*\)", "", expression)))


def test_the_committed_dashboard_is_what_the_script_generates() -> None:
    if importlib.util.find_spec("grafana_foundation_sdk") is None:
        pytest.skip("no grafana-foundation-sdk here (the extra 'deploy')")
    done = subprocess.run([sys.executable, str(DEPLOY / "dashboard.py")], capture_output=True, text=True, check=True)
    assert done.stdout == DASHBOARD.read_text(encoding="utf-8")


def test_every_panel_and_alert_asks_for_metrics_that_a_run_serves() -> None:
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    asked += [rule["expr"] for rule in read(DEPLOY / "rules" / "neuroloop.yml")["groups"][0]["rules"]]
    assert len(asked) > 30
    served = families()
    assert {name for expression in asked for name in metric_names(expression)} <= served
    ids = [panel["id"] for panel in board["panels"]]
    assert ids == sorted(set(ids))
    assert all(panel.get("targets") or panel["type"] == "row" for panel in board["panels"])


@pytest.mark.skipif(PROMTOOL is None, reason="no promtool here (apt-get install prometheus)")
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", DEPLOY / "prometheus.yml"),
        ("check", "rules", DEPLOY / "rules" / "neuroloop.yml"),
        ("test", "rules", CHECKOUT / "tests" / "deploy" / "alerts.yml"),
    ],
    ids=["config", "rules", "alerts fire when they should"],
)
def test_promtool_accepts(arguments: tuple[object, ...]) -> None:
    done = subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_composition_has_the_shape_of_one_and_pins_its_images() -> None:
    composition = read(CHECKOUT / "docker-compose.yml")
    jsonschema.validate(composition, COMPOSE_SCHEMA)
    services = composition["services"]
    for service in services.values():
        assert set(service["networks"]) <= set(composition["networks"])
        assert set(service.get("depends_on", [])) <= set(services)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in composition["volumes"] or (CHECKOUT / source).exists(), source
    assert services["neuroloop"]["networks"] == ["inside"]
    assert composition["networks"]["inside"] == {"internal": True}
    assert "ports" not in services["neuroloop"]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="no docker-compose here")
def test_docker_compose_accepts_the_composition() -> None:
    done = subprocess.run(
        ["docker-compose", "config", "--quiet"], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_parts_of_the_composition_find_each_other() -> None:
    services = read(CHECKOUT / "docker-compose.yml")["services"]
    (target,) = read(DEPLOY / "prometheus.yml")["scrape_configs"][0]["static_configs"][0]["targets"]
    host, port = target.split(":")
    assert host in services
    assert services[host]["expose"] == [port]
    assert load_config(str(DEPLOY / "neuroloop.yaml"), []).metrics.port == int(port)
    (source,) = read(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = read(DEPLOY / "grafana" / "provisioning" / "dashboards" / "neuroloop.yml")["providers"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]


def test_the_commands_of_image_composition_and_unit_are_commands_of_the_program() -> None:
    image = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    (command,) = re.findall(r"^CMD (\[.*\])$", image, re.MULTILINE)
    unit = (DEPLOY / "neuroloop.service").read_text(encoding="utf-8")
    (start,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    composed = read(CHECKOUT / "docker-compose.yml")["services"]["neuroloop"]["command"]
    for arguments in (json.loads(command), composed, shlex.split(start)[1:]):
        options = build_parser().parse_args(arguments)
        assert options.log == "json"
    assert load_config(str(DEPLOY / "neuroloop.yaml"), options_of(composed)).metrics.host == "0.0.0.0"


def options_of(arguments: list[str]) -> list[str]:
    found: list[str] = build_parser().parse_args(arguments).set
    return found


def test_the_image_copies_only_what_exists_runs_as_nobody_special_and_is_probed() -> None:
    image = (CHECKOUT / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (?!--from)(.*)$", image, re.MULTILINE) for name in line.split()[:-1]]
    assert copied
    assert all((CHECKOUT / name).exists() for name in copied)
    let_in = set(re.findall(r"^!(\S+)$", (CHECKOUT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    assert {name.split("/")[0] for name in copied} == let_in
    assert all(re.fullmatch(r"python:3\.11\.\d+-slim-bookworm( AS build)?", base) for base in
               re.findall(r"^FROM (.*)$", image, re.MULTILINE))  # fmt: skip
    assert image.rindex("\nUSER neuroloop") < image.index("\nENTRYPOINT")
    assert "/healthz" in image.split("HEALTHCHECK")[1]
    assert "EXPOSE 9108" in image


def test_the_image_is_warmed_by_a_script_that_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(DEPLOY / "warm_up.py"), str(DEPLOY / "neuroloop.yaml")],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(CHECKOUT)}, cwd=tmp_path,
    )  # fmt: skip
    assert re.match(r"[1-9]\d* kernels in ", done.stdout)


def test_the_broker_of_the_composition_is_found_and_keeps_its_data() -> None:
    services = read(CHECKOUT / "docker-compose.yml")["services"]
    broker = services["kafka"]
    listeners = dict(part.split("://") for part in broker["environment"]["KAFKA_LISTENERS"].split(","))
    advertised = dict(part.split("://") for part in broker["environment"]["KAFKA_ADVERTISED_LISTENERS"].split(","))
    assert {name: address.rpartition(":")[2] for name, address in advertised.items()} == {
        name: listeners[name].rpartition(":")[2] for name in advertised
    }
    config = load_config(str(DEPLOY / "neuroloop.yaml"), options_of(services["neuroloop"]["command"]))
    assert config.kafka is not None
    assert config.kafka.servers == (advertised["INSIDE"],)
    assert advertised["INSIDE"].partition(":")[0] == "kafka"
    (port,) = broker["ports"]
    assert port.rpartition(":")[0] == advertised["OUTSIDE"]
    (volume,) = broker["volumes"]
    assert volume.partition(":")[2] == broker["environment"]["KAFKA_LOG_DIRS"]
    assert broker["healthcheck"]["test"][0] == "CMD-SHELL"
