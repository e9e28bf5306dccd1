"""What somebody does to a bundle who has its ledger's own key, and signs anew: each edit, and the check that finds it."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from typing import Any

from bundles import Kind, Real, flipped, resigned

from unlearn.evidence import merkle
from unlearn.evidence.checkpoint import Checkpoint, sign_note
from unlearn.evidence.layout import CHECKPOINT, ENTRIES, REQUEST
from unlearn.evidence.ledger import new_entry
from unlearn.evidence.rendered import pretty, rendered
from unlearn.evidence.signing import signer_of


def _with_entries(real: Real, entries: list[dict[str, Any]], *, listed: bool = True) -> bytes:
    """Other entries, and a statement that lists them."""
    text = "".join(json.dumps(one, sort_keys=True, ensure_ascii=False) + "\n" for one in entries)
    statement = real.statement
    if listed:
        about = [one for one in entries if not one["action"].startswith("ledger_")]
        statement["predicate"]["ledger"] |= {"entries": [one["seq"] for one in entries], "about_request": len(about)}
    return resigned(real.files | {ENTRIES: text.encode()}, statement, real.signer)


def _altered(entry: dict[str, Any], dice: random.Random) -> dict[str, Any]:
    """The entry with another fact, action or time."""
    what = dice.choice(["facts", "at", "action"])
    if what == "facts":
        return entry | {"facts": entry["facts"] | {dice.choice([*entry["facts"], "note"]): dice.randrange(10**6)}}
    if what == "at":
        return entry | {"at": f"2020-01-01T00:00:{dice.randrange(60):02}.000Z"}
    return entry | {"action": dice.choice(sorted({"key_created", "request_held", "verdict"} - {entry["action"]}))}


def _an_entry_edited(real: Real, dice: random.Random) -> bytes:
    entries = real.entries
    place = dice.randrange(len(entries))
    entries[place] = _altered(entries[place], dice)
    return _with_entries(real, entries)


def _an_entry_edited_with_its_hash(real: Real, dice: random.Random) -> bytes:
    entries = real.entries
    place = dice.randrange(len(entries))
    changed = _altered(entries[place], dice)
    made = new_entry(changed["seq"], changed["at"], changed["action"], changed["facts"])
    entries[place] = changed | {"hash": made.hash}
    return _with_entries(real, entries)


def _entries_reordered(real: Real, dice: random.Random) -> bytes:
    entries = real.entries
    one, other = dice.sample(range(len(entries)), 2)
    entries[one], entries[other] = entries[other], entries[one]
    return _with_entries(real, entries)


def _entries_renumbered(real: Real, dice: random.Random) -> bytes:
    """Two entries change their places in the story, numbers and all."""
    entries = real.entries
    one, other = dice.sample(range(len(entries)), 2)
    first, second = entries[one], entries[other]
    told = ("at", "action", "facts")
    entries[one], entries[other] = first | {k: second[k] for k in told}, second | {k: first[k] for k in told}
    for place in (one, other):
        entry = entries[place]
        entry["hash"] = new_entry(entry["seq"], entry["at"], entry["action"], entry["facts"]).hash
    return _with_entries(real, entries)


def _entries_truncated(real: Real, dice: random.Random) -> bytes:
    """The end is cut off, or the beginning; the statement lists what is left."""
    entries = real.entries
    cut = dice.randrange(1, len(entries))
    return _with_entries(real, dice.choice([entries[:cut], entries[cut:]]))


def _a_step_left_out(real: Real, dice: random.Random) -> bytes:
    needed = ("request_accepted", "attempt_started", "verdict", "version_released", "request_completed")
    gone = dice.choice(needed)
    return _with_entries(real, [one for one in real.entries if one["action"] != gone])


def _any_entry_left_out(real: Real, dice: random.Random) -> bytes:
    """One about the request that is not the last, whether the story needs it or not."""
    entries = real.entries
    about = [one for one in entries if not one["action"].startswith("ledger_")][:-1]
    gone = dice.choice(about)
    return _with_entries(real, [one for one in entries if one is not gone])


def _an_entry_left_out_silently(real: Real, dice: random.Random) -> bytes:
    entries = real.entries
    del entries[dice.randrange(len(entries))]
    return _with_entries(real, entries, listed=False)


def _proofs_swapped(real: Real, dice: random.Random) -> bytes:
    entries = real.entries
    one, other = dice.sample(range(len(entries)), 2)
    entries[one]["path"], entries[other]["path"] = entries[other]["path"], entries[one]["path"]
    return _with_entries(real, entries)


def _a_proof_edited(real: Real, dice: random.Random) -> bytes:
    entries = real.entries
    path = entries[dice.randrange(len(entries))]["path"]
    place = dice.randrange(len(path))
    path[place] = flipped(bytes.fromhex(path[place]), dice).hex()
    return _with_entries(real, entries)


def _a_report_beautified(real: Real, dice: random.Random) -> bytes:
    """Verdict, method or a gate's outcome in report and statement, signed with the ledger's own key."""
    statement = real.statement
    job = dice.choice([job for job in statement["predicate"]["jobs"] if job["method"]])
    name = f"jobs/{job['id']}/report.json"
    report = json.loads(real.files[name])
    what = dice.choice(["verdict", "method", "findings"])
    if what == "findings":
        finding = dice.choice(report["findings"])
        finding["outcome"] = dice.choice(sorted({"pass", "fail", "inconclusive"} - {finding["outcome"]}))
        job["findings"] = report["findings"]
    else:
        report[what] = job[what] = f"{report[what]}-{dice.randrange(10**6)}"
    return resigned(real.files | {name: pretty(report)}, statement, real.signer)


def _other_weights(real: Real, dice: random.Random) -> bytes:
    """Another digest of what was released, everywhere but in the ledger."""
    statement = real.statement
    job = dice.choice([job for job in statement["predicate"]["jobs"] if job["after"]])
    old, new = job["after"]["sha256"], dice.randbytes(32).hex()
    files = {
        name: data.replace(old.encode(), new.encode()) if name != ENTRIES else data for name, data in real.files.items()
    }
    return resigned(files, json.loads(json.dumps(statement).replace(old, new)), real.signer)


def _a_statement_beside_its_files(real: Real, dice: random.Random) -> bytes:
    statement = real.statement
    said = statement["predicate"]
    what = dice.choice(["state", "subject", "method", "digest", "jobs", "findings", "metrics", "clock"])
    if what in ("state", "subject"):
        said["request"][what] = f"{dice.randrange(10**6)}"
    elif what == "jobs":
        said["jobs"] = []
    elif what == "clock":
        said["clock"][dice.choice(["received_at", "due_at", "completed_at"])] = (
            f"2026-01-{dice.randrange(10, 30)}T00:00:00Z"
        )
    elif what == "findings":
        dice.choice(said["jobs"][0]["findings"])["figure"] = dice.random()
    elif what == "metrics":
        said["jobs"][0]["metrics"]["after"]["forget_nll_nats"] = dice.random()
    elif what == "method":
        said["jobs"][0]["method"] = f"{dice.randrange(10**6)}"
    else:
        statement["subject"][-1]["digest"]["sha256"] = dice.randbytes(32).hex()
    return resigned(real.files, statement, real.signer)


def _a_certificate_or_table_replaced(real: Real, dice: random.Random) -> bytes:
    """Other words in a file that follows from the statement and the reports."""
    made = ("certificate.html", "certificate.pdf", "metrics.csv", "metrics.json", ".txt")
    names = [name for name in real.files if name.endswith(made)]
    name = dice.choice([one for one in names if not one.startswith("ledger/")])
    old = real.files[name]
    place = dice.randrange(len(old))
    other = dice.choice(
        [b"", b"<h1>Certificate</h1>", old[:place] + b"0" + old[place:], old[:place] + old[place + 1 :]]
    )
    return resigned(real.files | {name: other}, real.statement, real.signer)


def _a_file_more(real: Real, dice: random.Random) -> bytes:
    [job, *_] = real.statement["predicate"]["jobs"]
    name = dice.choice(["certificate-2.html", f"jobs/{job['id']}/report-2.json", "jobs/job_0/job.json", "x/y"])
    return resigned(real.files | {name: dice.randbytes(9)}, real.statement, real.signer)


def _another_issuer(real: Real, dice: random.Random) -> bytes:
    statement = real.statement
    issued = statement["predicate"]["issued"]
    issued[dice.choice(sorted(issued))] = f"2026-01-{dice.randrange(10, 30)}T00:00:00Z"
    return resigned(real.files, statement, real.signer)


def _entries_kept_quiet(real: Real, dice: random.Random) -> bytes:
    """What was taken out or decided is left out of the statement, told twice, or told otherwise."""
    statement = real.statement
    said = statement["predicate"]
    told = dice.choice([one for one in ("decisions", "purged") if said[one]])
    one = dice.choice(said[told])
    others = [other for other in said[told] if other is not one]
    changed = one | {"facts": one["facts"] | {"note": dice.randrange(10**6)}}
    said[told] = dice.choice([others, [*said[told], one], [*others, changed]])
    return resigned(real.files, statement, real.signer)


def _a_copied_field_dropped_or_changed(real: Real, dice: random.Random) -> bytes:
    """Any field of request, clock or job in the statement alone."""
    statement = real.statement
    said = statement["predicate"]
    part = dice.choice([said["request"], said["clock"], *said["jobs"]])
    key = dice.choice(sorted(key for key, value in part.items() if value is not None and key not in ("id", "alone")))
    if dice.random() < 0.5:
        del part[key]
    else:
        part[key] = f"{dice.randrange(10**6)}"
    return resigned(real.files, statement, real.signer)


def _a_fact_changed_in_file_and_statement(real: Real, dice: random.Random) -> bytes:
    """What the ledger says too: in the request's or the job's file, the statement, and everything made of them."""
    statement = real.statement
    said = statement["predicate"]
    request = json.loads(real.files[REQUEST])
    own = dice.choice([job for job in said["jobs"] if job["after"]])
    name = f"jobs/{own['id']}/job.json"
    job = json.loads(real.files[name])
    other = f"{dice.randrange(10**6)}"
    key = dice.choice(["submitted_by", "regulation", "controller", "records", "adapter", "attempt", "state"])
    if key == "controller":
        request[key] = said["request"][key] = {"id": other, "name": other}
    elif key in ("submitted_by", "regulation"):
        request[key] = said["request"][key] = other
    elif key == "records":
        [short] = [one for one in request["jobs"] if one["id"] == own["id"]]
        short[key] = own[key] = dice.randrange(10**6, 10**7)
    else:
        if key == "adapter":
            for one in statement["subject"]:
                one["name"] = one["name"].replace(f"{own['adapter']}/", f"{other}/")
        job[key] = own[key] = other
    files = real.files | {REQUEST: pretty(request), name: pretty(job)}
    said = json.loads(json.dumps(said))
    reports = {one["id"]: json.loads(files[f"jobs/{one['id']}/report.json"]) for one in said["jobs"]}
    return resigned(files | rendered(said, reports), statement, real.signer)


def _drawn_anew(real: Real, statement: dict[str, Any], files: dict[str, Any]) -> bytes:
    """The bundle with other files, and the certificate and the tables that statement and reports make."""
    whole = real.files | {name: pretty(one) for name, one in files.items()}
    said = json.loads(json.dumps(statement["predicate"]))
    jobs = {job["id"] for job in said["jobs"]}
    whole = {name: data for name, data in whole.items() if not name.startswith("jobs/") or name.split("/")[1] in jobs}
    reports = {job: json.loads(whole[f"jobs/{job}/report.json"]) for job in jobs if f"jobs/{job}/report.json" in whole}
    return resigned(whole | rendered(said, reports), statement, real.signer)


def _a_job_left_out(real: Real, dice: random.Random) -> bytes:
    """Everywhere but in the ledger: statement, subjects, the request's file, the job's own files, the certificate."""
    statement, request = real.statement, json.loads(real.files[REQUEST])
    gone = dice.choice(statement["predicate"]["jobs"])
    for told in (statement["predicate"], request):
        told["jobs"] = [job for job in told["jobs"] if job["id"] != gone["id"]]
    if gone["adapter"] not in {job["adapter"] for job in statement["predicate"]["jobs"]}:
        name = f"{gone['adapter']}/"
        statement["subject"] = [one for one in statement["subject"] if not one["name"].startswith(name)]
    request["note"] = dice.randrange(10**6)
    return _drawn_anew(real, statement, {REQUEST: request})


def _findings_invented(real: Real, dice: random.Random) -> bytes:
    """Other figures, or a finding fewer, in the request's file, the statement and the certificate."""
    statement, request = real.statement, json.loads(real.files[REQUEST])
    job = dice.choice([job for job in statement["predicate"]["jobs"] if job["findings"]])
    place = dice.randrange(len(job["findings"]))
    if dice.random() < 0.5:
        job["findings"][place] |= {"figure": dice.random(), "sentence": "perfect"}
    else:
        del job["findings"][place]
    [short] = [one for one in request["jobs"] if one["id"] == job["id"]]
    short["findings"] = job["findings"]
    return _drawn_anew(real, statement, {REQUEST: request})


