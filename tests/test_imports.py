"""The five bare names are this checkout's, wherever one stands, and nobody else's."""

import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOMS = ("config", "stream", "processors", "models", "sinks")
CHECKOUT = Path(__file__).resolve().parent.parent
_SAY_WHERE = "import importlib; print(*(importlib.import_module(n).__file__ for n in {names!r}), sep='\\n')"


@pytest.mark.parametrize("room", ROOMS)
def test_no_other_distribution_owns_the_name(room: str) -> None:
    assert set(packages_distributions().get(room, [])) <= {"neuroloop"}


def test_names_resolve_to_this_checkout_from_a_foreign_folder(tmp_path: Path) -> None:
    code = _SAY_WHERE.format(names=ROOMS)
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout.split()
    assert [Path(line).parent for line in found] == [CHECKOUT / room for room in ROOMS]


def test_the_command_is_not_shadowed_by_folders_of_the_same_names(tmp_path: Path) -> None:
    for room in ROOMS:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("raise RuntimeError('the wrong folder')\n", encoding="utf-8")
    command = Path(sys.executable).parent / "neuroloop"
    done = subprocess.run([command, "check", "monitor"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "bandpower" in done.stdout


def test_the_run_needs_no_torch() -> None:
    code = "import sys, stream.cli.running, stream.cli.replaying, models.classifier; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CHECKOUT)
    assert done.stdout.strip() == "False"


def test_a_check_and_a_replay_need_nothing_of_one_system_alone_and_no_network(tmp_path: Path) -> None:
    rows = "".join(f"{k / 250},{k % 7},{k % 5}\n" for k in range(1000))
    (tmp_path / "night.csv").write_text("time,C3,C4\n" + rows, encoding="utf-8")
    missing = ("fcntl", "termios", "tty", "resource", "pwd", "pylsl", "kafka")
    block = f"import sys; sys.modules.update(dict.fromkeys({missing!r}))"
    replay = ["replay", "night.csv", "--config", "monitor", "--out", "run"]
    code = f"{block}; from stream.cli.main import main; sys.exit(main(['check', 'monitor']) or main({replay!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
