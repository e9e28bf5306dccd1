"""Every kind of problem the service can answer with: what its type URI and `docs/problems.md` say.

    python -m api.catalogue > docs/problems.md

Text alone; knows no error class and no framework. Tests hold it against both.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of problem.

    Attributes:
        status: HTTP status it is answered with.
        title: it in words.
        means: what has happened.
        do: what helps.
    """

    status: int
    title: str
    means: str
    do: str

    def told(self, name: str, heading: str = "#") -> str:
        """The entry as Markdown, which reads as plain text."""
        told = (
            f"{heading} {self.title}",
            f"`/problems/{name}`, status {self.status}",
            self.means,
            f"What to do: {self.do}",
        )
        return "\n\n".join(told) + "\n"


KINDS: dict[str, Kind] = {
    "not-json": Kind(
        400,
        "The body is not JSON",
        "The body can't be read as JSON in UTF-8, or is nested too deep.",
        "send what your JSON library writes, as UTF-8.",
    ),
    "unauthenticated": Kind(
        401,
        "An API key or token is needed",
        "There was no API key or token, or one that is unknown, expired or revoked; or a token that is another "
        "issuer's, for another audience, or signed with none of the issuer's keys.",
        "send `Authorization: Bearer unl_…`; whoever runs the service makes keys with `unlearn key create`. Where "
        "tokens are taken, send a new one of the issuer.",
    ),
    "not-allowed": Kind(
        403,
        "The key or token has no right to this",
        "The key or token is good, but lacks every scope that the call takes, which `detail` names; or the token is "
        "for a company that this service does not know.",
        "ask who gives it out for one with such a scope.",
    ),
    "path-not-allowed": Kind(
        403,
        "This path may not be read",
        "A path in the input is relative, or a path or URL lies outside of what the service may read.",
        "move the files under one of the roots, or add their directory or their bucket's prefix to `UNLEARN_ROOTS`.",
    ),
    "bad-signature": Kind(
        403,
        "The signature does not hold",
        "A signature is not of this body by this certificate.",
        "sign the bytes exactly as they are sent, with the key that belongs to the certificate.",
    ),
    "not-found": Kind(
        404,
        "Not found",
        "Nothing is at this address, or the request, job, adapter or key does not exist for the company of this key.",
        "check the id; the lists (`GET /v1/requests`, `/v1/adapters`, `/v1/keys`) hold those there are.",
    ),
    "method-not-allowed": Kind(
        405,
        "This method is not taken here",
        "The address exists, but takes other methods; the `Allow` header names them.",
        "use one of those; the API is described under `/docs`.",
    ),
    "duplicate": Kind(
        409,
        "This id belongs to another request",
        "A request of this id was submitted for somebody else.",
        "take a new id for a new request; to repeat one, send the same person again.",
    ),
    "not-set-up": Kind(
        404,
        "The OpenDSR front is not set up",
        "This service has no certificate to sign OpenDSR answers with, so that front is closed.",
        "whoever runs the service sets the three `UNLEARN_OPENDSR_…` settings that `detail` names.",
    ),
    "conflict": Kind(
        409,
        "Not possible in this state",
        "The thing exists, but its state does not allow this: a subject whose request is still open, an end that was "
        "reached before, an `Idempotency-Key` that was used for another body. Nothing was changed.",
        "look at the thing that `detail` names, and decide again.",
    ),
    "erased-records": Kind(
        409,
        "The corpus holds erased records",
        "Records of the corpus were erased before on somebody's request, or repeat most of one that was, or name "
        "somebody whose deletion was completed; `detail` names the first by their ids. Nothing was registered.",
        "take them out of the corpus, and have whoever keeps the source erase them there; where the law lets you keep "
        "them, as of a customer who came back, register with `allow_erased`, its ground and a reason.",
    ),
    "body-too-large": Kind(
        413,
        "The body is too large",
        "The body has more bytes than the service reads.",
        "send fewer requests at once.",
    ),
    "unsupported-media-type": Kind(
        415,
        "The body is of the wrong type",
        "The body is not declared as JSON.",
        "send `Content-Type: application/json`.",
    ),
    "bad-input": Kind(
        422,
        "The input can't be used",
        "Something in path, query, headers or body can't be used; nothing was changed. `errors` lists each fault by "
        "its place. What was sent is not repeated, since it may hold an identity.",
        "mend every place that is listed, and send it again.",
    ),
    "bad-corpus": Kind(
        422,
        "The corpus can't be used",
        "A file of records is not what it should be; `detail` names file, line and key.",
        "mend the line, and register again.",
    ),
    "bad-model": Kind(
        422,
        "The model can't be used",
        "A base model, its tokenizer or an adapter can't be read, or they do not belong together.",
        "check the directories that `detail` names.",
    ),
    "bad-policy": Kind(
        422,
        "The policy can't be used",
        "A policy has an unknown key or an impossible value; `detail` names each.",
        "compare it with `unlearn policy show`, which explains every key.",
    ),
    "bad-recipe": Kind(
        422,
        "The training recipe can't be used",
        "The recipe that says how an adapter was trained has an unknown, missing or impossible field, which `detail` "
        "names; or there is none, and the policy trains adapters like it: its ladder has `retrain`, as the default one "
        "has, or it asks for shadows.",
        "give `recipe` with `rank`, `epochs`, `learning_rate`, `batch_size` and `seed` when you register the adapter, "
        "or put them into `recipe.json` beside its weights; if nobody knows them, give a policy whose ladder does "
        "without `retrain`.",
    ),
    "unknown-subject": Kind(
        422,
        "No record names this subject",
        "No train record names the subject that was asked for.",
        "check the type and the spelling of the identity.",
    ),
    "bad-signing-key": Kind(
        422,
        "The signing key or certificate can't be used",
        "A private key or certificate can't be used for signing or verifying.",
        "give an RSA key of 2048 bits or more, or an elliptic one, and the certificate that belongs to it.",
    ),
    "bad-ledger-key": Kind(
        422,
        "The ledger's key can't be used",
        "A key of the ledger, or the command that signs with it, is not what it must be.",
        "give an Ed25519 key as PEM or C2SP verifier key; a private key is in a file of its owner alone (mode 0600).",
    ),
    "callback-refused": Kind(
        422,
        "This callback address is not allowed",
        "The service calls no such address: its spelling or its network is not allowed.",
        "give a public https address, or ask the operator to allow the own network.",
    ),
    "error": Kind(
        500,
        "Something went wrong",
        "An unexpected error; what the call would have changed is as it was before.",
        "give the id at the end of `instance` to whoever runs the service: its log has the rest.",
    ),
    "lease-lost": Kind(
        500,
        "The lease is lost",
        "A worker's claim on a job was over before it finished; nothing of it counts.",
        "nothing: the job is started again.",
    ),
    "erasure-failed": Kind(
        500,
        "The erasing failed",
        "An erasing ended without weights that may be released; the old version goes on serving.",
        "read the job's `error` and report, then retry the request under another policy.",
    ),
    "diverged": Kind(
        500,
        "The erasing diverged",
        "A loss or a gradient stopped being finite; the old version goes on serving.",
        "retry with a smaller step size, or with `retrain`.",
    ),
    "unchanged": Kind(
        500,
        "The weights did not change",
        "Training or erasing left every weight as it was.",
        "retry with more steps or a larger step size.",
    ),
    "ledger-broken": Kind(
        500,
        "The ledger was changed",
        "The tree of the ledger does not hold; `detail` names the first entry where it breaks, and how.",
        "keep the database as it is, and compare it with a backup: somebody changed it past the service.",
    ),
    "proof-broken": Kind(
        500,
        "The proof does not hold",
        "An inclusion or consistency proof does not lead to the root it is for.",
        "take proof and checkpoint from the same source again; if they still differ, the ledger was rewritten.",
    ),
    "note-broken": Kind(
        500,
        "The checkpoint can't be trusted",
        "A signed note is malformed, or no known key signed it, or a signature is wrong.",
        "take the checkpoint again, and the public key from whom you trust, not from where the checkpoint came.",
    ),
    "backup-broken": Kind(
        500,
        "The backup can't be used",
        "A backup, or the journal that goes with it, is not what was written, or another service's.",
        "take another backup, or the journal of the same service.",
    ),
    "withheld": Kind(
        503,
        "Deletions are being done again",
        "The service was restored from a backup in which adapters still know people who were forgotten since. These "
        "adapters serve nothing until that is done again; requests are taken meanwhile.",
        "let the workers run; `GET /v1/adapters` says which requests each adapter awaits, and those that need a person "
        "are in `needs_review`.",
    ),
    "not-verified": Kind(
        422,
        "The bundle does not verify",
        "A check of a bundle of evidence failed; `detail` says what was found.",
        "do not trust the bundle; get it anew from the service, or the right key from a place you trust.",
    ),
    "unavailable": Kind(
        503,
        "Not available right now",
        "A part of the service, such as the database, the broker or the object store, can't be reached; or the issuer "
        "of a token, whose key is not known yet.",
        "send the same call again later, a submission under the same `Idempotency-Key`.",
    ),
    "hook-failed": Kind(
        503,
        "The serving side was not told",
        "What serves the adapters could not be told of a new version; the release itself stands.",
        "check the hook that the message names; it is tried again.",
    ),
    "callback-failed": Kind(
        503,
        "The callback could not be delivered",
        "The address of a callback is allowed but gave no answer.",
        "see to it that the receiver answers; delivery is tried again.",
    ),
}


def page() -> str:
    """All of them as `docs/problems.md`."""
    head = (
        "# Problems\n\nEvery error is a problem document ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)) with one "
        "of these as its `type`, which can be opened at the service. Made by `python -m api.catalogue`.\n"
    )
    return "\n".join([head, *(kind.told(name, "##") for name, kind in KINDS.items())])


if __name__ == "__main__":
    sys.stdout.write(page())