def _told(real: Real) -> list[dict[str, Any]]:
    """The decisions whose reasons the statement tells, with their nonces."""
    return [one for one in real.statement["predicate"]["decisions"] if one["reason"] and one.get("nonce")]


def _with_another_reason(real: Real, seq: int, nonce: str | None, dice: random.Random) -> bytes:
    """Of the decision in entry `seq`, in the request's file, the statement and the certificate; its nonce too, if one is given, or gone."""
    statement, request = real.statement, json.loads(real.files[REQUEST])
    said = statement["predicate"]
    [one] = [one for one in said["decisions"] if one["seq"] == seq]
    one["reason"] = f"counsel advised it {dice.randrange(10**6)}"
    if one["action"] == "request_held":
        request["hold_reason"] = one["reason"]
    elif one["action"] == "request_extended":
        request["extension_reason"] = said["clock"]["extension_reason"] = one["reason"]
    else:
        request["decision"]["reason"] = one["reason"]
    one["nonce"] = nonce
    request["nonces"] = {key: kept for key, kept in request["nonces"].items() if key != str(seq)}
    if nonce is not None:
        request["nonces"][str(seq)] = nonce
    return _drawn_anew(real, statement, {REQUEST: request})


def _a_reason_in_other_words(real: Real, dice: random.Random) -> bytes:
    one = dice.choice(_told(real))
    return _with_another_reason(real, one["seq"], dice.choice([one["nonce"], dice.randbytes(32).hex()]), dice)


