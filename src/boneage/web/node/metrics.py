"""Metrics of queue and node in the text format of Prometheus. They hold no patient data.

Levels are counted from the tables. Counts of events are those of `boneage.web.node.tallies`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from django.db.models import Count, Min
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import CollectorRegistry

from boneage.web.models import Assessment
from boneage.web.node import tallies
from boneage.web.node.models import Contact, Delivery, DeliveryState, Instance, InstanceState, Tally
from boneage.web.node.outbox import LATENCY_SECONDS
from boneage.web.node.pacs import is_on, node_configuration
from boneage.web.queue.jobs import waiting

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

_COUNTED = (
    (tallies.RECEIVED, "received", "Instances that arrived, by peer.", "peer"),
    (tallies.SKIPPED, "skipped", "Instances that are not read, by reason.", "reason"),
    (tallies.DENIED, "denied", "Associations and messages that were not accepted, by reason.", "reason"),
    (tallies.OUTCOME, "attempts", "Attempts at deliveries, by the code of their outcome.", "code"),
)
"""Kinds of tallies, with name, help and label of their counters."""


def text() -> bytes:
    """Return all metrics."""
    registry = CollectorRegistry()
    registry.register(_Collector())
    return generate_latest(registry)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer a request for the metrics, whatever host it names (WSGI, PEP 3333)."""
    body = text()
    headers = [("Content-Type", CONTENT_TYPE), ("Cache-Control", "no-store"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


class _Collector:
    """Source of all metrics for the library."""

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics as they are now."""
        yield GaugeMetricFamily("boneage_queue_radiographs", "Radiographs that wait or are assessed.", waiting())
        assessments = GaugeMetricFamily("boneage_assessments", "Stored assessments, by state.", labels=["state"])
        for state, count in Assessment.objects.values_list("state").annotate(Count("pk")):
            assessments.add_metric([state], count)
        yield assessments
        if is_on():
            yield from _levels()
            yield from _contacts()
            yield from _counters()


def _levels() -> Iterator[Metric]:
    instances = GaugeMetricFamily("boneage_node_instances", "Received instances, by state.", labels=["state"])
    numbers = dict(Instance.objects.values_list("state").annotate(Count("pk")))
    for state in InstanceState:
        instances.add_metric([state.value], numbers.get(state.value, 0))
    yield instances
    deliveries = GaugeMetricFamily(
        "boneage_node_deliveries", "Deliveries, by receiver and state.", labels=["peer", "state"]
    )
    by_peer = {
        (peer, state): count
        for peer, state, count in Delivery.objects.values_list("peer", "state").annotate(Count("pk"))
    }
    receivers = [peer.name for peer in node_configuration().receivers()]
    for peer in dict.fromkeys([*receivers, *sorted(peer for peer, _ in by_peer)]):
        for one in DeliveryState:
            deliveries.add_metric([peer, one.value], by_peer.get((peer, one.value), 0))
    yield deliveries
    oldest = GaugeMetricFamily(
        "boneage_node_oldest_due_seconds", "Age of the oldest delivery that is not stored yet.", labels=["peer"]
    )
    under_way = Delivery.objects.filter(state__in=[DeliveryState.DUE, DeliveryState.SENDING])
    since = dict(under_way.values_list("peer").annotate(Min("created_at")))
    for peer in receivers:
        oldest.add_metric([peer], _age(since.get(peer)))
    yield oldest


def _contacts() -> Iterator[Metric]:
    family = GaugeMetricFamily(
        "boneage_node_last_contact_timestamp_seconds",
        "Time of the last contact with a peer.",
        labels=["peer", "contact"],
    )
    for contact in Contact.objects.order_by("peer"):
        times = {"received": contact.received_at, "reached": contact.reached_at, "failed": contact.failed_at}
        for name, moment in times.items():
            if moment is not None:
                family.add_metric([contact.peer, name], moment.timestamp())
    yield family


def _counters() -> Iterator[Metric]:
    counts = {(kind, code): count for kind, code, count in Tally.objects.values_list("kind", "code", "count")}
    for kind, name, description, label in _COUNTED:
        family = CounterMetricFamily(f"boneage_node_{name}", description, labels=[label])
        for (of_kind, code), count in sorted(counts.items()):
            if of_kind == kind:
                family.add_metric([code], count)
        yield family
    total, buckets = 0, []
    for bound in [*map(str, LATENCY_SECONDS), "+Inf"]:
        total += counts.get((tallies.LATENCY, bound), 0)
        buckets.append((bound, total))
    seconds = counts.get((tallies.LATENCY_SUM, ""), 0) / 1000
    yield HistogramMetricFamily(
        "boneage_node_latency_seconds",
        "Time from C-STORE to the stored result, without decisions.",
        buckets=buckets,
        sum_value=seconds,
    )


def _age(moment: datetime | None) -> float:
    return 0.0 if moment is None else max(0.0, (timezone.now() - moment).total_seconds())
