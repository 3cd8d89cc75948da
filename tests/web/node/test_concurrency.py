"""Several listeners and dispatchers at once, on SQLite and PostgreSQL: nothing is lost, doubled or locked for good."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from pytest_django.fixtures import Settings

from boneage.web.models import Assessment, AuditEvent, State
from boneage.web.node import outbox, results, studies
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import Delivery, DeliveryState, Instance, InstanceState, Tally
from boneage.web.node.pacs import node_configuration
from boneage.web.node.tallies import RECEIVED
from tests.web.databases import database_of_all_threads, postgresql, sqlite
from tests.web.node.arrivals import configured, header, instance
from tests.web.node.test_life import outcome, rendered

STUDIES, THREADS = 6, 4


@pytest.fixture(params=["sqlite", "postgresql"])
def node_database(
    request: pytest.FixtureRequest, tmp_path: Path, settings: Settings, django_db_blocker: Any
) -> Iterator[None]:
    """A node on an empty database that several threads use."""
    is_sqlite = request.param == "sqlite"
    described = sqlite(tmp_path) if is_sqlite else postgresql(request.getfixturevalue("new_postgres")())
    settings.CONFIGURATION = replace(settings.CONFIGURATION, mode="clinic", pacs=str(configured(tmp_path)))
    with database_of_all_threads(django_db_blocker, described):
        yield


def at_once(do: Callable[[], object]) -> None:
    """Call a function in several threads at the same moment; a failure of one is a failure of the test."""
    failures: list[BaseException] = []
    barrier = threading.Barrier(THREADS)

    def run() -> None:
        try:
            barrier.wait()
            do()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_everything_at_once(node_database: None) -> None:
    """Each radiograph arrives on every association, and every step is made by all dispatchers at once."""
    of = [header(number, study=f"1.2.{number}") for number in range(STUDIES)]

    def receive() -> None:
        for one in of:
            DatabaseIntake().take(instance(one), one)

    at_once(receive)
    assert Instance.objects.count() == STUDIES
    assert AuditEvent.objects.filter(action="receive").count() == STUDIES
    assert Tally.objects.get(kind=RECEIVED).count == STUDIES * THREADS

    at_once(studies.advance)
    assert Assessment.objects.count() == STUDIES
    assert Counter(Instance.objects.values_list("state", flat=True)) == {InstanceState.QUEUED: STUDIES}

    Assessment.objects.update(state=State.DONE)
    claimed: list[Instance] = []

    def make() -> None:
        while (one := results.claim("dispatcher")) is not None:
            claimed.append(one)
            assert results.finish(one, rendered(one))

    at_once(make)
    assert len(claimed) == STUDIES
    assert Delivery.objects.count() == 3 * STUDIES

    sent: list[str] = []

    def send() -> None:
        for peer in node_configuration().receivers():
            while deliveries := outbox.claim(peer, "dispatcher"):
                for one in deliveries:
                    sent.append(f"{peer.name} {one.result.sop_instance_uid}")
                    assert outbox.finish(one, outcome("success", one), peer)

    for _ in range(2):  # while another thread sends the picture, the report waits
        at_once(send)
    assert len(sent) == len(set(sent)) == 3 * STUDIES
    assert set(Delivery.objects.values_list("state", flat=True)) == {DeliveryState.STORED}