def _a_reason_in_other_words_without_its_nonce(real: Real, dice: random.Random) -> bytes:
    """Nothing is left by which the ledger's HMAC could be made again."""
    return _with_another_reason(real, dice.choice(_told(real))["seq"], None, dice)


def _versions_before_invented(real: Real, dice: random.Random) -> bytes:
    """The config of the version before, or the versions before that, in the job's file too."""
    statement = real.statement
    said = dice.choice([job for job in statement["predicate"]["jobs"] if job["before"] and job["after"]])
    name = f"jobs/{said['id']}/job.json"
    job, other = json.loads(real.files[name]), dice.randbytes(32).hex()
    if dice.random() < 0.5:
        subject = f"{said['adapter']}/v{said['before']['number']}/adapter_config.json"
        job["before"]["config_sha256"] = said["before"]["config_sha256"] = other
        for one in statement["subject"]:
            one["digest"] = {"sha256": other} if one["name"] == subject else one["digest"]
    else:
        versions = [{"number": dice.randrange(100, 200), "sha256": other, "purge_after": None}]
        job["superseded"] = said["superseded"] = versions
    return _drawn_anew(real, statement, {name: job})


def _another_key_beside(real: Real, dice: random.Random) -> bytes:
    key = real.stranger.public
    name, data = dice.choice([("keys/ledger.pub", key.text + "\n"), (f"keys/{key.key_id.hex()}.pem", key.pem)])
    return resigned(real.files | {name: data.encode() + b"\n" * dice.randrange(3)}, real.statement, real.signer)


