"""The process of one worker.

    python -m boneage.web.processes.worker_process NAME

`boneage.web.processes.server` starts it. It reports on standard output, a line each: ``ready``, the beginning of a task
(``begin``) and its end (``end``). At SIGTERM, or when the supervisor ends, it finishes the current radiograph and
stops.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress

import django

from boneage.web.processes.lifeline import when_parent_is_gone


def limit_memory(mebibytes: int) -> None:
    """Limit the memory of this process, MiB. An allocation beyond it fails, and the radiograph with it.

    Systems without such a limit (macOS, Windows) have none.
    """
    if sys.platform == "linux":
        import resource  # noqa: PLC0415 - not on every system

        resource.setrlimit(resource.RLIMIT_DATA, (mebibytes * 2**20, mebibytes * 2**20))


def _say(word: str) -> None:
    with suppress(BrokenPipeError):  # nobody listens any more: the radiograph at hand is finished all the same
        print(word, flush=True)  # noqa: T201 - the supervisor reads it


def main(name: str) -> None:
    """Work until SIGTERM or the supervisor's end."""
    django.setup()
    from boneage.web.models import configuration  # noqa: PLC0415
    from boneage.web.privacy import log_uncaught  # noqa: PLC0415
    from boneage.web.processes.worker import RadiographWorker  # noqa: PLC0415
    from boneage.web.queue import work  # noqa: PLC0415 - models are there only now

    log_uncaught()
    worker = RadiographWorker(name, _say)
    signal.signal(signal.SIGTERM, worker.shutdown)
    signal.signal(signal.SIGINT, worker.shutdown)
    when_parent_is_gone(worker.shutdown)
    limit_memory(configuration().worker_mebibytes)
    work.warm_up()
    _say("ready")
    worker.run_until_stopped()


if __name__ == "__main__":
    main(sys.argv[1])
