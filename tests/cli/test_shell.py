"""A shell script uses attncli as shell scripts do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from forking import ForkServer


def test_a_shell_script_can_rely_on_it(tmp_path: Path, forks: ForkServer) -> None:
    script = Path(__file__).with_name("shell_use.sh")
    environment = {**os.environ, "PATH": f"{forks.folder}{os.pathsep}{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["bash", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=3600
    )
    assert (done.returncode, done.stdout) == (0, "holds\n"), done.stderr