def _a_subject_more(real: Real, dice: random.Random) -> bytes:
    """A second one of a name, another digest or an address beside the SHA-256."""
    statement = real.statement
    one, other = dice.choice(statement["subject"][1:]), dice.randbytes(32).hex()
    what = dice.choice(["twice", "digest", "uri"])
    if what == "twice":
        statement["subject"].insert(1, {"name": one["name"], "digest": {"sha256": other}})
    elif what == "digest":
        one["digest"]["sha512"] = other * 2
    else:
        one["uri"] = f"https://elsewhere.example/{other}"
    return resigned(real.files, statement, real.signer)


def _a_field_more(real: Real, dice: random.Random) -> bytes:
    statement = real.statement
    said = statement["predicate"]
    dice.choice([statement, said, said["ledger"], said["request"], *said["jobs"]])[f"note-{dice.randrange(99)}"] = None
    return resigned(real.files, statement, real.signer)


def _a_key_twice(real: Real, dice: random.Random) -> bytes:
    """A key of a JSON file is there twice: a reader that takes the first finds something else."""
    names = [name for name in real.files if name.endswith(("request.json", "job.json", "report.json", ".jsonl"))]
    name, twice = dice.choice(names), f'{{"{dice.choice(["state", "at", "verdict"])}": {dice.randrange(99)}, '
    return resigned(real.files | {name: real.files[name].replace(b"{", twice.encode(), 1)}, real.statement, real.signer)


