"""The doctor listens to real streams."""

from __future__ import annotations

import threading

import numpy as np
import pylsl

from neuroloop.stream.tools.doctor.finding import Finding
from neuroloop.stream.tools.doctor.streams import examine_streams
from tests.integration.lsl import make_outlet, wait_until


def test_a_real_stream_is_found_measured_and_ok(lsl_session: str) -> None:
    assert lsl_session
    outlets = [make_outlet("doctor-a", sfreq=500.0, labels=("C3", "C4")), make_outlet("doctor-b", source_id="doctor-a")]
    stopped = threading.Event()
    begin = pylsl.local_clock()

    def send() -> None:
        n = 0
        while not stopped.wait(0.01):
            while begin + n / 500 <= pylsl.local_clock():
                outlets[0].push_sample(np.zeros(2), begin + n / 500)
                n += 1

    def good() -> list[Finding] | None:
        found = examine_streams(find_s=1.0, listen_s=1.0)
        heard = [one for one in found if one.name == "stream 'doctor-a'"]
        return found if heard and heard[-1].level == "ok" else None

    thread = threading.Thread(target=send)
    thread.start()
    try:
        findings = wait_until(good, "a good stream heard; it is not while others have the core")
    finally:
        stopped.set()
        thread.join()
    heard = [one for one in findings if one.name == "stream 'doctor-a'"]
    assert "nominal 500" in heard[-1].found
    assert "clock offset" in heard[-1].found
    silent = [one for one in findings if one.name == "stream 'doctor-b'"]
    assert "does not send" in silent[-1].cure
    assert [one for one in findings if one.name == "source ids" and one.level == "warn"]
    outlets.clear()
