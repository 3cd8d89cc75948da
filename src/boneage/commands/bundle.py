"""Commands ``boneage bundle list | show | check``."""

from __future__ import annotations

import click


@click.group()
def bundle() -> None:
    """List, show and check model bundles: folders with networks (ONNX) and a manifest that describes them."""


@bundle.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each bundle.")
def list_(as_json: bool) -> None:
    """List the shipped bundles. A star marks the default."""
    import json

    from boneage.bundle.shipped import list_bundles

    for one in list_bundles():
        error = "not validated" if one.mad_months is None else f"validation MAD {one.mad_months:.2f} months"
        if as_json:
            keys = ("name", "version", "title", "created", "members", "mad_months", "is_default")
            click.echo(json.dumps({key: getattr(one, key) for key in keys}, ensure_ascii=False))
        else:
            star = "*" if one.is_default else " "
            networks = "1 network" if one.members == 1 else f"{one.members} networks"
            click.echo(f"{star} {one.name} {one.version}: {one.title} ({networks}, {error})")


@bundle.command()
@click.argument("name_or_dir", default="default")
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest as JSON.")
def show(name_or_dir: str, as_json: bool) -> None:
    """Show the manifest of the bundle NAME_OR_DIR."""
    import json

    from boneage.bundle.bundle import Bundle

    manifest = Bundle.open(name_or_dir).manifest
    plain = manifest.to_json()
    if as_json:
        click.echo(json.dumps(plain, indent=2, ensure_ascii=False))
        return
    for key in ("name", "version", "title", "created", "data", "licence"):
        click.echo(f"{key}: {plain[key]}")
    for member in manifest.members:
        view, sexes = member.view, " ".join(sex.value for sex in member.sexes)
        size = f"{view.width} x {view.height}, grey by {view.grey}"
        mirror = " and its mirror image" if member.mirror else ""
        click.echo(
            f"member {member.name}: {member.graph}, view {view.region} {size}{mirror},"
            f" sex {sexes}, weight {member.weight:g}, trained on ages of"
            f" {member.age_mean_months:.1f} ± {member.age_spread_months:.1f} months"
        )
    for key, value in plain["metrics"].items():
        click.echo(f"metric {key}: {value}")


@bundle.command()
@click.argument("name_or_dir", default="default")
@click.pass_context
def check(ctx: click.Context, name_or_dir: str) -> None:
    """Check the bundle NAME_OR_DIR: checksums, signatures of the graphs, and the self-test on the drawn phantom."""
    from boneage.bundle.bundle import Bundle
    from boneage.bundle.check import check_bundle
    from boneage.errors import BundleError

    results = check_bundle(Bundle.open(name_or_dir))
    for result in results:
        click.echo(f"{'ok  ' if result.passed else 'FAIL'} {result.name}: {result.detail}")
    failed = [result.name for result in results if not result.passed]
    if failed:
        raise BundleError("bundle_check_failed", f"{len(failed)} of {len(results)} checks failed: {', '.join(failed)}.")
