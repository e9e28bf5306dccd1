"""The wire of the OpenDSR front: what controllers send and get, by the specification's names. Decides nothing.

Members that the specification does not name are let through and not looked at: peers add their own. Times are
RFC 3339. Source: https://github.com/opengdpr/OpenDSR, specification.md, version 2.0; sections are given at each.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

from api.schemas.base import Text, in_utc
from unlearn.cases.views import RequestState

API_VERSION = "2.0"
GUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
MOST_CALLBACKS = 10

_MOMENT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_EXAMPLE_ID = "a7551968-d5d6-44b2-9831-815ac9017798"
_EXAMPLE_DOMAIN = "privacy.example.com"

IdentityType = Literal[
    "controller_customer_id",
    "android_advertising_id",
    "android_id",
    "email",
    "fire_advertising_id",
    "ios_advertising_id",
    "ios_vendor_id",
    "microsoft_advertising_id",
    "microsoft_publisher_id",
    "roku_publisher_id",
    "roku_advertising_id",
]
"""Section 5.1."""

Status = Literal["pending", "in_progress", "completed", "cancelled"]
"""Section 8. There is no word for what failed or was rejected; `extensions` tells those apart."""


def _spelled_as_rfc3339(value: object) -> object:
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise ValueError("give a time as RFC 3339 spells it, such as 2026-03-01T09:30:00Z")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_spelled_as_rfc3339), AfterValidator(in_utc)]
SubjectRequestId = Annotated[str, StringConstraints(pattern=GUID)]


class IdentityIn(BaseModel):
    """An identity of the person, section 5.3. It is hashed at the door and never stored."""

    identity_type: IdentityType = Field(description="Kind of identity.", examples=["email"])
    identity_value: Text = Field(description="The identity.", examples=["ada@post.example"])
    identity_format: Literal["raw", "sha1", "md5", "sha256"] = Field(
        description="Only `raw` is supported: a digest can't be matched with the keyed hashes kept here.",
        examples=["raw"],
    )


class SubjectRequestIn(BaseModel):
    """A request of a data subject, section 7.1.1."""

    model_config = ConfigDict(extra="ignore")

    subject_request_id: SubjectRequestId = Field(
        description="UUID v4 in lower case, made by you. Sent again with the same identity, it is the same request.",
        examples=[_EXAMPLE_ID],
    )
    subject_request_type: Literal["erasure", "access", "portability"] = Field(
        description="Only `erasure` is supported.", examples=["erasure"]
    )
    submitted_time: Moment = Field(
        description="When the person asked you; the time for an answer runs from then.",
        examples=["2026-03-01T09:30:00Z"],
    )
    subject_identities: list[IdentityIn] = Field(
        min_length=1,
        max_length=50,
        description="One identity. Who has several is asked for once for each: nothing here tells that they are one "
        "person's.",
    )
    regulation: Literal["gdpr", "ccpa"] = Field(
        default="gdpr", description="Whose clock runs; the shorter one, gdpr's, if you say nothing."
    )
    api_version: Annotated[str, StringConstraints(pattern=r"^[12]\.[0-9]{1,3}(\.[0-9]{1,3})?$")] | None = Field(
        default=None, description="1.x or 2.x; they are read alike.", examples=[API_VERSION]
    )
    status_callback_urls: list[Annotated[str, StringConstraints(min_length=1, max_length=2048)]] = Field(
        default_factory=list,
        max_length=MOST_CALLBACKS,
        description="Where to tell each change of state: public https addresses. They are kept: no identity in them.",
        examples=[["https://controller.example/opendsr_callbacks"]],
    )
    extensions: dict[Any, Any] | None = Field(
        default=None,
        description="By processor domain. Those of others are not looked at; this processor knows none for requests.",
        examples=[{}],
    )


class StateHere(BaseModel):
    """What the specification has no words for: the request as this service sees it."""

    state: RequestState = Field(examples=["needs_review"])
    request: str = Field(description="Its id in this service's own API.", examples=["req_0b1c2d3e4f5061728394a5b6"])
    due_at: str = Field(description="When it is to be answered.", examples=["2026-04-01T09:30:00.000Z"])
    decision: Literal["released", "retried", "rejected"] | None = Field(
        description="What a person decided of it, if somebody did."
    )


Extensions = Annotated[
    dict[str, StateHere],
    Field(
        description="This service's own state, under its domain.",
        examples=[
            {
                _EXAMPLE_DOMAIN: {
                    "state": "pending",
                    "request": "req_0b1c2d3e4f5061728394a5b6",
                    "due_at": "2026-04-01T09:30:00.000Z",
                    "decision": None,
                }
            }
        ],
    ),
]
ControllerId = Annotated[str, Field(description="Name of the controller that the API key belongs to.")]
Expected = Annotated[
    str, Field(description="When the request is to be answered.", examples=["2026-04-01T09:30:00.000Z"])
]
EchoedId = Annotated[str, Field(examples=[_EXAMPLE_ID])]
Version = Annotated[str, Field(examples=[API_VERSION])]
Signature = Annotated[
    str,
    Field(
        description="Base64 of the signature over the SHA-256 of this body without this member, as canonical JSON "
        "(RFC 8785): a signature can't be over a body that holds it. The one over the body as it is sent is in the "
        "header.",
        examples=["MEUCIQD…"],
    ),
]


class Identity(BaseModel):
    """A kind of identity that is understood."""

    identity_type: IdentityType
    identity_format: Literal["raw"] = "raw"


class Discovery(BaseModel):
    """What this processor can do, section 6.3."""

    api_version: Version
    supported_identities: list[Identity]
    supported_subject_request_types: list[str] = Field(examples=[["erasure"]])
    processor_certificate: str = Field(
        description="Where the certificate is that checks the signatures.",
        examples=[f"https://{_EXAMPLE_DOMAIN}/opendsr/v2/certificate.pem"],
    )


class Alive(BaseModel):
    """The front answers."""

    status: Literal["ok"] = "ok"
    api_version: Version


class Receipt(BaseModel):
    """A request was accepted, section 7.3."""

    controller_id: ControllerId
    expected_completion_time: Expected
    received_time: str = Field(
        description="When this processor received it first.", examples=["2026-03-01T09:31:07.250Z"]
    )
    encoded_request: str = Field(
        description="Base64 of the body as it was sent. It holds the identity: nobody may log or store it.",
        examples=["eyJzdWJqZWN0X3JlcXVl…"],
    )
    subject_request_id: EchoedId
    extensions: Extensions
    processor_signature: Signature


class RequestStatus(BaseModel):
    """Where a request is, section 8.3."""

    controller_id: ControllerId
    expected_completion_time: Expected
    subject_request_id: EchoedId
    request_status: Status
    api_version: Version
    extensions: Extensions


class Cancellation(BaseModel):
    """A request was cancelled, section 9.2."""

    controller_id: ControllerId
    received_time: str = Field(
        description="When this processor received the cancellation.", examples=["2026-03-01T10:02:11.080Z"]
    )
    subject_request_id: EchoedId
    api_version: Version
    extensions: Extensions
    processor_signature: Signature


class OpenDsrFault(BaseModel):
    """One thing that is wrong."""

    domain: str = Field(description="Validation, Authentication, Authorization, Request or Service.")
    reason: str = Field(description="The kind, for programs.", examples=["unsupported"])
    message: str = Field(description="What was wrong, and what to do.")


class OpenDsrFaults(BaseModel):
    """What went wrong."""

    code: int = Field(description="The HTTP status.", examples=[400])
    message: str = Field(examples=["'access' requests are not supported; this processor takes 'erasure'"])
    errors: list[OpenDsrFault]


class OpenDsrError(BaseModel):
    """An error, section 7.6. It holds nothing of what was sent."""

    error: OpenDsrFaults
