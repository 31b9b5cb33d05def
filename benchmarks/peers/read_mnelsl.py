"""Read with mne-lsl: a callback on each acquisition, every millisecond. Runs in that peer's own environment."""

import sys
import time

import numpy as np
from mne_lsl.stream import StreamLSL

source_id, n_samples, base_ns, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
n_skipped = n_samples // 3
latencies: list[np.ndarray] = []


def receive(data, timestamps, info):
    """Note when the samples are in the callback's hands."""
    done = time.perf_counter_ns()
    latencies.append(done - base_ns - np.rint(data[:, 0] * 2.0**30).astype(np.int64))
    return data, timestamps


stream = StreamLSL(bufsize=2, source_id=source_id)
stream.connect(acquisition_delay=0.001, processing_flags=None, timeout=10)
stream.add_callback(receive)
while sum(map(len, list(latencies))) < n_samples + n_skipped:
    time.sleep(0.1)
stream.disconnect()
np.save(path, np.concatenate(latencies)[n_skipped : n_skipped + n_samples])
