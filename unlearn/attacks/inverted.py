"""What an API's top-k log-probabilities give away: inverters from them to the answer's rare words.

A model that knows a person leans towards what she said even where it says something else. The API is asked the prompt
and answers greedily; at each of its tokens it shows the k likeliest. How near each word of the vocabulary ever came is
read as it is, and by two inverters that are fitted on retained and never-seen people: a ridge regression and a network
with a hidden layer, small relatives of the learned inverter of arXiv 2311.13647, which gets back the prompt. Then they
are asked about forgotten people and about others never seen.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from statistics import fmean
from warnings import catch_warnings, simplefilter

import numpy as np
from peft import PeftModel
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor

from unlearn.attacks.generation import greedily
from unlearn.attacks.panel import Panel
from unlearn.lm.batches import Example
from unlearn.lm.likelihood import top_tokens

TOP = 32
"""Log-probabilities that the API returns."""

RARE = 0.1
"""Share of the answers that a token may be in at most to say something of a person."""

RIDGE = 10.0
"""Penalty of the ridge regression."""

HIDDEN = 64
"""Width of the network's hidden layer."""

STEPS = 150
"""Steps that it is trained for."""

BATCH = 200
"""Records in a step, at most."""

Inverter = Callable[[np.ndarray], np.ndarray]
"""What was seen, float64 [records, vocabulary] -> scores of the answers' tokens, float64 [records, vocabulary]."""


def inverted(model: PeftModel, panel: Panel, pad_id: int) -> dict[str, float]:
    """AUC of the true answer's rare tokens among all rare tokens, of forgotten and of never-seen people.

    Returns:
        "forget_auc" and "never_seen_auc" as the API shows them, and the same of each inverter with its name in front,
        "linear_" or "network_"; nothing if a side has nobody to ask about.
    """
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
    found = {}
    for prefix, fit in (("", _as_shown), ("linear_", _linear), ("network_", _network)):
        invert = fit(seen["fitted"], answers["fitted"])
        for name in ("forget", "never_seen"):
            scores = invert(seen[name])
            aucs = [_auc(s[rare], a[rare]) for s, a in zip(scores, answers[name], strict=True) if a[rare].any()]
            if aucs:
                found[f"{prefix}{name}_auc"] = fmean(aucs)
    return found


def _as_shown(_seen: np.ndarray, _answers: np.ndarray) -> Inverter:
    """What the API shows, as it is."""
    return lambda asked: asked


def _linear(seen: np.ndarray, answers: np.ndarray) -> Inverter:
    """A ridge regression, in its dual: fewer records than tokens."""
    dual = np.linalg.solve(seen @ seen.T + RIDGE * np.eye(len(seen)), answers - answers.mean(0))
    return lambda asked: asked @ seen.T @ dual


def _network(seen: np.ndarray, answers: np.ndarray) -> Inverter:
    """One hidden layer, trained by Adam for a fixed number of steps; the same one each time."""
    said, epochs = answers.any(0), ceil(STEPS / ceil(len(seen) / BATCH))
    net = MLPRegressor(
        hidden_layer_sizes=(HIDDEN,),
        batch_size=min(BATCH, len(seen)),
        max_iter=epochs,
        tol=0.0,
        n_iter_no_change=epochs,
        random_state=0,
    )
    with catch_warnings():
        simplefilter("ignore", ConvergenceWarning)  # the steps are few on purpose
        net.fit(seen, answers[:, said] / np.sqrt(answers[:, said].mean(0)))

    def invert(asked: np.ndarray) -> np.ndarray:
        scores = np.zeros((len(asked), answers.shape[1]))
        scores[:, said] = net.predict(asked).reshape(len(asked), -1)
        return scores

    return invert


def _seen(model: PeftModel, examples: list[Example], width: int, pad_id: int) -> np.ndarray:
    """How near each token ever came to being said: square root of its largest p, float64 [records, vocabulary]."""
    rows = np.zeros((len(examples), width))
    answered = greedily(model, examples, pad_id)
    found = top_tokens(model, [e for e in answered if any(e.scored)], pad_id, TOP)
    for row, e in zip(rows, answered, strict=True):
        if e.id in found:
            _, tokens, log_p = found[e.id]
            np.maximum.at(row, tokens.numpy().ravel(), np.exp(log_p.numpy().ravel() / 2))
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
