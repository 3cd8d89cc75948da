"""Metrics and condition of a node."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from boneage.node.intake import Caller, DenialReason
from boneage.web.models import Assessment
from boneage.web.node import metrics, outbox, studies
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import Delivery, DeliveryState, Instance, InstanceState, ResultFile
from boneage.web.node.pacs import node_configuration
from tests.web.node.arrivals import header, instance
from tests.web.node.test_life import outcome

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("node")]


def values() -> dict[tuple[str, ...], float]:
    """Return all samples by name and labels, as Prometheus reads them."""
    families = text_string_to_metric_families(metrics.text().decode())
    return {(one.name, *one.labels.values()): one.value for family in families for one in family.samples}


def a_delivery() -> None:
    """Make a result object with its two deliveries."""
    DatabaseIntake().take(instance(header()), header())
    studies.advance()
    result = ResultFile.objects.create(
        instance=Instance.objects.get(state=InstanceState.QUEUED),
        assessment=Assessment.objects.get(),
        kind="sc",
        file=b"x",
        sop_instance_uid="1",
    )
    outbox.add(result, ["pacs", "archive"])


def test_metrics_count_what_happened() -> None:
    """Instances, skipping, denials, deliveries and latency stand in the text, and no patient."""
    DatabaseIntake().take(instance(header(2, view_position="LL")), header(2, view_position="LL"))
    DatabaseIntake().skip("1.2.840.10008.5.1.4.1.1.88.11", "1.5", Caller("PACS", "127.0.0.1", "pacs"))
    DatabaseIntake().denied(DenialReason.CALLER_UNKNOWN, Caller("X", "127.0.0.1"))
    a_delivery()
    peer = node_configuration().receivers()[0]
    (claimed,) = outbox.claim(peer, "dispatcher")
    assert outbox.finish(claimed, outcome("success", claimed), peer)
    outbox.count(claimed, outcome("success", claimed))
    samples = values()
    assert samples["boneage_node_received_total", "pacs"] == 3
    assert (
        samples["boneage_node_skipped_total", "lateral_view"]
        == samples["boneage_node_skipped_total", "storage_class"]
        == 1
    )
    assert samples["boneage_node_denied_total", "caller_unknown"] == 1
    assert (
        samples["boneage_node_deliveries", "pacs", "stored"]
        == samples["boneage_node_deliveries", "archive", "due"]
        == 1
    )
    assert (
        samples["boneage_node_oldest_due_seconds", "archive"] > samples["boneage_node_oldest_due_seconds", "pacs"] == 0
    )
    assert (
        samples["boneage_node_latency_seconds_count",] == samples["boneage_node_latency_seconds_bucket", "86400"] == 1
    )
    assert samples["boneage_queue_radiographs",] == 1
    assert not any(word in metrics.text().decode() for word in ("4711", "HOSPITAL", "A-99"))


@pytest.fixture
def listening(node: None) -> Iterator[None]:
    """A program that listens at the address of the node."""
    settings = node_configuration().node
    with socket.create_server((settings.host, settings.port)):
        yield


def test_not_ready_before_listener(client: Client) -> None:
    """A balancer sends nothing to a node that does not listen yet."""
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (503, "no_listener")
    node = node_configuration().node
    with socket.create_server((node.host, node.port)) as listener:
        assert client.get("/health/ready").json()["status"] == "ok"
        listener.settimeout(0.05)
        with pytest.raises(TimeoutError):
            listener.accept()  # the check calls nobody
    assert client.get("/health/live").status_code == 200


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize(("hours", "status"), [(0.9, "ok"), (1.1, "degraded")])
def test_condition_degraded_by_long_wait(client: Client, hours: float, status: str) -> None:
    """A receiver that takes nothing for an hour, such as one that does not know the node, is noticed."""
    a_delivery()
    Delivery.objects.filter(peer="pacs").update(begun_at=timezone.now() - timedelta(hours=hours))
    assert client.get("/health/ready").json()["status"] == status


@pytest.mark.usefixtures("listening")
def test_condition_degraded_by_dead_letter(client: Client) -> None:
    """A dead letter makes the service degraded, and still ready; giving it up mends that."""
    assert client.get("/health/ready").json()["status"] == "ok"
    a_delivery()
    Delivery.objects.filter(peer="pacs").update(state=DeliveryState.DEAD)
    response = client.get("/health/ready")
    assert (response.status_code, response.json()["status"]) == (200, "degraded")
    Delivery.objects.filter(peer="pacs").update(state=DeliveryState.GIVEN_UP)
    assert client.get("/health").json()["status"] == "ok"
    assert client.get("/health/live").json() == {"status": "ok"}
    assert b"boneage_node_deliveries" in client.get("/metrics").content
