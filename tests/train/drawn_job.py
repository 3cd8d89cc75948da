"""A job that trains nothing: it prints, waits and ends by its order."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from boneage.train.run.processes import read_order

if __name__ == "__main__":
    order = read_order()
    for line in order.get("say", ()):
        sys.stdout.write(f"{line}\n")
    if "tell_threads" in order:
        assert str(order["threads"]) == os.environ["OMP_NUM_THREADS"]
        sys.stdout.write(f"threads {order['threads']}\n")
    sys.stdout.flush()
    try:
        time.sleep(order.get("sleep", 0.0))
    except KeyboardInterrupt:
        Path(order["stopped"]).touch()
        time.sleep(order.get("linger", 0.0))
        sys.exit(130)
    sys.exit(order.get("status", 0))
