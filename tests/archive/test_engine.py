"""The engine on this machine: batches are worked on in processes that nobody else reaches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os
import psutil
from boneage.archive import engine as engines
from boneage.archive.engine import open_engine
from boneage.archive.items import ArchiveItem
from boneage.archive.pseudonyms import Pseudonyms
from boneage.archive.work import Settings
from boneage.archive.folders import FileSource

if __name__ == "__main__":
    items = [ArchiveItem(f"/nowhere/{number}", "1:2") for number in range(20)]
    source = FileSource("nothing", 20, items)
    engines.WITHOUT_WORKERS_SECONDS = 4.0
    with open_engine(source, Settings("default", Pseudonyms(bytes(32))), workers=1) as engine:
        engine._client.retire_workers()  # as if it had died while it started, so that Dask does not replace it
        assert not engine._client.scheduler_info()["workers"]
        results = list(engine.assess(items[start : start + 3] for start in range(0, 20, 3)))
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            for one in process.net_connections():
                if one.status == psutil.CONN_LISTEN:
                    assert one.laddr.ip in {"127.0.0.1", "::1"}, one
    outcomes = [outcome for _, batch in results for outcome in batch.outcomes]
    assert len(outcomes) == 20
    assert {outcome.row["error"] for outcome in outcomes} == {"not_found"}
    print("all is well")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the listening ports are found on POSIX")
def test_batches_and_listening_ports(tmp_path: Path) -> None:
    """Each item has one outcome although the only worker is gone, and no port is open to other machines."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, check=False, timeout=200, env=dict(os.environ)
    )
    assert done.stdout == "all is well\n", done.stderr
    assert "Traceback" not in done.stderr
