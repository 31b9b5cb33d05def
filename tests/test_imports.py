"""One package, `neuroloop`, from a checkout and from a wheel, beside whatever lies where a user stands."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, ROOMS

_HOSTILE = "raise RuntimeError('the wrong module')\n"
_SAY_WHERE = (
    "import importlib; print(*(importlib.import_module('neuroloop.' + name).__file__ for name in {names!r}), sep='\\n')"
)
_SCRIPT = """
import sys
from neuroloop.stream.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def make_hostile(folder: Path) -> None:
    """Put modules and folders there that have the names of our folders, as a lab's own script may have beside it."""
    for room in ROOMS:
        (folder / f"{room}.py").write_text(_HOSTILE, encoding="utf-8")


def test_names_resolve_to_this_checkout_from_a_foreign_folder(tmp_path: Path) -> None:
    make_hostile(tmp_path)
    code = _SAY_WHERE.format(names=ROOMS)
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert [Path(line).resolve().parent for line in found] == [CHECKOUT / room for room in ROOMS]


def test_the_command_is_not_shadowed_by_folders_of_the_same_names(tmp_path: Path) -> None:
    make_hostile(tmp_path)
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(_HOSTILE, encoding="utf-8")
    command = Path(sys.executable).parent / "neuroloop"
    done = subprocess.run([command, "check", "monitor"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "bandpower" in done.stdout


def test_the_rooms_cannot_be_imported_without_the_package() -> None:
    with pytest.raises(ImportError, match=r"^stream must be imported as neuroloop\.stream$"):
        __import__("stream")


def test_without_links_the_folders_themselves_are_taken(tmp_path: Path) -> None:
    (tmp_path / "neuroloop").mkdir()
    for name in ("__init__.py", "__main__.py"):
        (tmp_path / "neuroloop" / name).write_bytes((CHECKOUT / "neuroloop" / name).read_bytes())
    for room in ROOMS:
        (tmp_path / "neuroloop" / room).write_text(f"../{room}", encoding="utf-8")  # what a link becomes in a ZIP
        (tmp_path / room).symlink_to(CHECKOUT / room)
    code = "import neuroloop.config.tree, neuroloop.stream.contracts.chunks; print(neuroloop.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))


def test_a_build_without_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_bytes((CHECKOUT / "setup.py").read_bytes())
    done = subprocess.run(
        [sys.executable, "setup.py", "--version"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "neuroloop/ must hold links to the folders of the checkout, got none for config, stream" in done.stderr


@pytest.mark.slow
def test_a_wheel_runs_beside_a_labs_own_modules(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "neuroloop", *ROOMS):
        subprocess.run(["cp", "-a", CHECKOUT / name, source / name], check=True)
    built = subprocess.run(
        [sys.executable, "-c", "from setuptools import build_meta; print(build_meta.build_wheel('..'))"],
        cwd=source, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    assert {path.name for path in site.iterdir() if not path.name.endswith(".dist-info")} == {"neuroloop"}
    for name in ("py.typed", "config/monitor.yaml", "config/limits/hard.yaml", "models/bundles/demo/model.json",
                 "stream/contracts/events.schema.json", "stream/wire/sample_frame.avsc"):  # fmt: skip
        assert (site / "neuroloop" / name).is_file(), name

    lab = tmp_path / "lab"
    lab.mkdir()
    make_hostile(lab)
    (lab / "script.py").write_text(_SCRIPT, encoding="utf-8")
    rows = "".join(f"{k / 250},{k % 7},{k % 5}\n" for k in range(1000))
    (lab / "night.csv").write_text("time,C3,C4\n" + rows, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(site)}
    for command in (["check", "demo"], ["replay", "night.csv", "--config", "monitor", "--out", "run"]):
        done = subprocess.run(
            [sys.executable, "script.py", *command],
            cwd=lab, capture_output=True, text=True, check=False, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert (lab / "run" / "summary.json").is_file()


def test_the_run_needs_no_torch() -> None:
    code = (
        "import sys, neuroloop.stream.cli.running, neuroloop.stream.cli.replaying, neuroloop.models.classifier; "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "False"


def test_a_check_and_a_replay_need_nothing_of_one_system_alone_and_no_network(tmp_path: Path) -> None:
    rows = "".join(f"{k / 250},{k % 7},{k % 5}\n" for k in range(1000))
    (tmp_path / "night.csv").write_text("time,C3,C4\n" + rows, encoding="utf-8")
    missing = ("fcntl", "termios", "tty", "resource", "pwd", "pylsl", "kafka")
    block = f"import sys; sys.modules.update(dict.fromkeys({missing!r}))"
    replay = ["replay", "night.csv", "--config", "monitor", "--out", "run"]
    main = "from neuroloop.stream.cli.main import main"
    code = f"{block}; {main}; sys.exit(main(['check', 'monitor']) or main({replay!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
