"""The process that listens for the PACS.

    python -m boneage.web.processes.listener_process

`boneage.web.processes.server` starts it. It reports ``ready`` on standard output. At SIGTERM, or when the supervisor
ends, it accepts nothing more, finishes the instances at hand and stops.
"""

from __future__ import annotations

import signal
import sys
import threading

import django

from boneage.errors import BoneageError
from boneage.web.processes.lifeline import when_parent_is_gone


def main() -> int:
    """Listen until SIGTERM or the supervisor's end. Return the exit status."""
    django.setup()
    from boneage.node.listener import Listener  # noqa: PLC0415 - models are there only now
    from boneage.web.node.intake import DatabaseIntake  # noqa: PLC0415
    from boneage.web.node.pacs import node_configuration  # noqa: PLC0415
    from boneage.web.privacy import log_uncaught  # noqa: PLC0415

    log_uncaught()
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    when_parent_is_gone(stopping.set)
    listener = Listener(node_configuration(), DatabaseIntake())
    try:
        listener.start()
    except BoneageError as error:
        print(f"error: {error.message}", file=sys.stderr)  # noqa: T201 - the operator reads it
        return error.exit_status
    print("ready", flush=True)  # noqa: T201 - the supervisor reads it
    stopping.wait()
    listener.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
