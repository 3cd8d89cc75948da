"""The life of an instance as a state machine, with crashes at any transaction.

The machine knows what was acknowledged and what a PACS holds. Whatever order things come in, each acknowledged instance
ends in one final state, and each receiver has one result object of a kind, sent as the same bytes each time. Objects of
a kind that has no result any more are retracted at each receiver that has them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from functools import cache, partial
from io import BytesIO
from typing import Any

import pydicom
import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from boneage.dicom.objects import Kind
from boneage.files import sha256_of
from boneage.node.configuration import Destination, Sides
from boneage.node.instance import InstanceHeader
from boneage.node.intake import CommitmentReport
from boneage.node.outcome import Outcome, OutcomeCode, Result, SendOutcome
from boneage.web.cases.cases import change_birth_date
from boneage.web.cases.corrections import move
from boneage.web.cases.decisions import DecisionInput, decide
from boneage.web.models import Assessment, Case, Role, State, User, Verdict
from boneage.web.node import outbox, results, studies
from boneage.web.node.intake import DatabaseIntake
from boneage.web.node.models import Delivery, DeliveryState, Instance, InstanceState
from boneage.web.node.pacs import node_configuration
from boneage.web.node.results import Rendered
from boneage.web.queue import jobs
from boneage.web.queue.answer import Answer
from tests.web.conftest import answer_of_phantom
from tests.web.node.arrivals import header, instance

pytest.importorskip("highdicom")

CLASS = "1.2.840.10008.5.1.4.1.1.7"
KINDS = {"pacs": {"sc", "sr"}, "archive": {"sc"}}
FINAL = {DeliveryState.STORED, DeliveryState.COMMITTED, DeliveryState.DEAD, DeliveryState.GIVEN_UP}

headers = st.builds(
    lambda number, changes, pixels: header(number, study=f"1.2.{number % 2}", pixels=pixels, **changes),
    number=st.integers(1, 4),
    pixels=st.sampled_from(["p", "p", "p", "q"]),
    changes=st.sampled_from(
        [
            {},
            {},
            {"patient_name": "Doe^Jane"},
            {"sex": "M"},
            {"sex": ""},
            {"birth_date": date(2013, 1, 1)},
            {"view_position": "LL"},
            {"side": "L"},
            {"patient_id": ""},
        ]
    ),
)
crashes = st.sampled_from([False, False, True])


class CrashError(Exception):
    """A process dies."""


class Life(RuleBasedStateMachine):
    """Everything that happens to instances."""

    def __init__(self) -> None:
        super().__init__()
        self.acknowledged: set[str] = set()
        self.held: dict[tuple[str, str], bytes] = {}
        self.renderings: list[Any] = []
        self.sendings: list[tuple[Destination, list[Delivery]]] = []
        self.peers = {peer.name: peer for peer in node_configuration().receivers()}

    @initialize()
    def begin(self) -> None:
        for model in (Instance, Assessment, Case):
            model.objects.all().delete()

    # --- the stretches, each of which may end in a crash before its commit ---

    def do(self, action: Callable[[], object], *, crash: bool = False) -> bool:
        """Return whether an action was committed."""
        with suppress(CrashError), transaction.atomic():
            action()
            if crash:
                raise CrashError
            return True
        return False

    @rule(of=headers, crash=crashes)
    def receive(self, of: InstanceHeader, crash: bool) -> None:
        if self.do(lambda: DatabaseIntake().take(instance(of), of), crash=crash):
            self.acknowledged.add(of.sop_instance_uid)

    @rule(crash=crashes)
    def quiet(self, crash: bool) -> None:
        self.do(studies.advance, crash=crash)

    @rule(sex=st.sampled_from("FM"), crash=crashes)
    def state_sex(self, sex: str, crash: bool) -> None:
        asking = Instance.objects.filter(state=InstanceState.NEEDS_SEX).first()
        if asking is not None:
            with suppress(Exception):  # the case has another sex: nothing changes
                self.do(lambda: studies.set_sex(asking, sex, user()), crash=crash)

    @rule(rejected=st.sampled_from([False, False, True]), crash=crashes)
    def assess(self, rejected: bool, crash: bool) -> None:
        waiting = Assessment.objects.filter(state=State.QUEUED).first()
        begun = None if waiting is None else jobs.begin(str(waiting.pk), "worker")
        if begun is None:
            return
        answer = Answer(State.REJECTED, "no_hand", "There is no hand.") if rejected else plain_answer(begun.sex)
        if not self.do(lambda: jobs.finish(begun, answer), crash=crash):
            jobs.take_up_lost(dead_worker="worker")

    @rule()
    def decide(self) -> None:
        done = Assessment.objects.filter(state=State.DONE, superseded_by=None).order_by("pk").first()
        if done is not None:
            decide(done, DecisionInput(Verdict.CORRECTED, 100.0, "measured again"), user())

    @rule(day=st.integers(1, 3), crash=crashes)
    def correct_birth_date(self, day: int, crash: bool) -> None:
        case = Case.objects.first()
        if case is not None:
            with suppress(ValidationError):  # a radiograph is being assessed
                self.do(lambda: change_birth_date(case, date(2012, 1, day), user()), crash=crash)

    @rule(reference=st.sampled_from(["OTHER", "4711^^^HOSPITAL"]), crash=crashes)
    def move(self, reference: str, crash: bool) -> None:
        done = Assessment.objects.filter(state=State.DONE, superseded_by=None).order_by("pk").first()
        if done is not None:
            with suppress(ValidationError):  # it is there already, or the sex is another one
                self.do(lambda: move(done, reference, user()), crash=crash)

    @rule(crash=crashes)
    def begin_rendering(self, crash: bool) -> None:
        claimed: list[Any] = []
        if self.do(lambda: claimed.append(results.claim("dispatcher")), crash=crash) and claimed[0] is not None:
            self.renderings.append(claimed[0])

    @rule(crash=crashes)
    def end_rendering(self, crash: bool) -> None:
        if self.renderings:
            claimed = self.renderings.pop(0)
            self.do(lambda: results.finish(claimed, rendered(claimed)), crash=crash)

    @rule(name=st.sampled_from(sorted(KINDS)), crash=crashes)
    def begin_sending(self, name: str, crash: bool) -> None:
        claimed: list[Delivery] = []
        peer = self.peers[name]
        if self.do(lambda: claimed.extend(outbox.claim(peer, "dispatcher")), crash=crash):
            self.sendings.append((peer, claimed))

    @rule(code=st.sampled_from(["success", "success", "unreachable", "mismatch"]), crash=crashes)
    def end_sending(self, code: str, crash: bool) -> None:
        if not self.sendings:
            return
        peer, claimed = self.sendings.pop(0)
        for delivery in claimed:
            if code == "success":
                self.hold(delivery)
            self.do(partial(outbox.finish, delivery, outcome(code, delivery), peer), crash=crash)

    def hold(self, delivery: Delivery) -> None:
        """Store an object as a PACS does: the first bytes of a UID are kept."""
        place, file = (delivery.peer, delivery.result.sop_instance_uid), bytes(delivery.result.file)
        assert self.held.setdefault(place, file) == file, "the same UID was sent with other bytes"
        if delivery.result.kind == "sr":
            sc = rendered_uid(str(pydicom.dcmread(BytesIO(file)).ImageComments), "sc")
            sent = Delivery.objects.filter(peer=delivery.peer, result__sop_instance_uid=sc)
            assert not sent.filter(state__in=[DeliveryState.DUE, DeliveryState.SENDING]).exists()

    @rule(does_commit=st.booleans(), crash=crashes)
    def commit(self, does_commit: bool, crash: bool) -> None:
        Delivery.objects.exclude(commit_due_at=None).update(commit_due_at=timezone.now() - timedelta(seconds=1))
        uid, claimed = outbox.claim_commitment(self.peers["pacs"])
        if crash:  # before the request: the receiver is queried after a day
            return
        outbox.finish_commitment_request(uid, Outcome(Result.DONE, OutcomeCode.SUCCESS))
        uids = [row.sent_instance_uid for row in claimed]
        failed = {} if does_commit else dict.fromkeys(uids, 0x0112)
        DatabaseIntake().committed(CommitmentReport("pacs", uid, uids if does_commit else [], failed))

    @rule()
    def lose_leases(self) -> None:
        """Processes hang: their leases run out, and their outcomes come late or never."""
        past = timezone.now() - timedelta(seconds=1)
        for model in (Instance, Delivery):
            model.objects.exclude(lease_until=None).update(lease_until=past)

    @rule()
    def retry_dead(self) -> None:
        dead = Delivery.objects.filter(state=DeliveryState.DEAD).first()
        if dead is not None:
            outbox.retry(dead, user())

    @rule()
    def time_passes(self) -> None:
        Delivery.objects.filter(state=DeliveryState.DUE).update(due_at=timezone.now() - timedelta(seconds=1))

    @invariant()
    def every_acknowledged_instance_is_kept_once(self) -> None:
        assert set(Instance.objects.values_list("sop_instance_uid", flat=True)) >= self.acknowledged

    def teardown(self) -> None:
        """Let everything come to its end, and compare it with what must be."""
        self.renderings.clear()
        self.sendings.clear()
        for _ in range(60):
            self.lose_leases()
            self.time_passes()
            self.quiet(False)
            for sex in "FM":
                self.state_sex(sex, False)
            self.assess(False, False)
            self.begin_rendering(False)
            self.end_rendering(False)
            for name in KINDS:
                self.begin_sending(name, False)
                self.end_sending("success", False)
            self.commit(True, False)
            if not self.is_under_way():
                break
        self.check_end()
        super().teardown()

    def is_under_way(self) -> bool:
        waits = (InstanceState.WAITING, InstanceState.RESERVE, InstanceState.QUEUED)
        sends = Delivery.objects.exclude(state__in=FINAL).exists()
        return sends or Instance.objects.filter(state__in=waits).exists()

    def check_end(self) -> None:
        for row in Instance.objects.select_related("assessment"):
            assert row.state in {InstanceState.RENDERED, InstanceState.SKIPPED, InstanceState.NEEDS_SEX}, row.state
            if row.state != InstanceState.RENDERED or row.assessment is None:
                continue
            self.check_retractions(row)
            if row.assessment.state != State.DONE:
                continue
            assert row.assessment.superseded_by_id is None
            for one in rendered(row):
                sent = Delivery.objects.filter(result__sop_instance_uid=one.sop_instance_uid)
                by_peer = {delivery.peer: delivery for delivery in sent}
                assert sent.count() == len(by_peer) == sum(one.kind in kinds for kinds in KINDS.values())
                for name, delivery in by_peer.items():
                    is_held = self.held.get((name, one.sop_instance_uid)) == one.file
                    assert is_held or delivery.state == DeliveryState.DEAD

    def check_retractions(self, row: Instance) -> None:
        """Compare what receivers hold of an instance with its results."""
        made = rendered(row)
        has, holds = {one.kind for one in made}, {one.sop_instance_uid for one in made}
        held = Delivery.objects.filter(~outbox.IS_RETRACTION, result__instance=row, state__in=outbox.HELD)
        for delivery in held.select_related("result"):
            retraction = delivery.retraction
            if delivery.result.sop_instance_uid in holds:
                assert retraction is None, "a result that holds is retracted"
            elif delivery.result.kind not in has:
                assert retraction is not None, "a result without a successor still stands"
                (of_it,) = retraction.deliveries.all()
                assert of_it.state in {*outbox.HELD, DeliveryState.DEAD}
                assert delivery.result.sop_instance_uid in str(pydicom.dcmread(BytesIO(bytes(retraction.file))))


def user() -> User:
    return User.objects.get(username="reviewer")


def plain_answer(sex: str) -> Answer:
    return Answer(State.DONE, age_months=94.0, results=answer_of_phantom(sex=sex).results)


def rendered(claimed: Instance) -> list[Rendered]:
    """Result objects as `boneage.web.node.results.render` makes them: equal causes give equal bytes."""
    assessment = Assessment.objects.get(instances=claimed)
    if assessment.state != State.DONE or claimed.is_of_other_patient:
        return []
    decision = assessment.decisions.last()
    cause = f"{claimed.sop_instance_uid} {assessment.pk} {None if decision is None else decision.pk} {claimed.revision}"
    kinds: tuple[Kind, ...] = ("sc", "sr")
    return [
        Rendered(
            kind=kind,
            sop_class_uid=CLASS,
            sop_instance_uid=rendered_uid(cause, kind),
            series_uid="1.2",
            file=rendered_file(cause, kind),
        )
        for kind in kinds
    ]


@cache
def rendered_file(cause: str, kind: str) -> bytes:
    """Return a small object of this program, as a DICOM file."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = UID(CLASS), UID(rendered_uid(cause, kind))
    made.StudyInstanceUID, made.SeriesInstanceUID = UID("1.2.3"), UID("1.2")
    made.ManufacturerModelName, made.ImageComments = "boneage", cause
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    buffer = BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def rendered_uid(cause: str, kind: str) -> str:
    return f"2.25.{int(sha256_of((cause + kind).encode())[:24], 16)}"


def outcome(code: str, delivery: Delivery) -> SendOutcome:
    result = {"success": Result.DONE, "unreachable": Result.RETRY, "mismatch": Result.DEAD}[code]
    return SendOutcome(result, OutcomeCode(code), None, CLASS, delivery.result.sop_instance_uid)


@pytest.mark.django_db
@pytest.mark.parametrize("sides", ["left_first", "both"])
def test_life_of_instances(
    node: None, make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch, sides: Sides
) -> None:
    """Any order of events and crashes ends well, whether one radiograph of a study is read or one of each side."""
    make_user(Role.REVIEWER)
    usual = node_configuration()
    changed = replace(usual, select=replace(usual.select, sides=sides))
    monkeypatch.setattr(studies, "node_configuration", lambda: changed)
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=25,
            stateful_step_count=40,
            deadline=None,
            report_multiple_bugs=False,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
