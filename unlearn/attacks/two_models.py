"""Old and new adapter together: what changed between the two is what was forgotten (arXiv 2505.24379).

The strongest extraction known, and no erasing can resist it, not even an exact one: this is why old versions are locked
away and purged. Both share one head, so that the old one's hidden states stand for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peft import PeftModel

from unlearn.attacks.panel import Panel
from unlearn.lm.likelihood import head_of, over_vocabulary, row_means, score_examples, token_kl

STRENGTHS = (0.5, 1.0, 2.0)
"""How far the guide goes beyond the old adapter, away from the new: log p = (1 + c) log p_old - c log p_new."""


class Remembered:
    """What the old adapter thinks at the scored positions of forget records and of the retain check; made before."""

    @torch.no_grad()
    def __init__(self, model: PeftModel, panel: Panel, pad_id: int) -> None:
        self._forget = score_examples(model, [panel.examples[r.id] for r in panel.forget], pad_id).hidden
        self._retain = score_examples(model, [panel.examples[r.id] for r in panel.retain], pad_id).hidden

    @torch.no_grad()
    def contrasted(self, model: PeftModel, panel: Panel, pad_id: int) -> dict[str, float]:
        """NLL of the forget records under the old adapter, and under both at the best strength, nats per token."""
        scored = score_examples(model, [panel.examples[r.id] for r in panel.forget], pad_id)

        def together(logits: torch.Tensor, tokens: torch.Tensor, old: torch.Tensor | None) -> torch.Tensor:
            assert old is not None  # noqa: S101
            before, after = old.log_softmax(1), logits.log_softmax(1)
            mixed = [before, *((1 + c) * before - c * after for c in STRENGTHS)]
            return torch.stack([m.log_softmax(1).gather(1, tokens[:, None])[:, 0] for m in mixed], dim=1)

        found = over_vocabulary(head_of(model), together, scored, self._forget)
        nlls: Sequence[float] = [-float(row_means(column, scored).mean()) for column in found.T]
        return {"old_alone_nll_nats": nlls[0], "old_and_new_nll_nats": min(nlls[1:])}

    @torch.no_grad()
    def retain_kl(self, model: PeftModel, panel: Panel, pad_id: int) -> float:
        """Mean KL from the old adapter's next-token distributions to the new one's, retain check, nats per token."""
        scored = score_examples(model, [panel.examples[r.id] for r in panel.retain], pad_id)
        kl, _ = token_kl(head_of(model), self._retain, scored)
        return float(kl.mean())
