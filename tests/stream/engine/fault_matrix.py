"""What is counted for every fault under every timing mode: the table that tests run and the documentation shows."""

from __future__ import annotations

from dataclasses import dataclass

MODES = ("counter", "regular", "bursty", "auto")


@dataclass(frozen=True)
class Row:
    """One fault; ``counted`` has a cell per mode, `same` for all four."""

    spec: str
    counted: tuple[str, str, str, str]
    remark: str = ""


def same(spec: str, counted: str, remark: str = "") -> Row:
    """Say that all modes count the same."""
    return Row(spec, (counted,) * 4, remark)


MATRIX: tuple[Row, ...] = (
    same("cut@5s+2s", "gaps 1, jumped 500"),
    same("cut@5s+0.5s", "filled 125, gaps 1"),
    same("reconnect@5s+2s", "gaps 1, jumped 500"),
    Row(
        "gap@5s:25",
        ("filled 25, gaps 1", "filled 25, gaps 1", "index -25", "filled 25, gaps 1"),
        "bursty: a loss below `gap_tolerance_s` stays unseen",
    ),
    same("gap@5s:100", "filled 100, gaps 1"),
    Row(
        "duplicate@6s:50",
        ("duplicates 50", "duplicates 50", "duplicates 50", "duplicates 50"),
    ),
    Row(
        "duplicate@6s:1",
        ("duplicates 1", "duplicates 1", "index +1", "duplicates 1"),
        "bursty: packets may share a stamp, a single repeat is kept",
    ),
    Row(
        "reorder@7s:10",
        (
            "duplicates 9, filled 9, gaps 1",
            "duplicates 9, filled 9, gaps 1",
            "backward 9",
            "duplicates 9, filled 9, gaps 1",
        ),
        "late samples find their place filled and are dropped; bursty: kept in order of arrival",
    ),
    Row(
        "reorder@7s:100",
        (
            "duplicates 99, filled 99, gaps 1",
            "duplicates 99, filled 99, gaps 1",
            "backward 99, filled 99, gaps 1, index +99",
            "duplicates 99, filled 99, gaps 1",
        ),
        "bursty: disorder beyond `gap_tolerance_s` looks like a gap",
    ),
    Row(
        "burst@5s+3s:32",
        ("-", "filled 726, gaps 24, index +726", "-", "filled 31, gaps 1, index +31"),
        "regular promises regular stamps; auto learns of packets at the second sample of the first one",
    ),
    Row(
        "burst@5s+3s:100",
        (
            "-",
            "filled 742, gaps 8, index +742",
            "filled 582, gaps 7, index +582",
            "filled 582, gaps 7, index +582",
        ),
        "packets longer than `gap_tolerance_s` (0.25 s): raise it",
    ),
    same("clock_step@6s:-3.5s", "backward 1, clock_steps 1"),
    Row("clock_step@6s:-0.1s", ("backward 1",) * 4, "below `gap_tolerance_s`: no event"),
    Row(
        "clock_step@6s:3.5s",
        ("-", "gaps 1, index +875, jumped 875", "gaps 1, index +875, jumped 875", "gaps 1, index +875, jumped 875"),
        "stamps alone cannot tell a clock set forward from a loss",
    ),
    Row(
        "clock_step@6s:0.1s",
        ("-", "filled 25, gaps 1, index +25", "-", "filled 25, gaps 1, index +25"),
        "as above",
    ),
    same("drift_ppm@0s:200", "-"),
    same("rate@4s+6s:186", "-"),
    same("rate@4s+5s:400", "-"),
    Row(
        "rate@4s+3s:125",
        (
            "-",
            "filled 750, gaps 750, index +750",
            "filled 518, gaps 9, index +518",
            "filled 750, gaps 750, index +750",
        ),
        "a rate that falls by more than a third has the steps of losses",
    ),
    same("nan@5s+0.5s:Fp1", "nonfinite 125", "held and flagged"),
    same("nan@5s+2s", "nonfinite 500", "held and flagged"),
    same("flat@5s+1s:F3,C4", "-", "finite, so valid: only artifact stages may object"),
    same("rail@5s+1s:C3=187500,P4=-187500", "-", "as above"),
)


def markdown() -> list[str]:
    """Return the lines of the documentation's table."""
    lines = ["| fault | " + " | ".join(f"`{mode}`" for mode in MODES) + " | why |", "|---|---|---|---|---|---|"]
    lines.extend(f"| `{row.spec}` | {' | '.join(row.counted)} | {row.remark} |" for row in MATRIX)
    return lines
