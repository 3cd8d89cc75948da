"""The process that selects radiographs of the PACS, makes result objects, and sends them.

    python -m boneage.web.processes.dispatcher_process NAME

`boneage.web.processes.server` starts it. It reports ``ready`` on standard output. At SIGTERM, or when the supervisor
ends, it finishes the pieces of work at hand and stops.
"""

from __future__ import annotations

import signal
import sys

import django

from boneage.web.processes.lifeline import when_parent_is_gone


def main(name: str) -> None:
    """Work until SIGTERM or the supervisor's end."""
    django.setup()
    from boneage.web.node.dispatcher import Dispatcher  # noqa: PLC0415 - models are there only now
    from boneage.web.privacy import log_uncaught  # noqa: PLC0415

    log_uncaught()
    dispatcher = Dispatcher(name)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: dispatcher.stop())
    when_parent_is_gone(dispatcher.stop)
    print("ready", flush=True)  # noqa: T201 - the supervisor reads it
    dispatcher.run_until_stopped()


if __name__ == "__main__":
    main(sys.argv[1])
