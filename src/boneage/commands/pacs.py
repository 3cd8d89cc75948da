"""Command ``boneage pacs``: results as DICOM objects, and the connection to a PACS."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from boneage.commands.assess_options import checked_age, checked_language, checked_sex

if TYPE_CHECKING:
    from boneage.clinical.ages import ChronologicalAge
    from boneage.dicom.objects import Kind
    from boneage.node.check import PeerCheck


@click.group()
def pacs() -> None:
    """Write results as DICOM objects, and check the connection to a PACS."""


@pacs.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder for the objects.")
@click.option("--sex", callback=checked_sex, help="F or M. The sex that the file states is the default.")
@click.option(
    "--age", callback=checked_age, help="Chronological age, like 10y6m. The age that the file states is the default."
)
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(["sr", "sc", "pr"]),
    multiple=True,
    default=("sr", "sc"),
    show_default=True,
    help="Structured report, Secondary Capture, presentation state; repeat it for several.",
)
@click.option("--language", callback=checked_language, default="en", show_default=True, help="Language of the page.")
@click.option("--bundle", default="default", show_default=True, help="Name or folder of the model bundle.")
def objects(
    file: Path,
    out: Path,
    sex: str | None,
    age: ChronologicalAge | None,
    kinds: tuple[Kind, ...],
    language: str,
    bundle: str,
) -> None:
    """Assess the DICOM radiograph FILE, and write its result objects into a folder, one file for each kind.

    Nothing is sent. The objects belong to the study of the radiograph, and equal results have equal UIDs. A bone age
    that must not be used becomes a Secondary Capture that states this, and no structured report.
    """
    from datetime import UTC, datetime

    from boneage.composition import assess
    from boneage.dicom.objects import result_objects
    from boneage.explain import mark_hand, overlay
    from boneage.file_names import shown
    from boneage.files import atomic_write
    from boneage.reading.dicom.object import parse_object
    from boneage.reading.facts import DEFAULT_LIMITS
    from boneage.reading.radiograph import is_dicom, read_file

    data = read_file(file)
    if not is_dicom(data):
        raise click.UsageError(f"{shown(str(file))} is not a DICOM file: its result has no study to belong to.")
    source = parse_object(data, DEFAULT_LIMITS)
    in_file = str(source.get("PatientSex", "") or "")
    result = assess(data, sex or (in_file if in_file in {"F", "M"} else None), bundle, age=age, name=file.name)
    picture = overlay(result.picture, result.heat_map(), scale_bar=False)
    if result.hand is not None:
        picture = mark_hand(picture, result.hand, result.radiograph_to_picture)
    out.mkdir(parents=True, exist_ok=True)
    made = result_objects(
        source, result.document(), picture, now=datetime.now(UTC).astimezone(), kinds=kinds, language=language
    )
    for one in made:
        path = out / f"{one.kind}.dcm"
        with atomic_write(path) as temporary:
            temporary.write_bytes(one.to_bytes())
        click.echo(f"{path}: {one.dataset.SOPClassUID.name}, {one.dataset.SOPInstanceUID}")


@pacs.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(file: Path) -> None:
    """Check the configuration FILE of the DICOM node: its address, and what each peer answers and accepts.

    Every peer with a port gets a C-ECHO, and every other destination a request for what it does. No result is sent, and
    nothing is stored. The exit status is 10 if one of them does not answer, or does not accept what the configuration
    needs.
    """
    from boneage.errors import ConfigurationError, NodeError
    from boneage.node.check import check_address, check_peers
    from boneage.node.configuration import read_configuration

    configuration = read_configuration(file)
    node, fault = configuration.node, None
    count = len(configuration.peer)
    click.echo(f"{file}: valid, {count} peer{'' if count == 1 else 's'}")
    try:
        state = "free" if check_address(node) else "in use by a DICOM node: it is running"
    except ConfigurationError as error:
        state, fault = f"NOT USABLE: {error.message}", error
    click.echo(f"{node.ae_title} at {node.host}:{node.port}{' with TLS' if node.tls.required else ''}: {state}")
    for peer in configuration.peer:
        if not peer.port:
            click.echo(f"\n{peer.name}: {peer.ae_title}, calls only")
    checks = check_peers(configuration)
    for one in checks:
        _echo_check(one)
    if fault is not None:
        raise fault
    faulty = [one.peer.name for one in checks if not one.is_ready]
    if faulty:
        raise NodeError("peer_not_ready", f"Not ready: {', '.join(faulty)}. docs/pacs.md has causes and remedies.")


def _echo_check(check: PeerCheck) -> None:
    """Print the answer of a peer, and what it accepts."""
    from pydicom.uid import UID

    from boneage.node.configuration import Peer
    from boneage.node.destinations import WebService

    peer, outcome = check.peer, check.outcome
    answer = f"answers in {1000 * outcome.seconds:.0f} ms"
    if outcome.result != "done":
        status = f" ({outcome.status_text})" if outcome.status_text else ""
        answer = f"NO ANSWER: {outcome.code.value}{status}. {outcome.code.advice}"
    place = peer.place
    if isinstance(peer, Peer):
        place = f"{peer.ae_title} at {peer.host}:{peer.port}"
    secured = " with TLS" if getattr(peer, "tls", False) else ""
    click.echo(f"\n{peer.name}: {place}{secured}: {answer}")
    if isinstance(peer, WebService) and peer.secret and peer.url.startswith("http:"):
        click.echo("  the secret goes over the network without TLS")
    for name, uid in check.accepted.items():
        click.echo(f"  {name:<12}accepted  {UID(uid).name if uid[0].isdigit() else uid}")
    for name in check.missing:
        click.echo(f"  {name:<12}NOT ACCEPTED")
