"""Engine that distributes batches: Dask, on the processes of this machine or on a cluster.

Dask starts a process for each worker, starts another for one that dies, and gives its batch to others. It was chosen
over Ray after a measurement (docs/archive.md). A worker gets source and settings once, as a plugin, also when it is
started later; it opens the bundle at its first batch.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from boneage.archive.items import ArchiveItem, Source
from boneage.archive.work import BatchOutcome, Settings, Worker
from boneage.errors import ConfigurationError

if TYPE_CHECKING:
    from distributed import Client, Future, as_completed

_AHEAD = 3
"""Batches that are distributed or finished, for each worker: enough to keep all busy, and few to lose."""
_DEATHS = 4
"""Workers that a batch may end before it is blamed. A worker may also end by chance, while it has the batch."""
_STARTS = 3
"""Attempts to start the processes of this machine."""
_POLL_SECONDS = 0.02
"""Time between two looks for finished batches, seconds: little beside a batch."""
WITHOUT_WORKERS_SECONDS = 60.0
"""Time without any worker after which new ones are started, seconds. Dask replaces a worker that dies, but not one that
dies again while it starts."""
_REVIVALS = 4
"""Number of times in a row that new workers are started, each time after a longer pause, before the run ends."""
CONNECT_SECONDS = 30
"""Time for which a scheduler is tried, seconds."""
_PLUGIN = "boneage-archive"
_LOOPBACK = "127.0.0.1:0"
"""Address for the pages on the state of scheduler and workers, which Dask would offer to the whole network."""
_DASK_SETTINGS = {
    "distributed.scheduler.allowed-failures": _DEATHS,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.target": False,
    "distributed.comm.timeouts.connect": "60s",
    # Fresh memory costs more time than decoding (see also boneage.reading.limit).
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 64 * 2**20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 * 2**20,
}


class Engine(Protocol):
    """Distributor of batches."""

    def assess(self, batches: Iterable[Sequence[ArchiveItem]]) -> Iterator[tuple[Sequence[ArchiveItem], BatchOutcome]]:
        """Yield batches with their outcomes, in any order. Batches are taken as they are needed."""
        ...


class DaskEngine:
    """Engine of a Dask client.

    Attributes:
        worker: Worker of this process, for what needs no other.
    """

    def __init__(
        self, client: Client, source: Source, settings: Settings, start_workers: Callable[[], None] = lambda: None
    ) -> None:
        """Give the workers their source and settings.

        Args:
            client: Client of the scheduler.
            source: Source of the radiographs.
            settings: Settings of the work.
            start_workers: Starts the processes of this machine again; nothing on a cluster, which has its own start.
        """
        self.worker = Worker(source, settings)
        self._client = client
        self._start_workers = start_workers
        self._check_versions()
        client.register_plugin(_plugin(source, settings))

    def assess(self, batches: Iterable[Sequence[ArchiveItem]]) -> Iterator[tuple[Sequence[ArchiveItem], BatchOutcome]]:
        """Yield batches with their outcomes, as they are finished.

        A batch that ended several workers is divided. A single item that did so again is blamed (`Worker.lost`).

        Raises:
            ConfigurationError: ``address_invalid`` if no worker is left, and none comes back.
        """
        from distributed import KilledWorker, as_completed  # noqa: PLC0415  # slow to import

        remaining = iter(batches)
        submitted: dict[Future[BatchOutcome], Sequence[ArchiveItem]] = {}
        futures = as_completed()

        def submit(batch: Sequence[ArchiveItem]) -> None:
            future = self._client.submit(_assess, batch, pure=False)
            submitted[future] = batch
            futures.add(future)

        def refill() -> None:
            wanted = _AHEAD * max(1, len(self._client.scheduler_info()["workers"]))
            while len(submitted) < wanted and (batch := next(remaining, None)) is not None:
                submit(batch)

        refill()
        while submitted:
            self._wait_for(futures)
            future = next(futures)
            batch = submitted.pop(future)
            error = future.exception()
            if error is None:
                yield batch, future.result()
            elif isinstance(error, KilledWorker) and len(batch) > 1:
                for item in batch:
                    submit([item])
            elif isinstance(error, KilledWorker):
                yield batch, BatchOutcome([self.worker.lost(batch[0])])
            else:
                raise error
            refill()

    def _wait_for(self, futures: as_completed) -> None:
        """Wait until a batch is finished, and start workers if there are none."""
        revivals, last_alive = 0, time.monotonic()
        while not futures.has_ready():
            time.sleep(_POLL_SECONDS)
            if time.monotonic() - last_alive < WITHOUT_WORKERS_SECONDS * (1 + revivals):
                continue
            if self._client.scheduler_info()["workers"]:
                revivals = 0
            elif revivals == _REVIVALS:
                raise ConfigurationError(
                    "address_invalid",
                    "No worker is alive, and none could be started. What was finished is kept: the same command"
                    " continues.",
                )
            else:
                revivals += 1
                self._start_workers()
            last_alive = time.monotonic()

    def _check_versions(self) -> None:
        """Reject workers of a cluster with another version of the program, whose rows could differ.

        Raises:
            ConfigurationError: ``setting_invalid``.
        """
        others = {one for one in self._client.run(version, "boneage").values() if one != version("boneage")}
        if others:
            raise ConfigurationError(
                "setting_invalid",
                f"Workers of the cluster have boneage {', '.join(sorted(others))}, and this machine has"
                f" {version('boneage')}. Install one version on all.",
            )


@contextmanager
def open_engine(
    source: Source, settings: Settings, *, workers: int = 2, address: str | None = None
) -> Iterator[DaskEngine]:
    """Start processes on this machine, or connect to a cluster, and end that with the block.

    The processes of this machine talk to each other through encrypted connections of the loopback interface, with a
    certificate that exists in memory only, since whoever can talk to a worker can run any code in it.

    Args:
        source: Source of the radiographs.
        settings: Settings of the work.
        workers: Number of processes on this machine, at least 1; unused with an address.
        address: Address of a Dask scheduler, such as ``tls://node1:8786``. Its certificates come from Dask's own
            configuration.

    Raises:
        ConfigurationError: ``address_invalid`` if no scheduler answers there; ``setting_invalid`` if its workers have
            another version.
    """
    import dask  # noqa: PLC0415  # slow to import
    from distributed import Client, LocalCluster  # noqa: PLC0415
    from distributed.security import Security  # noqa: PLC0415

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a worker that dies is no news for the user
    with dask.config.set(_DASK_SETTINGS):
        if address is not None:
            try:
                client = Client(address, timeout=CONNECT_SECONDS)
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    "address_invalid", f"No Dask scheduler answers at {address}: {error}."
                ) from None
            with client:
                yield DaskEngine(client, source, settings)
            return
        cluster = _started(
            LocalCluster,
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=None,
            scheduler_kwargs={"dashboard": False, "dashboard_address": _LOOPBACK},
            worker_dashboard_address=_LOOPBACK,
            security=Security.temporary(),
            silence_logs=logging.CRITICAL,
        )
        with cluster, Client(cluster) as client:

            def start_workers() -> None:
                cluster.scale(0)
                cluster.scale(workers)

            yield DaskEngine(client, source, settings, start_workers)


def _started(cluster: Callable[..., Any], **options: Any) -> Any:
    """Return a started cluster. A worker that ends while it starts makes Dask give up; it is tried again."""
    for _ in range(_STARTS - 1):
        with suppress(RuntimeError):
            return cluster(**options)
    return cluster(**options)


def _plugin(source: Source, settings: Settings) -> Any:
    """Return the plugin that gives each worker its source and settings."""
    from distributed import WorkerPlugin  # noqa: PLC0415  # slow to import

    class ArchivePlugin(WorkerPlugin):
        name = _PLUGIN

        def setup(self, worker: Any) -> None:
            self.worker = Worker(source, settings)
            with suppress(ValueError):  # no main thread
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends them

    return ArchivePlugin()


def _worker() -> Worker:
    from distributed import get_worker  # noqa: PLC0415  # slow to import

    plugin: Any = get_worker().plugins[_PLUGIN]
    worker: Worker = plugin.worker
    return worker


def _assess(items: Sequence[ArchiveItem]) -> BatchOutcome:
    return _worker().run(items)
