"""Readers beside the hot process: a recorder, the console that draws, somebody who scrapes the metrics."""

from __future__ import annotations

import os
import pty
import signal
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from neuroloop.stream.live.cold_process import ColdPlan, run_cold
from neuroloop.stream.live.placement import follow_parent, settle
from neuroloop.stream.live.shared_state import Shared

RECORDER = "recorder"
_SCRAPE_S = 0.2
_WAIT_S = 0.1


def run_recorder(shared: Shared, path: Path, cores: frozenset[int]) -> None:
    """Copy every row out of the sample ring into a file, until the ring is closed."""
    follow_parent()
    settle(cores, realtime=False)
    reader = shared.samples.reader(RECORDER)
    with path.open("wb") as file:
        while not reader.is_ended:
            reader.wait(_WAIT_S)
            while len((rows := reader.read(4096)).chunk):
                file.write(rows.chunk.timestamps.tobytes())
                file.write(rows.chunk.data.tobytes())
                reader.commit()


def run_console(plan: ColdPlan, shared: Shared, ready: Connection) -> None:
    """Be the cold process of a run in a terminal of its own, whose output is read and thrown away."""
    master, slave = pty.openpty()
    os.dup2(slave, sys.stderr.fileno())
    os.environ["TERM"] = "xterm-256color"
    threading.Thread(target=_drain, args=(master,), daemon=True).start()
    run_cold(plan, shared, ready)


def _drain(master: int) -> None:
    with suppress(OSError):
        while os.read(master, 65536):
            pass


def run_scraper(port: int, cores: frozenset[int]) -> None:
    """Scrape five times a second until the server is gone."""
    follow_parent()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    settle(cores, realtime=False)
    with suppress(OSError):  # the server goes with the run
        while True:
            begin = time.perf_counter()
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5.0) as answer:
                answer.read()
            time.sleep(max(0.0, _SCRAPE_S - (time.perf_counter() - begin)))
