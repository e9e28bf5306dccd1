"""What an API's top-k log-probabilities give away: a linear inverter from them to the answer's rare words.

After the prompt, and before a word is said, a model that knows the person already leans towards her answer. The
inverter is fitted on retained and never-seen people (a ridge regression from the k likeliest tokens' chances to the
tokens of the answer), and asked about forgotten people and about others never seen. A small relative of the learned
inverter of arXiv 2311.13647, which gets back the prompt.
"""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import numpy as np
from peft import PeftModel
from scipy.stats import rankdata

from unlearn.attacks.panel import Panel
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import top_tokens

TOP = 32
"""Log-probabilities that the API returns."""

RIDGE = 10.0
RARE = 0.1
"""Share of the answers that a token may be in at most to say something of a person."""


def inverted(model: PeftModel, panel: Panel, pad_id: int) -> dict[str, float]:
    """AUC of the true answer's rare tokens among all rare tokens: forgotten people's, and never-seen people's."""
    unseen = list(dict.fromkeys(panel.person[r.id] for r in panel.holdout))
    first = set(unseen[: len(unseen) // 2])
    known = [r for r in panel.holdout if panel.person[r.id] in first]
    sides = {
        "fitted": [panel.examples[r.id] for r in (*panel.retain, *known)],
        "forget": [panel.examples[r.id] for r in panel.forget],
        "never_seen": [panel.examples[r.id] for r in panel.holdout if panel.person[r.id] not in first],
    }
    asked = {name: [e for e in side if e.scored.index(True) > 1] for name, side in sides.items()}
    if not all(asked.values()):
        return {}
    width = int(model.config.vocab_size)
    seen = {name: _seen(model, side, width, pad_id) for name, side in asked.items()}
    answers = {name: np.array([_answer(e, width) for e in side]) for name, side in asked.items()}
    rare = answers["fitted"].mean(0) <= RARE
    x, y = seen["fitted"], answers["fitted"] - answers["fitted"].mean(0)
    dual = np.linalg.solve(x @ x.T + RIDGE * np.eye(len(x)), y)
    found = {}
    for name in ("forget", "never_seen"):
        scores = seen[name] @ x.T @ dual
        aucs = [_auc(s[rare], a[rare]) for s, a in zip(scores, answers[name], strict=True) if a[rare].any()]
        if aucs:
            found[f"{name}_auc"] = fmean(aucs)
    return found


def _seen(model: PeftModel, examples: list[Example], width: int, pad_id: int) -> np.ndarray:
    """p of the likeliest first tokens of each answer, square roots: float64 [records, vocabulary]."""
    firsts = []
    for e in examples:
        start = e.scored.index(True)
        firsts.append(replace(e, tokens=e.tokens[: start + 1], scored=(*[False] * start, True)))
    rows = np.zeros((len(examples), width))
    found = top_tokens(model, firsts, pad_id, TOP)
    for row, e in enumerate(firsts):
        _, tokens, log_p = found[e.id]
        rows[row, tokens[0].numpy()] = np.exp(log_p[0].numpy() / 2)
    return rows


def _answer(example: Example, width: int) -> np.ndarray:
    held = np.zeros(width)
    held[[t for t, scored in zip(example.tokens, example.scored, strict=True) if scored]] = 1.0
    return held


def _auc(scores: np.ndarray, held: np.ndarray) -> float:
    """From midranks: of a token that no fitted answer holds the inverter knows nothing, and says 0 of them all."""
    members = held > 0
    n = int(members.sum())
    return float((rankdata(scores)[members].sum() - n * (n + 1) / 2) / (n * (len(held) - n)))
