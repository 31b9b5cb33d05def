"""The whole examination, in the order of its report."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from neuroloop.config.kernels import cache_folder
from neuroloop.stream.tools.doctor.disk import examine_disk, examine_kernel_cache
from neuroloop.stream.tools.doctor.finding import Finding
from neuroloop.stream.tools.doctor.interfaces import examine_interfaces
from neuroloop.stream.tools.doctor.lsl_session import LslSettings, examine_lsl_settings, settings_in_force
from neuroloop.stream.tools.doctor.memory import examine_memory
from neuroloop.stream.tools.doctor.packages import examine_packages
from neuroloop.stream.tools.doctor.ports import examine_ports
from neuroloop.stream.tools.doctor.processors import examine_processors
from neuroloop.stream.tools.doctor.streams import examine_streams
from neuroloop.stream.tools.doctor.timing import WallClockWatch, examine_timing, is_synchronised, judge_wall_clock


def _examine_ports() -> list[Finding]:
    settings = settings_in_force()[1]
    if isinstance(settings, str):
        settings = LslSettings()
    return examine_ports(
        first=settings.base_port, n_ports=settings.port_range, may_leave_range=settings.may_leave_range
    )


def examine(out: Path, *, is_quick: bool) -> Iterator[Finding]:
    """Examine this machine; findings come as they are made.

    Parameters
    ----------
    out : Path
        Folder that runs would be written to.
    is_quick : bool
        Leave the network out and measure shorter.
    """
    watch = WallClockWatch()
    groups: list[Callable[[], list[Finding]]] = [
        examine_packages,
        examine_processors,
        lambda: examine_timing(n_sleeps=50 if is_quick else 250),
        examine_memory,
        lambda: [*examine_disk(out, is_quick=is_quick), examine_kernel_cache(cache_folder())],
        _examine_ports,
        examine_lsl_settings,
    ]
    if not is_quick:
        groups += [examine_interfaces, lambda: examine_streams(find_s=1.5, listen_s=2.0)]
    for group in groups:
        yield from group()
    yield judge_wall_clock(time.time(), watch.drift_s(), is_synchronised=is_synchronised())
