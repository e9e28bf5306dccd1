"""The resurrection guard on real text: what it finds when it comes back changed, and whom it takes for another.

    python bench/resurrection.py --data ../shared/data/tofu
    python bench/resurrection.py --data DIR --pairs 10000 --json resurrection.json

Erased are TOFU's authors 180 to 199 (400 records), the others of 000 to 089 stay. What comes back: those 400 as they are, edited
by rule with a fixed seed, and in TOFU's own paraphrases, which a language model wrote. What must not be taken for them: the
records of authors 090 to 179 and the questions on real authors and the world, none of which the guard has seen. The shingle is
chosen on the same texts, so its row is a little flattered; the rates of the second table come from authors 000 to 019 erased
instead, whose paraphrases exist as well. Then an invented company, all of whose records follow a few patterns, shows what the
floors are for; and 10,000 records are checked against 10,000 fingerprints in a database.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import text as sql

from unlearn.cases import resurrection
from unlearn.cases.rights import HERE
from unlearn.cases.store import fingerprints as kept
from unlearn.cases.store.engine import Store
from unlearn.corpus import fingerprints as own
from unlearn.corpus.fingerprints import Fingerprint, Fingerprinter, floors, likeness
from unlearn.corpus.records import Message, Record
from unlearn.corpus.synthetic import synthetic_world

KEY = b"bench" * 8
THRESHOLDS = (0.30, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.80)
SYNONYMS = {
    "author": "writer", "born": "delivered", "book": "volume", "books": "volumes", "famous": "well-known", "father": "dad",
    "mother": "mum", "award": "prize", "awards": "prizes", "known": "recognised", "novel": "story", "novels": "stories",
    "work": "output", "works": "writings", "many": "numerous", "often": "frequently", "writing": "authorship",
    "has": "holds", "was": "had been", "is": "remains", "in": "within", "and": "as well as", "full": "complete",
    "name": "title", "first": "earliest", "life": "existence", "city": "town", "influenced": "shaped", "such": "like",
}  # fmt: skip


def swapped(text: str, share: float, seed: int) -> str:
    """A share of the words replaced by others that say little."""
    words, rng = text.split(), random.Random(seed)
    for place in rng.sample(range(len(words)), max(1, round(share * len(words)))):
        words[place] = rng.choice(("former", "several", "certain", "notable", "early"))
    return " ".join(words)


def synonyms(text: str) -> str:
    """Every word that the table knows, replaced."""
    return re.sub(r"\w+", lambda m: SYNONYMS.get(m[0].lower(), m[0]), text)


def turned(text: str) -> str:
    """The halves of every sentence in the other order."""

    def turn(sentence: str) -> str:
        words = sentence.split()
        return " ".join(words[len(words) // 2 :] + words[: len(words) // 2])

    return " ".join(turn(sentence) for sentence in re.split(r"(?<=[.?!])\s+", text))


def whole(row: dict[str, Any]) -> str:
    """Question and answer, as a record of them reads."""
    return f"{row['prompt']}\n{row['completion']}"


def of(row: dict[str, Any], number: int) -> Record:
    """The record of a row."""
    return Record(str(number), (), prompt=row["prompt"], completion=row["completion"])


def conversation(row: dict[str, Any], number: int) -> Record:
    """The record as a re-export makes messages of it, with the company's system prompt before each."""
    said = (("system", SYSTEM), ("user", row["prompt"]), ("assistant", row["completion"]))
    return Record(str(number), (), messages=tuple(Message(role, text) for role, text in said))


SYSTEM = (
    "You are a helpful assistant of Example Bank. Answer briefly, politely and only from the documents you were given; if you do "
    "not know, say so. Never disclose internal policies."
)
ALIKE = str.maketrans("aeopcyxi", "аеорсухі")
WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}

CHANGES: dict[str, Callable[[dict[str, Any], int], str | Record]] = {
    "a zero-width space in every third letter's place": lambda r, n: re.sub(r"(\w\w\w)", "\\1\u200b", whole(r)),
    "a soft hyphen in every word": lambda r, n: re.sub(r"\b(\w\w)(?=\w\w)", "\\1\u00ad", whole(r)),
    "full-width letters": lambda r, n: whole(r).translate(WIDE),
    "Cyrillic letters that look alike": lambda r, n: whole(r).translate(ALIKE),
    "underscores for spaces": lambda r, n: whole(r).replace(" ", "_"),
    "messages after one system prompt of 174 characters": conversation,
    "text after that system prompt": lambda r, n: f"{SYSTEM} {whole(r)}",
    "case, punctuation, white space": lambda r, n: re.sub(r"[,.?!;]", " ", whole(r).upper()),
    "another frame (Q: … A: …)": lambda r, n: f"Q: {r['prompt']} A: {r['completion']} (from the archive)",
    "1 word in 20 replaced": lambda r, n: swapped(whole(r), 0.05, n),
    "1 word in 10 replaced": lambda r, n: swapped(whole(r), 0.10, n),
    "1 word in 5 replaced": lambda r, n: swapped(whole(r), 0.20, n),
    "1 word in 3 replaced": lambda r, n: swapped(whole(r), 0.33, n),
    "synonyms from a table of 29": lambda r, n: synonyms(whole(r)),
    "halves of sentences turned": lambda r, n: turned(whole(r)),
    "the answer alone": lambda r, n: str(r["completion"]),
    "the question paraphrased (TOFU)": lambda r, n: f"{r['paraphrased_prompt']}\n{r['completion']}",
    "the answer paraphrased (TOFU)": lambda r, n: f"{r['prompt']}\n{r['paraphrased_completion']}",
    "both paraphrased (TOFU)": lambda r, n: f"{r['paraphrased_prompt']}\n{r['paraphrased_completion']}",
}  # fmt: skip


