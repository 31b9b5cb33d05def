"""Generate the Grafana dashboard: ``python deploy/dashboard.py > deploy/grafana/dashboards/neuroloop.json``.

Needs ``grafana-foundation-sdk`` (the extra ``deploy``). The committed file is what Grafana gets; a test generates it
again and compares. No panel may stay empty where its row applies.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, heatmap, prometheus, stat, statetimeline, timeseries
from grafana_foundation_sdk.builders import dashboard as building
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard
from grafana_foundation_sdk.models.common import GraphTresholdsStyleMode, StackingMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

_SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
_BY = 'pipeline=~"$pipeline"'
_MODEL = 'model=~"$pipeline"'
_WINDOW = "$__rate_interval"
_HEIGHT = 8


@dataclass(frozen=True)
class Panel:
    """One panel of curves or figures.

    Parameters
    ----------
    title, unit : str
    queries : tuple of (str, str)
        PromQL and legend.
    kind : str
        ``lines``, ``stacked``, ``figure``, ``timeline`` or ``heatmap``.
    width : int
        Of 24.
    line : float, optional
        Drawn at this value; red above.
    """

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "lines"
    width: int = 8
    line: float | None = None

    def build(self) -> Any:
        """Return its builder."""
        kinds: dict[str, type[Any]] = {
            "figure": stat.Panel,
            "heatmap": heatmap.Panel,
            "timeline": statetimeline.Panel,
        }
        made = kinds.get(self.kind, timeseries.Panel)()
        made = made.title(self.title).unit(self.unit).datasource(_SOURCE).span(self.width).height(_HEIGHT)
        for letter, (expression, legend) in zip("ABCDEF", self.queries, strict=False):
            query = prometheus.Dataquery().expr(expression).legend_format(legend).ref_id(letter).datasource(_SOURCE)
            made = made.with_target(query.format(PromQueryFormat.HEATMAP) if self.kind == "heatmap" else query)
        if self.kind == "heatmap":
            made = made.calculate(False).y_axis(heatmap.YAxisConfig().unit(self.unit))
        if self.kind == "stacked":
            made = made.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
        if self.line is not None:
            steps = [dashboard.Threshold(value=None, color="green"), dashboard.Threshold(value=self.line, color="red")]
            limit = building.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)
            made = made.thresholds(limit)
            if self.kind == "lines":
                style = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE)
                made = made.thresholds_style(style)
        return made


def _quantile(q: float, histogram: str, label: str, selector: str) -> str:
    return f"histogram_quantile({q}, sum by (le, {label}) (rate({histogram}_bucket{{{selector}}}[{_WINDOW}])))"


def _since_start(q: float, histogram: str) -> str:
    """Return a quantile over all of a run: for what happens too rarely for a rate."""
    return f"histogram_quantile({q}, sum by (le, pipeline) ({histogram}_bucket{{{_BY}}}))"


_DECISION = "model_prediction_latency_seconds"
_STIMULATOR = "neuroloop_stimulator"
_CHARGE = "neuroloop_stimulation"
ROWS: tuple[tuple[str, tuple[Panel, ...]], ...] = (
    (
        "Liveness",
        (
            Panel("Stream up", "bool_yes_no", ((f"neuroloop_stream_up{{{_BY}}}", "{{pipeline}}"),), "figure", 4),
            Panel("Target up", "bool_yes_no", (('up{job="neuroloop"}', "{{instance}}"),), "figure", 4),
            Panel(
                "Age of the newest sample", "s",
                ((f"time() - neuroloop_newest_sample_timestamp_seconds{{{_BY}}}", "{{pipeline}} {{stream}}"),), line=2,
            ),
            Panel(
                "Age of the hot process's heartbeat", "s",
                ((f"time() - neuroloop_watchdog_heartbeat_timestamp_seconds{{{_BY}}}", "{{pipeline}}"),), line=1,
            ),
        ),
    ),
    (
        "Throughput",
        (
            Panel(
                "Samples per second", "hertz",
                (
                    (f"rate(neuroloop_samples_total{{{_BY}}}[{_WINDOW}])", "received {{pipeline}}"),
                    (f"rate(neuroloop_samples_processed_total{{{_BY}}}[{_WINDOW}])", "processed {{pipeline}}"),
                    (f"neuroloop_effective_rate_hertz{{{_BY}}}", "by the stamps {{pipeline}}"),
                ),
            ),
            Panel(
                "Losses per second", "cps",
                (
                    (f"rate(neuroloop_samples_missing_total{{{_BY}}}[{_WINDOW}])", "missing, {{how}}"),
                    (f"rate(neuroloop_samples_dropped_total{{{_BY}}}[{_WINDOW}])", "dropped, {{reason}}"),
                    (f"rate(neuroloop_gaps_total{{{_BY}}}[{_WINDOW}])", "gaps"),
                    (f"rate(neuroloop_sink_dropped_total{{{_BY}}}[{_WINDOW}])", "sink, {{sink}}"),
                    (f"rate(neuroloop_ring_lost_samples_total{{{_BY}}}[{_WINDOW}])", "ring, {{reader}}"),
                ),
            ),
            Panel("Rows that readers are behind", "short", ((f"neuroloop_ring_lag_samples{{{_BY}}}", "{{reader}}"),)),
        ),
    ),
    (
        "Latency",
        (
            Panel(
                "Sample in to decision out", "s",
                tuple(
                    (_quantile(q, _DECISION, "model", _MODEL), f"p{q * 100:g} {{{{model}}}}") for q in (0.5, 0.95, 0.99)
                ),
                line=0.01,
            ),
            Panel(
                "Sample in to decision out, all", "s",
                ((f"sum by (le) (increase({_DECISION}_bucket{{{_MODEL}}}[{_WINDOW}]))", "{{le}}"),), "heatmap",
            ),
            Panel(
                "Loop", "s",
                tuple(
                    (_quantile(q, "neuroloop_loop_seconds", "pipeline", _BY), f"p{q * 100:g} {{{{pipeline}}}}")
                    for q in (0.5, 0.99)
                ),
            ),
            Panel(
                "Stages, p99 since the start", "s",
                ((f'neuroloop_stage_seconds{{{_BY},quantile="0.99"}}', "{{stage}}"),), width=16,
            ),
            Panel("Clock offset of the sender", "s", ((f"neuroloop_clock_offset_seconds{{{_BY}}}", "{{stream}}"),)),
        ),
    ),
    (
        "Predictions",
        (
            Panel(
                "Decisions per second", "cps",
                ((f"sum by (label) (rate(model_predictions_total{{{_MODEL}}}[{_WINDOW}]))", "{{label}}"),), "stacked",
            ),
            Panel(
                "Share of unknown", "percentunit",
                (
                    (
                        f'sum by (model) (rate(model_predictions_total{{{_MODEL},label="unknown"}}[{_WINDOW}])) / '
                        f"sum by (model) (rate(model_predictions_total{{{_MODEL}}}[{_WINDOW}]))",
                        "{{model}}",
                    ),
                ),
            ),
            Panel(
                "Accuracy", "percentunit",
                (
                    (f"model_accuracy{{{_MODEL}}}", "now {{model}}"),
                    (f"model_reference_accuracy{{{_MODEL}}}", "the bundle's evaluation {{model}}"),
                ),
            ),
        ),
    ),
    (
        "Drift",
        (
            Panel("Drift score", "short", (("data_drift_score", "{{stream}}"),), width=12, line=1),
            Panel("Alarm", "bool_on_off", (("data_drift_alarm", "{{stream}}"),), "figure", 6, line=1),
            Panel("Alarms so far", "short", (("data_drift_alarms_total", "{{stream}}"),), "figure", 6),
        ),
    ),
    (
        "Stimulation",
        (
            Panel(
                "State of the gate", "short", ((f"{_STIMULATOR}_state{{{_BY}}} == 1", "{{pipeline}} {{state}}"),),
                "timeline", 12,
            ),
            Panel("Amplitude", "si:A", ((f"{_CHARGE}_amplitude_amperes{{{_BY}}}", "{{pipeline}}"),), width=6),
            Panel(
                "Arming left", "s",
                ((f"clamp_min({_STIMULATOR}_armed_until_timestamp_seconds{{{_BY}}} - time(), 0)", "{{pipeline}}"),),
                "figure", 3,
            ),
            Panel(
                "Age of the stimulator's heartbeat", "s",
                ((f"time() - {_STIMULATOR}_heartbeat_timestamp_seconds{{{_BY}}}", "{{pipeline}}"),), "figure", 3, 1,
            ),
            Panel(
                "Charge of the run and its limit", "si:C",
                (
                    (f"{_CHARGE}_charge_coulombs_total{{{_BY}}}", "{{pipeline}}"),
                    (f"{_CHARGE}_session_charge_limit_coulombs{{{_BY}}}", "limit {{pipeline}}"),
                ),
            ),
            Panel(
                "Charge of the last 24 h and its limit", "si:C",
                (
                    (f"{_CHARGE}_day_charge_coulombs{{{_BY}}}", "{{pipeline}}"),
                    (f"{_CHARGE}_day_charge_limit_coulombs{{{_BY}}}", "limit {{pipeline}}"),
                ),
            ),
            Panel(
                "Commands and refusals since the start", "short",
                (
                    (f"neuroloop_commands_total{{{_BY}}}", "{{action}}"),
                    (f"neuroloop_refusals_total{{{_BY}}} > 0", "refused: {{rule}}"),
                ),
            ),
            Panel(
                "Sample in to dose handed over, since the start", "s",
                tuple((_since_start(q, f"{_STIMULATOR}_command_seconds"), f"p{q * 100:g}") for q in (0.5, 0.99)),
                width=12, line=0.01,
            ),
            Panel(
                "Log on the disk, since the start", "s",
                tuple((_since_start(q, f"{_STIMULATOR}_fsync_seconds"), f"p{q * 100:g}") for q in (0.5, 0.99)),
                width=12,
            ),
        ),
    ),
    (
        "Processes",
        (
            Panel(
                "Memory", "bytes",
                ((f"neuroloop_process_resident_memory_bytes{{{_BY}}}", "{{pipeline}} {{process}}"),), width=10,
            ),
            Panel(
                "Processor time", "percentunit",
                ((f"rate(neuroloop_process_cpu_seconds_total{{{_BY}}}[{_WINDOW}])", "{{pipeline}} {{process}}"),),
                width=10,
            ),
            Panel("Version", "short", (("neuroloop_build_info", "{{version}}"),), "figure", 4),
        ),
    ),
)  # fmt: skip


def make() -> dashboard.Dashboard:
    """Return the dashboard."""
    made = (
        building.Dashboard("neuroloop")
        .uid("neuroloop")
        .description("A live pipeline: is it alive, is it whole, is it fast, what does it decide, does it still fit.")
        .tags(["neuroloop"])
        .readonly()
        .refresh("5s")
        .time("now-15m", "now")
        .timezone("browser")
        .with_variable(building.DatasourceVariable("datasource").type("prometheus"))
        .with_variable(
            building.QueryVariable("pipeline")
            .datasource(_SOURCE)
            .query("label_values(neuroloop_stream_up, pipeline)")
            .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .all_value(".+")
            .multi(True)
            .current(dashboard.VariableOption(selected=True, text="All", value="$__all"))
        )
        .annotation(
            building.AnnotationQuery()
            .name("alerts")
            .datasource(_SOURCE)
            .enable(True)
            .icon_color("red")
            .expr('ALERTS{alertstate="firing", alertname=~"Neuroloop.*"}')
        )
    )
    for title, panels in ROWS:
        made = made.with_row(building.Row(title))
        for panel in panels:
            made = made.with_panel(panel.build())
    built = made.build()
    for number, one in enumerate(built.panels or [], start=1):
        one.id_val = number
        if isinstance(one, dashboard.Panel) and one.options is None:
            one.options = {}
    return built


if __name__ == "__main__":
    sys.stdout.write(JSONEncoder(sort_keys=True, indent=2).encode(make()) + "\n")
