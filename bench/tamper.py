"""Tampering with a bundle: random edits of a real one, each of which `unlearn verify` must find, by the right check.

    python bench/tamper.py [--home HOME --bundle FILE] [--edits 1500] [--page docs/benchmarks/evidence.md]

Without a bundle the demo makes one (a minute or two). Two kinds of hands: outsiders, who have the bundle and a key of their
own; and insiders, who have the ledger's own key and sign anew, but can't change what was published. Everything is seeded.
"""

from __future__ import annotations

import argparse
import base64
import random
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bundles import Kind, Real
from insiders import INSIDERS
from outsiders import OUTSIDERS

from unlearn.cases.desk import Desk
from unlearn.evidence.checkpoint import open_note, read_checkpoint
from unlearn.evidence.container import unpack
from unlearn.evidence.layout import CHECKPOINT
from unlearn.evidence.refusal import NotVerified
from unlearn.evidence.signing import read_key_file, signer_of
from unlearn.evidence.verify import verify
from unlearn.settings import Settings

SECTION = "## Tampering with a bundle"


@dataclass
class Tally:
    """What became of the edits of one kind."""

    kind: Kind
    made: int = 0
    found: int = 0
    right: int = 0
    said: str = ""


def run(real: Real, edits: int, seed: int) -> Iterator[Tally]:
    """Make and verify the edits, in shares of the kinds that fit the bundle; every one is seeded by its number."""
    kinds = [kind for kind in (*OUTSIDERS, *INSIDERS) if kind.fits(real)]
    shares = sum(kind.share for kind in kinds)
    for kind in kinds:
        tally = Tally(kind)
        for number in range(max(20, round(edits * kind.share / shares))):
            changed = kind.edit(real, random.Random(f"{seed}/{kind.name}/{number}"))
            assert changed != real.data, kind.name
            tally.made += 1
            try:
                list(verify(changed, real.keys, real.published))
            except NotVerified as error:
                tally.found += 1
                tally.right += error.check in kind.checks
                tally.said = tally.said or f"{error.check}: {error}"
                if error.check not in kind.checks:
                    print(f"  {kind.name}: found by {error.check}: {error}")
        yield tally


def real_bundle(home: Path, bundle: Path) -> Real:
    """The bundle, with the key under the home of the service that made it."""
    data = bundle.read_bytes()
    files = unpack(data)
    origin = read_checkpoint(files[CHECKPOINT].decode().partition("\n\n")[0] + "\n").origin
    signer = signer_of(read_key_file(home / "keys" / "ledger.pem"), origin)
    open_note(files[CHECKPOINT].decode(), [signer.public])
    real = Real(data, files, signer, signer_of(base64.b64encode(bytes(32)).decode(), origin))
    list(verify(data, real.keys, real.published))
    return real


def _made_by_the_demo(out: Path) -> tuple[Path, Path]:
    from unlearn.cli import demo

    demo.run(out, as_json=False)
    [folder] = out.iterdir()
    home, bundle = folder / "home", folder / "held.zip"
    with closing(Desk(Settings(home=home))) as desk:
        [request] = desk.requests()
        desk.put_on_hold(request.id, "a court asked for it")  # a decision with a reason
        bundle.write_bytes(desk.export(request.id))
    return home, bundle


def section(real: Real, tallies: list[Tally], seconds: float, seed: int, edits: int) -> str:
    """The page's section, which stands by itself."""
    made, found, right = (sum(getattr(tally, key) for tally in tallies) for key in ("made", "found", "right"))
    entries = len(real.entries)
    lines = [
        SECTION,
        "",
        f"`python bench/tamper.py --edits {edits}`, seed {seed}: random edits of a real bundle from the demo ({len(real.files)} files, "
        f"{len(real.data):,} bytes, {entries} entries of a ledger of {real.statement['predicate']['ledger']['size']}). "
        f"**{found} of {made} were found, {right} of them by the check that is there for it**; "
        f"{1000 * seconds / made:.1f} ms each, making included.",
        "",
        "Outsiders have the bundle and keys of their own. Insiders have the ledger's key and sign everything anew; what they can't change "
        "is the checkpoint, except in the last row, where only the checkpoint that was published before tells.",
        "",
        "| whose hands | edit | edits | found | by | in its words |",
        "|---|---|---|---|---|---|",
    ]
    for tally in tallies:
        said = re.sub(r"\+[A-Za-z0-9+/]{40,}=*", "", tally.said.partition(": ")[2]).replace("|", "\\|")
        said = said if len(said) <= 150 else f"{said[:150].rsplit(' ', 1)[0]} …"
        lines.append(
            f"| {tally.kind.hands} | {tally.kind.name} | {tally.made} | {tally.found} | {', '.join(sorted(tally.kind.checks))} "
            f"| {said} |"
        )
    lines += [
        "",
        "Not in the table, since a bundle can't show it: an insider who leaves out the end, from an ending on (a request that was completed, "
        "and opened again after a rollback), in the statement too. He has then signed how many entries there were, and the ledger's next shows otherwise.",
        "Nor can it show what nothing is compared with: the figures; and whoever claims that another version of the program "
        "made the certificate, or of the library its PDF, gets it marked as not compared.",
        "",
    ]
    return "\n".join(lines)


def write(page: Path, text: str) -> None:
    """Put the section into the page, in the place of the one before; what else is there stays."""
    old = page.read_text(encoding="utf-8") if page.exists() else "# What the evidence withstands\n"
    head, _, rest = old.partition(SECTION)
    behind = rest.find("\n## ")
    page.write_text(head.rstrip() + "\n\n" + text + ("" if behind < 0 else rest[behind:]), encoding="utf-8")


def main() -> None:
    """Run it; exits with 1 if an edit was not found, or by another check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--edits", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as out:
        home, bundle = (given.home, given.bundle) if given.bundle else _made_by_the_demo(Path(out))
        real = real_bundle(home, bundle)
        started, tallies = time.monotonic(), []
        for tally in run(real, given.edits, given.seed):
            tallies.append(tally)
            print(f"{tally.kind.hands:<9} {tally.kind.name:<62} {tally.right:>4} {tally.found:>4} of {tally.made}")
        seconds = time.monotonic() - started
    if given.page:
        write(given.page, section(real, tallies, seconds, given.seed, given.edits))
    whole = all(tally.right == tally.found == tally.made for tally in tallies)
    print("all found, by the right check" if whole else "NOT all found by the right check")
    raise SystemExit(0 if whole else 1)


if __name__ == "__main__":
    main()