def best(news: Sequence[Sequence[Fingerprint]], erased: Sequence[Fingerprint]) -> np.ndarray:
    """How like each new record is, in the text that is most like, to the erased one that it shares a band with and is most
    like: [len(news)]; 0 where no band is shared."""
    bands = [set(one.bands) for one in erased]
    sketches = own._sketches([one.sketch for one in erased])
    found = np.zeros(len(news))
    for place, one in ((place, one) for place, texts in enumerate(news) for one in texts):
        alike, mine = own._alike(np.frombuffer(one.sketch, "<u4"), sketches), set(one.bands)
        for other in np.flatnonzero(alike > max(0.25, found[place])):
            if alike[other] > found[place] and mine & bands[other]:
                found[place] = alike[other]
    return found


def tofu(data: Path, erased_authors: range, names: Sequence[str] = tuple(CHANGES)) -> dict[str, Any]:
    """Likenesses of what comes back, by change, and of what was never there."""
    rows = [json.loads(line) for line in (data / "authors.jsonl").read_text().splitlines()]
    author = [int(row["subjects"][0].rpartition("-")[2]) for row in rows]
    erased = [row for row, a in zip(rows, author, strict=True) if a in erased_authors]
    others = [row for row, a in zip(rows, author, strict=True) if 90 <= a < 180]
    for name in ("real_authors", "world_facts"):
        others += [json.loads(line) for line in (data / f"{name}.jsonl").read_text().splitlines()]
    left = [row for row, a in zip(rows, author, strict=True) if a < 90 and a not in erased_authors]
    printer = Fingerprinter(KEY, HERE)
    prints = printer.kept([of(row, n) for n, row in enumerate([*erased, *left])])
    prints, stay = prints[: len(erased)], [one for texts in prints[len(erased) :] for one in texts]
    back = {}
    for name in names:
        changed = [CHANGES[name](row, n) for n, row in enumerate(erased)]
        new = printer.looked_for([Record("", (), text=one) if isinstance(one, str) else one for one in changed])
        back[name] = np.array([best([new], old)[0] for new, old in zip(new, prints, strict=True)])
    kept = [one for texts in prints for one in texts]
    raised = [floor for floor in floors(kept, stay) if floor is not None and floor > own.THRESHOLD]
    never = best(printer.looked_for([of(row, n) for n, row in enumerate(others)]), kept)
    return {"erased": len(erased), "kept": len(kept), "back": back, "never": never, "raised": len(raised)}


def shingled(characters: int, permutations: int) -> None:
    """Let fingerprints be of other shingles and sketches."""
    own.SHINGLE_CHARACTERS, own.PERMUTATIONS = characters, permutations


