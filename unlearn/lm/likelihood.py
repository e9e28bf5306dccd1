"""From a model and a batch to per-token log-probabilities, without ever holding a batch's full logits.

The decoder's last hidden states are taken at the positions that predict a scored token, and go through the LM
head in chunks; with gradients on, a chunk's logits are computed again in the backward pass rather than kept.
This is the one file that shifts labels. Losses, membership scores and the retain KL are reductions of what it
returns. Knows nothing of what the numbers are used for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import torch
from peft import PeftModel
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from unlearn.errors import ModelError
from unlearn.lm.batches import Batch, Example, by_length, collate, little_padding
from unlearn.policy import Decoding

LOGITS_BYTES = 64 * 2**20
"""Size that a chunk of float32 logits may have; below it one chunk does, and nothing is computed twice."""

UNSAYABLE = -1e4
"""Least log p that counts; a token that a model rules out has no finite one."""

Model: TypeAlias = PreTrainedModel | PeftModel
Head: TypeAlias = Callable[[torch.Tensor], torch.Tensor]
PerToken: TypeAlias = Callable[..., torch.Tensor]
"""(logits [chunk, vocabulary], tokens int64 [chunk], reference logits [chunk, vocabulary] or None, and whatever else
was given for each token, [chunk, ...]) -> [chunk, ...]."""


@dataclass(frozen=True)
class Scored:
    """The positions of a batch that predict a scored token, row by row.

    Attributes:
        hidden: [tokens, width], the decoder's last hidden states, in the model's dtype.
        targets: int64 [tokens], the scored tokens themselves.
        rows: int64 [tokens], the batch row of each.
        n_rows: rows of the batch.
        inner: [tokens, width], the same positions' outputs of an inner decoder layer, if one was asked for.
    """

    hidden: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor
    n_rows: int
    inner: torch.Tensor | None = None

    def of_rows(self, start: int, stop: int) -> Scored:
        """The part that lies in the batch rows from `start` up to, not including, `stop`."""
        keep = (self.rows >= start) & (self.rows < stop)
        inner = None if self.inner is None else self.inner[keep]
        return Scored(self.hidden[keep], self.targets[keep], self.rows[keep] - start, stop - start, inner)


def score(model: Model, batch: Batch, layer: int | None = None) -> Scored:
    """One decoder pass over `batch`; token t is predicted from position t - 1.

    Args:
        model: the model; gradients as the caller has set them.
        batch: right-padded.
        layer: also keep the output of this decoder layer (negative: from the end).
    """
    decoder = _causal_lm(model).base_model
    out = decoder(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        use_cache=False,
        output_hidden_states=layer is not None,
    )
    mask = batch.scored[:, 1:]  # [rows, length - 1], aligned with the predicting positions

    def at_mask(hidden: torch.Tensor) -> torch.Tensor:
        return hidden[:, :-1][mask]

    inner = None if layer is None else at_mask(out.hidden_states[1:][layer])
    targets, rows = batch.input_ids[:, 1:][mask], mask.nonzero()[:, 0]
    return Scored(at_mask(out.last_hidden_state), targets, rows, mask.shape[0], inner)


def score_examples(model: Model, examples: Sequence[Example], pad_id: int, layer: int | None = None) -> Scored:
    """Every example through the decoder once, in groups of like length; rows are the examples in their order.

    Args:
        model: the model; gradients as the caller has set them.
        examples: of one step, in any order.
        pad_id: token that pads.
        layer: also keep the output of this decoder layer (negative: from the end).
    """
    device = _causal_lm(model).device
    parts: list[Scored] = []
    for group in little_padding(examples):
        found = score(model, collate([examples[i] for i in group], pad_id, device), layer)
        names = torch.tensor(group, device=device)
        parts.append(replace(found, rows=names[found.rows]))
    rows = torch.cat([part.rows for part in parts])
    order = rows.argsort(stable=True)
    inner = [part.inner for part in parts if part.inner is not None]
    return Scored(
        torch.cat([part.hidden for part in parts])[order],
        torch.cat([part.targets for part in parts])[order],
        rows[order],
        len(examples),
        torch.cat(inner)[order] if inner else None,
    )


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
    return over_vocabulary(head, _log_prob, scored)


def log_probs_at(head: Head, scored: Scored, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """log p of every scored token, and of `others` (int64 [tokens, k]) in its place: float32 [tokens], [tokens, k]."""
    both = over_vocabulary(head, _log_probs_at, scored, aligned=(others,))
    return both[:, 0], both[:, 1:]


def token_kl(head: Head, reference: torch.Tensor, scored: Scored) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(p_reference || p_model) over the vocabulary at every scored position, and log p of the token scored there.

    Args:
        head: the LM head, the same for both.
        reference: [tokens, width], the reference's hidden states at the same positions; no gradient goes there.
        scored: the model's.

    Returns:
        Two float32 [tokens], nats; one reading of the logits gives both.
    """
    both = over_vocabulary(head, _kl_and_log_prob, scored, reference)
    return both[:, 0], both[:, 1]


