"""Command `boneage completion`, in an interactive bash."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.program_runs import boneage

SECONDS = 60


class Terminal:
    """An interactive bash without settings of its own, in a pseudo-terminal."""

    def __init__(self, folder: Path) -> None:
        import pty

        self._leader, follower = pty.openpty()
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "PS1": "ready> ", "TERM": "dumb", "HISTFILE": ""}
        self._shell = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "-i"],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        os.close(follower)
        self._output = ""

    def press(self, keys: str) -> None:
        os.write(self._leader, keys.encode())

    def wait_for(self, words: str) -> None:
        """Read until the words appear, and forget what was read."""
        deadline = time.monotonic() + SECONDS
        while words not in self._output:
            ready, _, _ = select.select([self._leader], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"no {words!r} in {self._output!r}"
            self._output += os.read(self._leader, 4096).decode(errors="replace")
        self._output = self._output.partition(words)[2]

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait()
        os.close(self._leader)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_completion_in_bash(tmp_path: Path) -> None:
    """The tabulator completes a command, an option, the value of an option, and a file."""
    if shutil.which("bash") is None:
        pytest.skip("there is no bash on this machine")
    (tmp_path / "radiograph-of-anna.png").touch()
    terminal = Terminal(tmp_path)
    try:
        terminal.press('eval "$(boneage completion bash)"; echo set-$((1 + 1))\n')
        terminal.wait_for("set-2")
        terminal.wait_for("ready> ")
        terminal.press("boneage asse\t")
        terminal.wait_for("boneage assess ")
        terminal.press("--lang\t")
        terminal.wait_for("--language ")
        terminal.press("pt\t")
        terminal.wait_for("pt_BR ")
        terminal.press("radiograph-o\t")
        terminal.wait_for("radiograph-of-anna.png")
    finally:
        terminal.close()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str) -> None:
    result = boneage("completion", shell)
    assert result.exit_code == 0
    assert f"_BONEAGE_COMPLETE={shell}_complete" in result.stdout


def test_completion_of_another_shell_is_wrong_usage() -> None:
    assert boneage("completion", "tcsh").exit_code == 2
