"""What must come at once imports no work: help, the version, and an operator's stop."""

import json
import subprocess
import sys

_ASK = """
import contextlib, io, json, sys

before = set(sys.modules)
from neuroloop.stream.cli.main import build_parser, main

def helps(parser, path=()):
    yield [*path, "--help"]
    for action in parser._actions:
        if isinstance(action.choices, dict):
            for name, one in action.choices.items():
                yield from helps(one, (*path, name))

found = []
for arguments in (["--version"], *helps(build_parser()), ["operator", "nowhere", "stop"]):
    said = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        main(arguments)
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    found.append((" ".join(arguments), said.getvalue(), sorted(new - set(sys.stdlib_module_names))))
print(json.dumps(found))
"""
_OURS = {"neuroloop", "__mp_main__"}
"""The last is what ``multiprocessing`` calls the main module."""


def test_help_of_every_command_version_and_stop_import_nothing_but_the_standard_library() -> None:
    done = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=True)
    answers = json.loads(done.stdout)
    said = {line: words for line, words, _ in answers}
    assert said["bridge to-lsl --help"].startswith("usage: neuroloop bridge to-lsl")
    assert said["--version"].startswith("neuroloop ")
    assert "run must be a running one" in said["operator nowhere stop"]
    for line, _, imported in answers:
        assert set(imported) <= _OURS, f"neuroloop {line}"