def over_vocabulary(
    head: Head,
    per_token: PerToken,
    scored: Scored,
    reference: torch.Tensor | None = None,
    aligned: Sequence[torch.Tensor] = (),
) -> torch.Tensor:
    """A function of the logits at every scored position, read chunk by chunk: float32 [tokens, ...].

    Args:
        head: the LM head.
        per_token: of logits [chunk, vocabulary], tokens [chunk], the reference's logits (None without one) and the
            chunk's part of each of `aligned`.
        scored: hidden states and tokens.
        reference: [tokens, width], hidden states whose logits `per_token` gets without gradient.
        aligned: [tokens, ...], more that is known of every token.
    """

    def chunk(hidden: torch.Tensor, tokens: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        if reference is None:
            return per_token(head(hidden), tokens, None, *rest)
        with torch.no_grad():
            others = head(rest[0].to(hidden.dtype))
        return per_token(head(hidden), tokens, others, *rest[1:])

    parts = (scored.hidden, scored.targets, *(() if reference is None else (reference,)), *aligned)
    return _in_chunks(chunk, head, parts)


def _log_prob(logits: torch.Tensor, tokens: torch.Tensor, _reference: torch.Tensor | None) -> torch.Tensor:
    return logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(1)


def _log_probs_at(
    logits: torch.Tensor, tokens: torch.Tensor, _reference: torch.Tensor | None, others: torch.Tensor
) -> torch.Tensor:
    return logits.gather(1, torch.cat([tokens[:, None], others], 1)) - logits.logsumexp(1, keepdim=True)


def _kl_and_log_prob(logits: torch.Tensor, tokens: torch.Tensor, reference: torch.Tensor | None) -> torch.Tensor:
    assert reference is not None  # noqa: S101
    with torch.no_grad():
        log_p = reference.log_softmax(1)
        p = log_p.exp()  # [chunk, vocabulary]
        negentropy = (p * log_p).sum(1)
    level = logits.logsumexp(1)  # KL(p || q) = sum p log p - sum p z + log sum exp z: two large tensors fewer
    kl = negentropy - (p * logits).sum(1) + level
    return torch.stack([kl, logits.gather(1, tokens[:, None])[:, 0] - level], dim=1)


def row_means(values: torch.Tensor, scored: Scored) -> torch.Tensor:
    """Mean of `values` [tokens] over the tokens of each batch row: float32 [rows]; every row has a scored token."""
    total = values.new_zeros(scored.n_rows).index_add(0, scored.rows, values)
    return total / torch.bincount(scored.rows, minlength=scored.n_rows)


@torch.no_grad()
def record_log_probs(model: Model, examples: Sequence[Example], pad_id: int) -> dict[str, np.ndarray]:
    """log p of each record's scored tokens, float32 [tokens], nats, by record id. Padding does not change it."""
    head = head_of(model)
    found: dict[str, np.ndarray] = {}
    for batch, scored in _passes(model, examples, pad_id):
        sizes = torch.bincount(scored.rows, minlength=scored.n_rows).tolist()
        parts = token_log_probs(head, scored).cpu().split(sizes)
        found.update(zip(batch.ids, (part.numpy() for part in parts), strict=True))
    return found


def record_nlls(model: Model, examples: Sequence[Example], pad_id: int) -> dict[str, float]:
    """Mean NLL of each record's scored tokens, nats per token, by record id."""
    return {record: mean_nll(log_probs) for record, log_probs in record_log_probs(model, examples, pad_id).items()}


def mean_nll(log_probs: np.ndarray) -> float:
    """Mean NLL of a record's scored tokens [tokens], nats per token."""
    return -float(log_probs.mean(dtype=np.float64))


PLAIN = Decoding()
"""What a model says, as it says it."""


def served_log_probs(logits: torch.Tensor, tokens: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """log p of drawing `tokens` [n] from `logits` [n, vocabulary] as served: float32 [n]; -inf for one that is cut."""
    logits = logits / decoding.temperature
    if decoding.top_k is not None:
        least = logits.topk(min(decoding.top_k, logits.shape[1]), dim=1).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if decoding.top_p is not None:
        likeliest, order = logits.sort(dim=1, descending=True)
        p = likeliest.softmax(1)
        cut = torch.zeros_like(logits, dtype=torch.bool).scatter(1, order, p.cumsum(1) - p >= decoding.top_p)
        logits = logits.masked_fill(cut, -math.inf)
    return logits.gather(1, tokens[:, None])[:, 0] - logits.logsumexp(1)


@dataclass(frozen=True)
class Reading:
    """What one teacher-forced pass says at each scored position of a record; NumPy, on the CPU.

    Attributes:
        log_probs: float32 [tokens], log p of the token that stands there, nats.
        means: float32 [tokens], mean of log p over the vocabulary, weighted by p itself.
        deviations: float32 [tokens], standard deviation of log p likewise; at least 1e-3.
        correct: bool [tokens], whether no token is likelier than the one that stands there.
        served: float32 [tokens], log p of the token under the decoding that was asked for; -inf if it is never said.
    """

    log_probs: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    correct: np.ndarray
    served: np.ndarray

    @property
    def nll(self) -> float:
        """Mean NLL, nats per token."""
        return mean_nll(self.log_probs)


@torch.no_grad()
def readings(model: Model, examples: Sequence[Example], pad_id: int, decoding: Decoding = PLAIN) -> dict[str, Reading]:
    """Each record read once, by record id: all that attacks on likelihoods look at. Padding does not change it.

    Args:
        model: in evaluation mode.
        examples: the records.
        pad_id: token that pads.
        decoding: how the model is served.
    """
    head = head_of(model)

    def moments(logits: torch.Tensor, tokens: torch.Tensor, _reference: torch.Tensor | None) -> torch.Tensor:
        log_p = logits.log_softmax(1).clamp_(min=UNSAYABLE)  # [chunk, vocabulary]
        ours = log_p.gather(1, tokens[:, None])[:, 0]
        right = ours >= log_p.amax(1)
        weighted = log_p.exp()
        mean = torch.linalg.vecdot(weighted, log_p)
        square = torch.linalg.vecdot(weighted.mul_(log_p), log_p)
        deviation = (square - mean.square()).clamp_min(1e-6).sqrt()
        served = ours if decoding == PLAIN else served_log_probs(logits, tokens, decoding)
        return torch.stack([ours, mean, deviation, right, served], dim=1)

    found = {}
    for batch, scored in _passes(model, examples, pad_id):
        rows = over_vocabulary(head, moments, scored).cpu()
        sizes = torch.bincount(scored.rows, minlength=scored.n_rows).tolist()
        for record, part in zip(batch.ids, rows.split(sizes), strict=True):
            log_probs, means, deviations, correct, served = part.numpy().T
            found[record] = Reading(log_probs, means, deviations, correct > 0.5, served)
    return found


def answer_gradient(model: Model, example: Example) -> torch.Tensor:
    """How the mean NLL of a record's scored tokens changes with each token of it, to first order.

    The gradient with respect to one-hot inputs: float32 [tokens, vocabulary]; no weight's gradient is touched.
    """
    lm = _causal_lm(model)
    table = lm.get_input_embeddings().weight
    batch = collate([example], 0, lm.device)
    with torch.enable_grad():
        embedded = lm.get_input_embeddings()(batch.input_ids).detach().requires_grad_(True)
        out = lm.base_model(inputs_embeds=embedded, attention_mask=batch.attention_mask, use_cache=False)
        mask = batch.scored[:, 1:]
        hidden = out.last_hidden_state[:, :-1][mask]
        rows = torch.zeros(len(hidden), dtype=torch.int64, device=hidden.device)
        loss = -token_log_probs(head_of(model), Scored(hidden, batch.input_ids[:, 1:][mask], rows, 1)).mean()
        (gradient,) = torch.autograd.grad(loss, embedded)
    return (gradient[0].float() @ table.detach().float().T).cpu()


@torch.no_grad()
def top_tokens(
    model: Model, examples: Sequence[Example], pad_id: int, count: int
) -> dict[str, tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """What the model expects at each record's scored positions, on the CPU, by record id.

    Returns:
        log p of the scored tokens, float32 [tokens]; the `count` most likely tokens (fewer in a smaller vocabulary),
        int64 [tokens, count]; their log p, float32 [tokens, count]. Nats.
    """
    head = head_of(model)

    def expected(logits: torch.Tensor, tokens: torch.Tensor, _reference: torch.Tensor | None) -> torch.Tensor:
        log_probs = logits.log_softmax(1)
        top = log_probs.topk(min(count, logits.shape[1]), dim=1)
        # token numbers pass through float64 whole
        return torch.cat([log_probs.gather(1, tokens[:, None]).double(), top.indices.double(), top.values.double()], 1)

    found = {}
    for batch, scored in _passes(model, examples, pad_id):
        rows = over_vocabulary(head, expected, scored).cpu()
        sizes = torch.bincount(scored.rows, minlength=scored.n_rows).tolist()
        for record, part in zip(batch.ids, rows.split(sizes), strict=True):
            half = (part.shape[1] - 1) // 2
            found[record] = (part[:, 0].float(), part[:, 1 : 1 + half].long(), part[:, 1 + half :].float())
    return found


@torch.no_grad()
def reference_of(
    model: Model, examples: Sequence[Example], pad_id: int
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The model as a reference, on the CPU, by record id: what it thinks at each record's scored positions.

    Returns:
        Hidden states [scored tokens, width], which stand for the distributions at width / vocabulary of the logits'
        size; log p of the scored tokens, float32 [scored tokens], nats.
    """
    head = head_of(model)
    hidden: dict[str, torch.Tensor] = {}
    log_probs: dict[str, torch.Tensor] = {}
    for batch, scored in _passes(model, examples, pad_id):
        sizes = torch.bincount(scored.rows, minlength=scored.n_rows).tolist()
        hidden.update(zip(batch.ids, scored.hidden.cpu().split(sizes), strict=True))
        log_probs.update(zip(batch.ids, token_log_probs(head, scored).cpu().split(sizes), strict=True))
    return hidden, log_probs


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
    chunk: Callable[..., torch.Tensor],
    head: Head,
    parts: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """`chunk` over pieces of at most LOGITS_BYTES of logits; recomputed in backward when there are several."""
    hidden = parts[0]
    with torch.no_grad():
        vocabulary = head(hidden[:1].detach()).shape[-1] if len(hidden) else 1
    size = max(1, LOGITS_BYTES // (4 * vocabulary))
    if len(hidden) <= size:
        return chunk(*parts)
    pieces = zip(*(part.split(size) for part in parts), strict=True)
    if not torch.is_grad_enabled():
        return torch.cat([chunk(*piece) for piece in pieces])
    return torch.cat([checkpoint(chunk, *piece, use_reentrant=False) for piece in pieces])
