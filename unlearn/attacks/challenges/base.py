"""What a challenge offers: an attempt to bring forgotten records back, made on never-seen people's records as well."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from peft import PeftModel

from unlearn.attacks.panel import Panel


class Challenge(Protocol):
    """A frozen, callable dataclass. The model is as it was when the call is over, bit for bit."""

    @property
    def personal(self) -> bool:
        """Whether what it does depends on who is to be forgotten, so that several people are to be tried one by one."""
        ...

    def __call__(self, model: PeftModel, panel: Panel, pad_id: int) -> Mapping[str, float]:
        """NLL of forget and of never-seen records under the challenge, nats per token, by record id.

        A challenge may take some of the records; it needs some on either side.
        """
        ...

    def forwards(self, panel: Panel) -> int:
        """What it costs: records through the model, a backward pass counted as two."""
        ...