def _another_ledgers_checkpoint(real: Real, dice: random.Random) -> bytes:
    """A stranger's root of the same size, or one that the ledger's own key signed under another name."""
    size = real.statement["predicate"]["ledger"]["size"]
    point = Checkpoint("elsewhere.example/ledger", size, dice.randbytes(32))
    seed = base64.b64encode(dice.randbytes(32)).decode()
    note = sign_note(point.text, [signer_of(seed, point.origin)])
    return resigned(real.files | {CHECKPOINT: note.encode()}, real.statement, real.signer)


def _the_ledger_rewritten(real: Real, dice: random.Random) -> bytes:
    """A whole ledger of the same size in which one entry is another: every proof, the root and all signatures made anew."""
    entries, statement = real.entries, real.statement
    size = statement["predicate"]["ledger"]["size"]
    place = dice.randrange(len(entries))
    note = f"{dice.randrange(10**6)}"
    entries[place] = entries[place] | {"facts": entries[place]["facts"] | {"note": note}}
    leaves = [hashlib.sha256(f"{i}{note}".encode()).digest() for i in range(size)]
    for entry in entries:
        entry["hash"] = new_entry(entry["seq"], entry["at"], entry["action"], entry["facts"]).hash
        leaves[entry["seq"] - 1] = bytes.fromhex(entry["hash"])

    def node(level: int, index: int) -> bytes:
        return merkle.root(leaves[index << level : (index + 1) << level])

    for entry in entries:
        entry["path"] = [one.hex() for one in merkle.inclusion_path(entry["seq"] - 1, size, node)]
    point = Checkpoint(statement["predicate"]["ledger"]["origin"], size, merkle.root(leaves))
    statement["predicate"]["ledger"]["root"] = point.root.hex()
    text = "".join(json.dumps(one, sort_keys=True, ensure_ascii=False) + "\n" for one in entries)
    made = {ENTRIES: text.encode(), CHECKPOINT: sign_note(point.text, [real.signer]).encode()}
    return resigned(real.files | made, statement, real.signer)