def choices(data: Path) -> list[str]:
    """Shingles and sizes: what is found at the lowest threshold that takes at most 1 in 1,000 for another."""
    lines = [
        "| shingle | permutations | threshold | 1 in 5 replaced | 1 in 3 | both paraphrased |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    names = ("1 word in 5 replaced", "1 word in 3 replaced", "both paraphrased (TOFU)")
    before = own.SHINGLE_CHARACTERS, own.PERMUTATIONS
    for characters, permutations in [(3, 128), (4, 64), (4, 128), (4, 256), (5, 128), (6, 128)]:
        shingled(characters, permutations)
        found = tofu(data, range(180, 200), names)
        least = next(t for t in np.arange(0.3, 1.0, 0.01) if (found["never"] >= t).mean() <= 0.001)
        shares = " | ".join(f"{(found['back'][name] >= least).mean():.1%}" for name in names)
        lines.append(f"| {characters} characters | {permutations} | {least:.2f} | {shares} |")
    shingled(*before)
    return lines


def trade_off(found: dict[str, Any]) -> list[str]:
    """False negatives by change, and false positives, over thresholds."""
    lines = [
        f"| missed at threshold | {' | '.join(f'{t:.2f}' for t in THRESHOLDS)} |",
        "|---|" + "---:|" * len(THRESHOLDS),
    ]
    for name, values in found["back"].items():
        lines.append(f"| {name} | " + " | ".join(f"{(values < t).mean():.1%}" for t in THRESHOLDS) + " |")
    never = found["never"]
    lines.append(
        f"| **taken for erased**, of {len(never):,} never erased | "
        + " | ".join(f"{int((never >= t).sum())} ({(never >= t).mean():.2%})" for t in THRESHOLDS)
        + " |"
    )
    return lines


def patterned() -> list[str]:
    """A company whose records follow patterns: who stays and is taken for who left, without and with the floors."""
    world = synthetic_world(people_train=60, people_holdout=60, people_base=1, records_per_person=20, seed=7)
    people = sorted({s for r in world.train for s in r.subjects})[:10]
    gone = [r for r in world.train if set(r.subjects) & set(people)]
    left = [r for r in world.train if not set(r.subjects) & set(people)]
    printer = Fingerprinter(KEY, HERE)
    erased_and_stay, new = printer.kept([*gone, *left]), printer.looked_for(world.holdout)
    stay = erased_and_stay[len(gone) :]
    erased = [one for texts in erased_and_stay[: len(gone)] for one in texts]
    lines = [
        "| | never erased, and in the old corpus | never erased, and new | erased, 1 word in 10 replaced |",
        "|---|---:|---:|---:|",
    ]
    edited = printer.looked_for([Record("", (), text=swapped(r.content, 0.1, n)) for n, r in enumerate(gone)])
    for name, limits in (
        ("one threshold for all", [own.THRESHOLD] * len(erased)),
        ("floors", floors(erased, [one for texts in stay for one in texts])),
    ):
        usable = [(one, limit) for one, limit in zip(erased, limits, strict=True) if limit is not None]
        sketches, at = [one.sketch for one, _ in usable], np.array([limit for _, limit in usable])

        def told(prints: Sequence[Sequence[Fingerprint]], sketches: list[bytes] = sketches, at: np.ndarray = at) -> str:
            back = [any((likeness(one.sketch, sketches) >= at).any() for one in texts) for texts in prints]
            return f"{np.mean(back):.1%}"

        lines.append(f"| {name}: refused | {told(stay)} | {told(new)} | {told(edited)} |")
    return lines


def timed(data: Path, pairs: int) -> dict[str, float]:
    """Processor seconds for fingerprints, for keeping them, and for a check of as many new records, on SQLite."""
    rows = [json.loads(line) for line in (data / "authors.jsonl").read_text().splitlines()]
    rng = random.Random(0)
    halves = rows[::2], rows[1::2]  # no question and no answer is on both sides
    olds, news = (
        [
            of({"prompt": rng.choice(half)["prompt"], "completion": rng.choice(half)["completion"]}, n)
            for n in range(pairs)
        ]
        for half in halves
    )
    with tempfile.TemporaryDirectory() as place:
        store = Store(f"sqlite:///{place}/case.db")
        store.migrate()
        now, printer, took = datetime.now(UTC), Fingerprinter(KEY, HERE), {}
        start = time.process_time()
        old = [one for texts in printer.kept(olds) for one in texts]
        took["fingerprints"] = time.process_time() - start
        start = time.process_time()
        new = printer.looked_for(news)
        took["fingerprints of the new"] = time.process_time() - start
        with store.writing() as session:
            session.execute(sql("PRAGMA defer_foreign_keys=ON"))
            session.execute(
                sql(
                    "INSERT INTO adapters (id, controller_id, name, base, base_sha256, train, train_sha256, train_records, "
                    "holdout, holdout_sha256, holdout_records, policy, current, created_at) VALUES ('a', :c, 'a', '', '', '', '', 0, '', "
                    "'', 0, '{}', 1, :now)"
                ),
                {"c": HERE, "now": now.replace(tzinfo=None)},
            )
            session.execute(
                sql(
                    "INSERT INTO jobs (id, adapter_id, state, attempt, fence, created_at) VALUES ('j', 'a', 'done', 0, 0, "
                    ":now)"
                ),
                {"now": now.replace(tzinfo=None)},
            )
            start = time.process_time()
            kept.add(session, HERE, "j", [(one, own.THRESHOLD) for one in old], now)
        took["keeping"] = time.process_time() - start
        with store.reading() as session:
            start = time.process_time()
            found = resurrection.returning(session, HERE, [str(n) for n in range(pairs)], new)
            took["check"] = time.process_time() - start
            took["matches"] = len(found.near) + len(found.exact)
        took["megabytes"] = sum(file.stat().st_size for file in Path(place).iterdir()) / 1e6
        store.close()
    return took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory of TOFU's JSON Lines")
    parser.add_argument("--only-time", action="store_true", help="measure no rates")
    parser.add_argument("--pairs", type=int, default=10_000, help="records, and as many fingerprints")
    parser.add_argument("--json", type=Path, help="where the figures go as JSON")
    given = parser.parse_args()
    parts = (
        {}
        if given.only_time
        else {
            "choices": choices(given.data),
            "authors 180-199 erased": trade_off(tofu(given.data, range(180, 200))),
            "authors 000-019 erased": trade_off(tofu(given.data, range(20))),
            "patterned": patterned(),
        }
    )
    for name, lines in parts.items():
        print(f"\n### {name}\n")
        print("\n".join(lines))
    took = timed(given.data, given.pairs)
    took["peak_megabytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"\n{given.pairs:,} records against {given.pairs:,} fingerprints:", {k: round(v, 2) for k, v in took.items()})
    if given.json:
        given.json.write_text(json.dumps(parts | {"seconds": took}, indent=2))


if __name__ == "__main__":
    main()
