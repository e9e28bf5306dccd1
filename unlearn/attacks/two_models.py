"""Old and new adapter together: what changed between the two is what was forgotten (arXiv 2505.24379).

The strongest extraction known, and no erasing can resist it, not even an exact one: this is why old versions are locked
away and purged. Both share one head, so that the old one's hidden states stand for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from peft import PeftModel

from unlearn.attacks.panel import Panel
from unlearn.corpus.records import Record
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import head_of, over_vocabulary, row_means, score_examples, token_kl

STRENGTHS = (0.5, 1.0, 2.0)
"""How far the guide goes beyond the old adapter, away from the new: log p = (1 + c) log p_old - c log p_new."""

PLAUSIBLE = 0.1
"""Only tokens that the old adapter finds at least so likely, as a share of its likeliest, are guided: others would come
up for being unlikelier still under the new. The paper cuts them; the value is contrastive decoding's (arXiv
2210.15097). Here they keep the old adapter's log p, since an NLL of what is cut would be infinite."""


class Remembered:
    """What the old adapter thinks at the scored positions of a panel's records; made before."""

    @torch.no_grad()
    def __init__(self, model: PeftModel, panel: Panel, pad_id: int) -> None:
        self._attacked = [
            score_examples(model, [panel.examples[r.id] for r in side], pad_id).hidden
            for side in (panel.forget, _never_seen(panel))
        ]
        self._retain = score_examples(model, [panel.examples[r.id] for r in panel.retain], pad_id).hidden

    @torch.no_grad()
    def contrasted(self, model: PeftModel, panel: Panel, pad_id: int) -> dict[str, float]:
        """NLL under the old adapter, and under both at the best strength, nats per token.

        Of the forget records, and of as many never-seen ones: what comes sooner there, too, is no sign of anybody.
        """
        sides = (("", panel.forget), ("never_seen_", _never_seen(panel)))
        found: dict[str, float] = {}
        for (name, side), old in zip(sides, self._attacked, strict=True):
            alone, both = self._nlls(model, [panel.examples[r.id] for r in side], old, pad_id)
            found |= {f"{name}old_alone_nll_nats": alone, f"{name}old_and_new_nll_nats": both}
        return found

    def _nlls(
        self, model: PeftModel, examples: Sequence[Example], hidden: torch.Tensor, pad_id: int
    ) -> tuple[float, float]:
        """Mean NLL of `examples` under the old adapter, whose hidden states are given, and under both."""
        scored = score_examples(model, examples, pad_id)

        def together(logits: torch.Tensor, tokens: torch.Tensor, old: torch.Tensor | None) -> torch.Tensor:
            assert old is not None  # noqa: S101
            before, after = old.log_softmax(1), logits.log_softmax(1)
            plausible = before >= before.amax(1, keepdim=True) + math.log(PLAUSIBLE)  # [chunk, vocabulary]
            away = torch.where(plausible, before - after, 0.0)
            mixed = [before, *(before + c * away for c in STRENGTHS)]
            return torch.stack([m.log_softmax(1).gather(1, tokens[:, None])[:, 0] for m in mixed], dim=1)

        found = over_vocabulary(head_of(model), together, scored, hidden)
        nlls = [-float(row_means(column, scored).mean()) for column in found.T]
        return nlls[0], min(nlls[1:])

    @torch.no_grad()
    def retain_kl(self, model: PeftModel, panel: Panel, pad_id: int) -> float:
        """Mean KL from the old adapter's next-token distributions to the new one's, retain check, nats per token."""
        scored = score_examples(model, [panel.examples[r.id] for r in panel.retain], pad_id)
        kl, _ = token_kl(head_of(model), self._retain, scored)
        return float(kl.mean())


def _never_seen(panel: Panel) -> Sequence[Record]:
    """As many records of the holdout as there are to forget, or all of it: hidden states of more would not fit."""
    wanted = len(panel.forget)
    return panel.holdout[:: max(1, len(panel.holdout) // wanted)][:wanted]
