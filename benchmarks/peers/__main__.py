"""Install the peers, each in an environment of its own: ``python -m benchmarks.peers``."""

from __future__ import annotations

import subprocess
import sys
import venv

from benchmarks.peers.running import PEERS, peers_folder


def main() -> int:
    """Make what is not there yet; a peer that does not install is said and left out."""
    failed = 0
    for peer in PEERS:
        folder = peers_folder() / peer.name
        if peer.python.exists():
            print(f"{peer.name}: there already")
            continue
        print(f"{peer.name}: {', '.join(peer.requirements)}", flush=True)
        venv.create(folder, with_pip=True)
        command = [str(peer.python), "-m", "pip", "install", "--quiet", *peer.requirements]
        if subprocess.run(command, check=False).returncode:
            print(f"{peer.name}: does not install here, left out", file=sys.stderr)
            peer.python.unlink()
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