CERTIFIED, STATED = frozenset({"certificate"}), frozenset({"statement"})
INSIDERS = (
    Kind("an entry edited", "insider", _an_entry_edited, frozenset({"inclusion"}), 2),
    Kind("an entry edited, its hash made anew", "insider", _an_entry_edited_with_its_hash, frozenset({"inclusion"}), 2),
    Kind("entries in another order", "insider", _entries_reordered, frozenset({"inclusion"})),
    Kind(
        "two entries in each other's place, hashes made anew", "insider", _entries_renumbered, frozenset({"inclusion"})
    ),
    Kind(
        "an entry left out, the statement as it was", "insider", _an_entry_left_out_silently, frozenset({"inclusion"})
    ),
    Kind(
        "any entry left out but the last, the statement too", "insider", _any_entry_left_out, frozenset({"numbers"}), 2
    ),
    Kind(
        "entries cut off, the statement too", "insider", _entries_truncated, frozenset({"numbers", "story", "key"}), 2
    ),
    Kind(
        "a step of the story left out, in the statement too",
        "insider",
        _a_step_left_out,
        frozenset({"numbers", "story"}),
    ),
    Kind("proofs swapped", "insider", _proofs_swapped, frozenset({"inclusion"})),
    Kind("one byte of a proof", "insider", _a_proof_edited, frozenset({"inclusion"})),
    Kind("another verdict, method or finding", "insider", _a_report_beautified, STATED | {"story"}, 2),
    Kind("another digest of the released weights", "insider", _other_weights, frozenset({"story"})),
    Kind("a statement that differs from the files", "insider", _a_statement_beside_its_files, frozenset({"statement"})),
    Kind("certificate, tables or README replaced", "insider", _a_certificate_or_table_replaced, CERTIFIED, 2),
    Kind("a file that belongs to no bundle", "insider", _a_file_more, CERTIFIED),
    Kind("another issuer, date or key id", "insider", _another_issuer, CERTIFIED),
    Kind(
        "decisions or purges left out or altered",
        "insider",
        _entries_kept_quiet,
        STATED | {"story"},
        fits=lambda real: any(real.statement["predicate"][told] for told in ("decisions", "purged")),
    ),
    Kind(
        "any field that the statement copies, dropped or changed",
        "insider",
        _a_copied_field_dropped_or_changed,
        frozenset({"statement"}),
        2,
    ),
    Kind(
        "a fact of the ledger changed in files, statement and certificate",
        "insider",
        _a_fact_changed_in_file_and_statement,
        frozenset({"story"}),
        2,
    ),
    Kind("a job left out of everything but the ledger", "insider", _a_job_left_out, frozenset({"story"})),
    Kind("findings invented or left out, in the certificate too", "insider", _findings_invented, STATED),
    Kind(
        "a reason in other words, in the certificate too",
        "insider",
        _a_reason_in_other_words,
        frozenset({"story"}),
        fits=lambda real: bool(_told(real)),
    ),
    Kind(
        "a reason in other words, its nonce gone",
        "insider",
        _a_reason_in_other_words_without_its_nonce,
        STATED,
        fits=lambda real: bool(_told(real)),
    ),
    Kind("versions before the released one invented", "insider", _versions_before_invented, frozenset({"story"})),
    Kind("another key beside the ledger's", "insider", _another_key_beside, frozenset({"key"})),
    Kind("a subject twice, or with another digest or an address", "insider", _a_subject_more, STATED),
    Kind("a field that no statement has", "insider", _a_field_more, STATED),
    Kind("a key of a JSON file twice", "insider", _a_key_twice, STATED | {"inclusion"}),
    Kind("another ledger's checkpoint", "insider", _another_ledgers_checkpoint, frozenset({"checkpoint"})),
    Kind("the whole ledger rewritten", "insider", _the_ledger_rewritten, frozenset({"consistency"}), 2),
)
