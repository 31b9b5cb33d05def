"""``neuroloop doctor``: what is wrong with this machine, and what to do about it."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from dataclasses import asdict

from neuroloop.stream.sources.lsl.library import quiet_library
from neuroloop.stream.tools.doctor.examination import examine
from neuroloop.stream.tools.doctor.finding import LEVELS, Finding, exit_status


def run_doctor(options: argparse.Namespace) -> int:
    """Print every finding; 1 if anything fails, otherwise 0."""
    quiet_library()
    begin = time.perf_counter()
    findings: list[Finding] = []
    for finding in examine(options.out, is_quick=options.quick):
        findings.append(finding)
        if not options.json:
            print("\n".join(finding.lines()), flush=True)
    status, elapsed_s = exit_status(findings), time.perf_counter() - begin
    if options.json:
        record = {"ok": status == 0, "findings": [asdict(one) for one in findings], "elapsed_s": round(elapsed_s, 3)}
        print(json.dumps(record, indent=2))
    else:
        counts = Counter(one.level for one in findings)
        print(", ".join(f"{counts[level]} {level}" for level in LEVELS) + f" in {elapsed_s:.1f} s")
    return status
