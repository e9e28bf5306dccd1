"""What leaves the house: guarded calls to addresses that others chose, and the signatures on them.

    addresses   which URLs and addresses may be called
    http        one POST to such an address, one GET
    webhooks    Standard Webhooks: secrets, signatures, retry schedule
    signed      OpenDSR signatures by key and certificate
    issuer      the keys of an OIDC issuer

Knows nothing of cases, stores or the API: whoever delivers decides what to send, to whom, and keeps the score.
"""

from unlearn.outbound.addresses import CallbackRefused, check_url
from unlearn.outbound.http import Answer, CallbackFailed, fetch, post
from unlearn.outbound.issuer import ALGORITHMS, Issuer
from unlearn.outbound.signed import BadSignature, Signer, SigningKeyError, signer_of, verify
from unlearn.outbound.webhooks import Verdict, new_secret, next_attempt, pause, signed_headers, verdict_of

__all__ = [
    "ALGORITHMS",
    "Answer",
    "BadSignature",
    "CallbackFailed",
    "CallbackRefused",
    "Issuer",
    "Signer",
    "SigningKeyError",
    "Verdict",
    "check_url",
    "fetch",
    "new_secret",
    "next_attempt",
    "pause",
    "post",
    "signed_headers",
    "signer_of",
    "verdict_of",
    "verify",
]
