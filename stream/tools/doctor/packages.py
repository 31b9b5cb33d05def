"""Python, liblsl and the packages: are they there, are they the tested ones."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from neuroloop.stream.tools.doctor.finding import Finding

OLDEST_PYTHON = (3, 11)
OLDEST_LIBLSL = 116
NUMERIC = ("numpy", "scipy", "numba", "llvmlite")
"""Packages whose version may change a number: bit equality is promised for the constraints only."""
REQUIRED = (*NUMERIC, "prometheus-client", "pydantic", "pylsl", "pyyaml", "rich", "safetensors")
_CONSTRAINTS = Path(__file__).resolve().parents[3] / "constraints.txt"
_PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)\s*(?:#.*)?$")


def _normal(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def read_constraints(path: Path = _CONSTRAINTS) -> dict[str, str] | None:
    """Return the tested version of each package by normal name; None where the file is not there."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    pins = (_PIN.match(line.strip()) for line in lines)
    return {_normal(pin[1]): pin[2] for pin in pins if pin}


def judge_python(number: tuple[int, int, int], implementation: str) -> Finding:
    """Judge the interpreter.

    Parameters
    ----------
    number : tuple of int
    implementation : str
        As ``platform.python_implementation()`` says.
    """
    text = ".".join(map(str, number))
    if number[:2] < OLDEST_PYTHON:
        return Finding("python", "fail", f"{implementation} {text}", "install Python 3.11 or newer")
    if implementation != "CPython":
        return Finding("python", "fail", f"{implementation} {text}", "use CPython: Numba runs on nothing else")
    return Finding("python", "ok", f"{implementation} {text}")


def judge_liblsl(number: int | None, fault: str = "") -> Finding:
    """Judge liblsl by its version number (117 is 1.17); None where it could not be loaded."""
    if number is None:
        cure = "install liblsl: pip install pylsl brings it on most systems, else set PYLSL_LIB to the library's file"
        return Finding("liblsl", "fail", f"could not be loaded: {fault or 'no reason given'}", cure)
    text = f"{number // 100}.{number % 100}"
    if number < OLDEST_LIBLSL:
        return Finding("liblsl", "warn", f"{text} is older than tested", "pip install --upgrade pylsl")
    return Finding("liblsl", "ok", text)


def judge_packages(installed: Mapping[str, str], constraints: Mapping[str, str] | None) -> list[Finding]:
    """Judge the packages that the program needs.

    Parameters
    ----------
    installed : mapping
        Version by normal name.
    constraints : mapping, optional
        Tested version by normal name; None where the list is not at hand.
    """
    missing = [name for name in REQUIRED if name not in installed]
    findings = []
    if missing:
        cure = "install the program again: pip install -c constraints.txt ."
        findings.append(Finding("packages", "fail", f"not installed: {', '.join(missing)}", cure))
    if constraints is None:
        cure = "nothing, if this is an installed copy; bit equality with other machines holds for equal versions only"
        findings.append(Finding("package versions", "note", "no list of tested versions (constraints.txt)", cure))
        return findings
    others = {
        name: f"{name} {installed[name]} (tested: {constraints[name]})"
        for name in REQUIRED
        if name in installed and name in constraints and not _is_pinned(installed[name], constraints[name])
    }
    numeric = [text for name, text in others.items() if name in NUMERIC]
    rest = [text for name, text in others.items() if name not in NUMERIC]
    cure = "pip install -c constraints.txt ."
    if numeric:
        why = ", other versions than those that bit equality is promised for"
        findings.append(Finding("package versions", "warn", ", ".join(numeric) + why, cure))
    if rest:
        findings.append(Finding("package versions", "note", ", ".join(rest), cure))
    if not others and not missing:
        findings.append(Finding("package versions", "ok", f"the {len(REQUIRED)} needed ones are the tested ones"))
    return findings


def _is_pinned(found: str, pin: str) -> bool:
    """Say whether a version is the tested one; a local part such as ``+cpu`` does not count."""
    return found.partition("+")[0] == pin.partition("+")[0]


def judge_torch(number: str | None) -> Finding:
    """Say whether training is possible."""
    if number is None:
        cure = "only needed to train and evaluate: pip install 'neuroloop[train]'"
        return Finding("torch", "note", "not installed; live runs and replay do not need it", cure)
    return Finding("torch", "ok", f"{number} (training)")


def installed_versions() -> dict[str, str]:
    """Return the version of every needed package that is installed, by normal name."""
    found = {}
    for name in (*REQUIRED, "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def examine_packages() -> list[Finding]:
    """Look at this interpreter."""
    fault, liblsl = "", None
    try:
        import pylsl

        liblsl = int(pylsl.library_version())
    except (ImportError, OSError, RuntimeError) as error:
        fault = str(error)
    installed = installed_versions()
    return [
        judge_python((sys.version_info[0], sys.version_info[1], sys.version_info[2]), platform.python_implementation()),
        judge_liblsl(liblsl, fault),
        *judge_packages(installed, read_constraints()),
        judge_torch(installed.get("torch")),
    ]
