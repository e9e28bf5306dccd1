"""From a model and a batch to per-token log-probabilities, without ever holding a batch's full logits.

The decoder's last hidden states are taken at the positions that predict a scored token, and go through the LM
head in chunks; with gradients on, a chunk's logits are computed again in the backward pass rather than kept.
This is the one file that shifts labels. Losses, membership scores and the retain KL are reductions of what it
returns. Knows nothing of what the numbers are used for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from peft import PeftModel
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from unlearn.errors import ModelError
from unlearn.lm.batches import Batch, Example, by_length, collate

LOGITS_BYTES = 64 * 2**20
"""Size that a chunk of float32 logits may have; below it one chunk does, and nothing is computed twice."""

Model: TypeAlias = PreTrainedModel | PeftModel
Head: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Scored:
    """The positions of a batch that predict a scored token, row by row.

    Attributes:
        hidden: [tokens, width], the decoder's last hidden states, in the model's dtype.
        targets: int64 [tokens], the scored tokens themselves.
        rows: int64 [tokens], the batch row of each.
        n_rows: rows of the batch.
    """

    hidden: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor
    n_rows: int

    def of_rows(self, start: int, stop: int) -> Scored:
        """The part that lies in the batch rows from `start` up to, not including, `stop`."""
        keep = (self.rows >= start) & (self.rows < stop)
        return Scored(self.hidden[keep], self.targets[keep], self.rows[keep] - start, stop - start)


def score(model: Model, batch: Batch) -> Scored:
    """One decoder pass over `batch`; token t is predicted from position t - 1."""
    decoder = _causal_lm(model).base_model
    hidden = decoder(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False).last_hidden_state
    mask = batch.scored[:, 1:]  # [rows, length - 1], aligned with the predicting positions
    return Scored(hidden[:, :-1][mask], batch.input_ids[:, 1:][mask], mask.nonzero()[:, 0], mask.shape[0])


def head_of(model: Model) -> Head:
    """The LM head as a function from hidden states [tokens, width] to float32 logits [tokens, vocabulary]."""
    lm = _causal_lm(model)
    linear, config = lm.get_output_embeddings(), lm.config
    softcap = getattr(config, "final_logit_softcapping", None)
    scale = getattr(config, "logit_scale", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0

    def head(hidden: torch.Tensor) -> torch.Tensor:
        logits = linear(hidden).float() * scale
        return logits if softcap is None else torch.tanh(logits / softcap) * softcap

    return head


def token_log_probs(head: Head, scored: Scored) -> torch.Tensor:
    """log p of every scored token: float32 [tokens], nats."""

    def chunk(hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        logits = head(hidden)  # [chunk, vocabulary]
        return logits.gather(1, targets[:, None])[:, 0] - logits.logsumexp(1)

    return _in_chunks(chunk, head, scored.hidden, scored.targets)


def token_kl(head: Head, reference: torch.Tensor, scored: Scored) -> torch.Tensor:
    """KL(p_reference || p_model) over the vocabulary at every scored position: float32 [tokens], nats.

    Args:
        head: the LM head, the same for both.
        reference: [tokens, width], the reference's hidden states at the same positions; no gradient goes there.
        scored: the model's.
    """

    def chunk(hidden: torch.Tensor, fixed: torch.Tensor) -> torch.Tensor:
        log_q = head(hidden).log_softmax(1)  # [chunk, vocabulary]
        with torch.no_grad():
            log_p = head(fixed.to(hidden.dtype)).log_softmax(1)
        return (log_p.exp() * (log_p - log_q)).sum(1)

    return _in_chunks(chunk, head, scored.hidden, reference)


def row_means(values: torch.Tensor, scored: Scored) -> torch.Tensor:
    """Mean of `values` [tokens] over the tokens of each batch row: float32 [rows]; every row has a scored token."""
    total = values.new_zeros(scored.n_rows).index_add(0, scored.rows, values)
    return total / torch.bincount(scored.rows, minlength=scored.n_rows)


@torch.no_grad()
def record_nlls(model: Model, examples: Sequence[Example], pad_id: int) -> dict[str, float]:
    """Mean NLL of each record's scored tokens, nats per token, by record id. Padding does not change it."""
    head = head_of(model)
    nlls: dict[str, float] = {}
    for batch, scored in _passes(model, examples, pad_id):
        means = -row_means(token_log_probs(head, scored), scored)
        nlls.update(zip(batch.ids, means.tolist(), strict=True))
    return nlls


@torch.no_grad()
def reference_hidden(model: Model, examples: Sequence[Example], pad_id: int) -> dict[str, torch.Tensor]:
    """Hidden states at each record's scored positions, [scored tokens, width] by record id, on the CPU.

    They stand for the reference's distributions at width / vocabulary of the logits' size.
    """
    cache: dict[str, torch.Tensor] = {}
    for batch, scored in _passes(model, examples, pad_id):
        sizes = torch.bincount(scored.rows, minlength=scored.n_rows).tolist()
        cache.update(zip(batch.ids, scored.hidden.cpu().split(sizes), strict=True))
    return cache


def check_head(model: PreTrainedModel) -> None:
    """Check that decoder, then head, gives the model's own logits.

    Raises:
        ModelError: the architecture does something between the two that `head_of` does not know.
    """
    tokens = torch.arange(min(8, int(model.config.get_text_config().vocab_size)), device=model.device)[None]
    with torch.no_grad():
        whole = model(input_ids=tokens, use_cache=False).logits.float()
        hidden = model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        ours = head_of(model)(hidden[0])[None]
    if ours.shape != whole.shape or not torch.allclose(ours, whole, rtol=1e-3, atol=1e-3 * float(whole.abs().max())):
        raise ModelError(
            f"base '{model.name_or_path}' ({type(model).__name__}) treats its logits in a way that is not known here; "
            "please report the architecture"
        )


def _causal_lm(model: Model) -> PreTrainedModel:
    return model.get_base_model() if isinstance(model, PeftModel) else model


def _passes(model: Model, examples: Sequence[Example], pad_id: int) -> Iterable[tuple[Batch, Scored]]:
    device = _causal_lm(model).device
    for group in by_length(examples):
        batch = collate(group, pad_id, device)
        yield batch, score(model, batch)


def _in_chunks(
    chunk: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    head: Head,
    hidden: torch.Tensor,
    other: torch.Tensor,
) -> torch.Tensor:
    """`chunk` over pieces of at most LOGITS_BYTES of logits; recomputed in backward when there are several."""
    if not len(hidden):
        return hidden.new_zeros(0, dtype=torch.float32)
    with torch.no_grad():
        vocabulary = head(hidden[:1].detach()).shape[1]
    size = max(1, LOGITS_BYTES // (4 * vocabulary))
    if len(hidden) <= size:
        return chunk(hidden, other)
    pieces = zip(hidden.split(size), other.split(size), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([chunk(*piece) for piece in pieces])
    return torch.cat([checkpoint(chunk, *piece, use_reentrant=False) for piece in pieces])
