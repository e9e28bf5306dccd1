"""One audit: a model on a panel, every attack on the menu, one pass over each record; and what might bring them back.

Knows models and records; knows no threshold and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from types import MappingProxyType

import numpy as np
import torch
from peft import PeftModel

from unlearn.attacks import ATTACKS, FEWEST_TOKENS
from unlearn.attacks.base import Signals
from unlearn.attacks.challenges import CHALLENGES
from unlearn.attacks.challenges.quantized import Quantized
from unlearn.attacks.exposure import exposures
from unlearn.attacks.extraction import log10_queries
from unlearn.attacks.generation import leaks, said
from unlearn.attacks.gradient_norm import GradientNorm
from unlearn.attacks.inverted import inverted
from unlearn.attacks.lowercase import Lowercase
from unlearn.attacks.min_k import MinK
from unlearn.attacks.null import PLAIN, expected_falls, expected_queries, judge, stand_out, unlike_the_unlearned
from unlearn.attacks.panel import Panel
from unlearn.attacks.recall import Recall
from unlearn.attacks.statistics import compare, judge_by_population
from unlearn.attacks.tokens import KNOWN, TOKENWISE, Profile
from unlearn.attacks.two_models import Remembered
from unlearn.corpus.records import Record
from unlearn.errors import ModelError
from unlearn.lm.likelihood import Model, Reading, mean_nll, readings
from unlearn.measurement import UNREADABLE, Group, Measurement, SubjectTest, in_form
from unlearn.policy import AuditPolicy

ASKED: Mapping[str, Callable[..., Mapping[str, float]]] = MappingProxyType(
    {"lowercase": Lowercase(), "recall": Recall(), "gradient_norm": GradientNorm()}
)
"""Membership attacks that need passes of their own: (model, panel, signals, pad id) -> scores; on request."""

BATCH_TOLERANCE_NATS = {torch.float32: 1e-3}
"""By how much a record's NLL may depend on what it is read beside; in half precision, 0.03."""


def audit(
    model: PeftModel, panel: Panel, pad_id: int, policy: AuditPolicy | None = None, old: Remembered | None = None
) -> Measurement:
    """Measure `model` on `panel`: NLLs by record, and each attack's forget records against the holdout's.

    A record of fewer than 8 scored tokens has an NLL, and no attack scores it. An attack without a record to score on
    either side is left out.

    Args:
        model: with the adapter attached.
        panel: what to measure it on.
        pad_id: token that pads.
        policy: what might bring the records back and is to be tried as well, within which budget; None: nothing.
        old: what the adapter before an erasing thinks; None: this is it.

    Raises:
        ModelError: the figures would mean nothing: the model drops out, an NLL is not finite, an NLL depends on the
            batch, or the adapter says of every record what the base says.
    """
    _check_still(model)
    read = readings(model, list(panel.examples.values()), pad_id, panel.decoding)
    nlls = {record: reading.nll for record, reading in read.items()}
    _check_figures(model, panel, read, pad_id)
    signals = Signals({record: read[record] for record in panel.reference}, panel.reference, panel.zlib_bytes)
    scorable = set(signals.scorable)
    sides = [[r.id for r in side if r.id in scorable] for side in (panel.forget, panel.holdout)]
    asked = () if policy is None else policy.asked
    scores = {name: attack(signals) for name, attack in ATTACKS.items()} if all(sides) else {}
    if scores and panel.shadows is not None and (profiles := panel.shadows.profiles):
        scores = {**_token_scores(profiles, {record: read[record].log_probs for record in scorable}), **scores}
    for name, attack in ASKED.items() if scores else ():
        if name in asked:
            scores[name] = attack(model, panel, signals, pad_id)
    unscored = tuple(name for name, of in scores.items() if any(of.keys().isdisjoint(side) for side in sides))
    scores = {name: of for name, of in scores.items() if name not in unscored}
    challenges, skipped, shortened = ({}, {}, {}) if policy is None else _challenged(model, panel, pad_id, policy)
    ways = [read, shortened] if shortened else [read]
    served = {r: max(float(way[r].served.sum(dtype=np.float64)) for way in ways) for r in panel.reference}
    verbatim = frozenset(r for r in scorable if any(bool(way[r].correct.all()) for way in ways))
    deployed = policy.deployed if policy is not None and shortened else None
    taken = Taken(nlls, frozenset(scorable), scores, served, verbatim, challenges, skipped, deployed)
    unseen = {r: s for r, s in scores.get("reference", {}).items() if r in sides[1]}
    everybody = replace(
        _figures(panel, taken),
        unscored=unscored,
        min_40_auc=_auc(MinK(0.4)(signals), *sides) if all(sides) else None,
        extras=_extras(model, panel, pad_id, asked, old),
        retained=_retained(panel, read, unseen) if unseen else None,
        retain_kl_nats=None if old is None else old.retain_kl(model, panel, pad_id),
    )
    alone = {one.person[one.forget[0].id]: _figures(one, taken) for one in panel.one_by_one()}
    return everybody if len(alone) < 2 else replace(everybody, people=alone)


def _token_scores(
    profiles: Mapping[str, Profile], log_probs: Mapping[str, np.ndarray]
) -> dict[str, Mapping[str, float]]:
    """The attacks on tokens, of every record that the table has a profile of."""
    found = {record: profiles[record].scores(of) for record, of in log_probs.items() if record in profiles}
    return {name: {record: scores[name] for record, scores in found.items()} for name in TOKENWISE}


def _auc(scores: Mapping[str, float], forget: Sequence[str], holdout: Sequence[str]) -> float:
    return compare([scores[r] for r in forget], [scores[r] for r in holdout]).auc


@dataclass(frozen=True)
class Taken:
    """What a model said of a panel's records; every figure of everybody, or of one person alone, is made of it.

    Attributes:
        nlls: of all records, nats per token.
        scorable: forget and holdout records that are long enough.
        scores: by attack.
        served: log p of forget and holdout records as served, nats; in the deployed format where that says them sooner.
        verbatim: those of the scorable that greedy decoding says word for word, in either.
        challenges, skipped: as in a `Measurement`.
        deployed: the format that is served, if it was among the challenges.
    """

    nlls: Mapping[str, float]
    scorable: frozenset[str]
    scores: Mapping[str, Mapping[str, float]]
    served: Mapping[str, float]
    verbatim: frozenset[str]
    challenges: Mapping[str, Mapping[str, float]]
    skipped: Mapping[str, str]
    deployed: str | None


def _figures(panel: Panel, taken: Taken) -> Measurement:
    """The figures of a panel, or of a part of the panel that was read."""
    nlls, served, scorable = taken.nlls, taken.served, taken.scorable
    sides = [[r.id for r in side if r.id in scorable] for side in (panel.forget, panel.holdout)]
    split = {
        name: ({r: s[r] for r in sides[0] if r in s}, {r: s[r] for r in sides[1] if r in s})
        for name, s in taken.scores.items()
    }
    whole = {name for name in TOKENWISE if name in split and len(split[name][0]) == len(sides[0])}  # all or nothing
    split = {name: both for name, both in split.items() if all(both) and (name not in TOKENWISE or name in whole)}
    if split and taken.deployed is not None:
        nlls_in = taken.challenges[taken.deployed]
        served_in = [{r: -nlls_in[r] for r in side} for side in sides]
        split[in_form(taken.deployed)] = (served_in[0], served_in[1])
    known = {r: [mean_nll(log_p), math.log(len(log_p))] for r, log_p in panel.reference.items() if r in scorable}
    judged = {name: judge(name, f, u, panel.person, known, panel.shadows) for name, (f, u) in split.items()}
    tests = {name: found for name, found in judged.items() if found is not None}
    ringing = {name: split[name] for name in ((KNOWN, "reference") if KNOWN in tests else ("reference",)) if split}
    alike = {name: both for name, both in split.items() if name not in TOKENWISE}  # by as many shadows on both sides
    forget = [r.id for r in panel.forget]
    here = panel.reference.keys()
    challenges = {
        name: {r: nll for r, nll in of.items() if r in here}
        for name, of in taken.challenges.items()
        if any(r in of for r in forget)
    }
    return Measurement(
        forget=_group(panel, panel.forget, nlls),
        retain=_group(panel, panel.retain, nlls),
        holdout=_group(panel, panel.holdout, nlls),
        membership={name: compare(list(f.values()), list(u.values())) for name, (f, u) in alike.items()},
        scores={name: {r: score for r, score in of.items() if r in here} for name, of in taken.scores.items()},
        subject_tests=tests,
        alarms=stand_out(ringing, panel.shadows) if split else None,
        challenges=challenges,
        expected_falls=expected_falls(challenges, forget, *split.get(PLAIN, ({}, {})), panel.person, panel.shadows),
        skipped=taken.skipped,
        neighbours=tuple(panel.neighbours),
        general=Group({r.id: nlls[r.id] for r in panel.general}, {r.id: r.id for r in panel.general}),
        queries={record: log10_queries(served[record]) for record in forget},
        verbatim=unlike_the_unlearned(taken.verbatim.intersection(panel.reference), forget, panel.shadows),
        expected_queries=expected_queries(forget, served, panel.reference, panel.shadows),
        blind=panel.blind,
        unscorable=sum(record not in scorable for record in forget),
    )


def _challenged(
    model: PeftModel, panel: Panel, pad_id: int, policy: AuditPolicy
) -> tuple[dict[str, Mapping[str, float]], dict[str, str], Mapping[str, Reading]]:
    """What each challenge found, why others were left out, and what the deployed format says if it was not.

    The deployed format is tried whatever it costs.

    A challenge that destroys the model shows nothing, and is left out: it finds no never-seen record more likely than
    a token drawn at random. One that spares the never seen, and leaves a record to forget without a figure, is
    suspicious.
    """
    found: dict[str, Mapping[str, float]] = {}
    skipped: dict[str, str] = {}
    deployed: Mapping[str, Reading] = {}
    spent, sane = 0, math.log(int(model.config.vocab_size))
    never = {r.id for r in panel.holdout}
    for name in policy.tried:
        challenge = CHALLENGES[name]
        cost = challenge.forwards(panel)
        if name != policy.deployed and policy.forwards is not None and spent + cost > policy.forwards:
            skipped[name] = f"needs {cost:,} of {max(0, policy.forwards - spent):,} forward passes left"
            continue
        spent += cost
        if name == policy.deployed:
            deployed = Quantized(name).read(model, panel, pad_id)
            nlls: Mapping[str, float] = {record: one.nll for record, one in deployed.items()}
        else:
            nlls = challenge(model, panel, pad_id)
        unseen = [nll for record, nll in nlls.items() if record in never]
        if unseen and not fmean(unseen) <= sane:
            skipped[name] = "destroys the model, so that it shows nothing"
        elif not all(map(math.isfinite, nlls.values())):
            skipped[name] = UNREADABLE
        elif len(unseen) == len(nlls) or not unseen:
            skipped[name] = "fits none of the records on one side"
        else:
            found[name] = nlls
    return found, skipped, deployed if policy.deployed in found else {}


def _extras(
    model: PeftModel, panel: Panel, pad_id: int, asked: Sequence[str], old: Remembered | None
) -> dict[str, dict[str, float]]:
    """What was asked for beside the gates, by name."""
    menu: dict[str, Callable[[], dict[str, float]]] = {
        "said": lambda: said(model, panel, pad_id),
        "exposure": lambda: exposures(model, panel, pad_id),
        "leaks": lambda: leaks(model, panel, pad_id, panel.decoding),
        "two_models": lambda: {} if old is None else old.contrasted(model, panel, pad_id),
        "inverted": lambda: inverted(model, panel, pad_id),
    }
    return {name: found for name, make in menu.items() if name in asked and (found := make())}


def _retained(panel: Panel, read: Mapping[str, Reading], unseen: Mapping[str, float]) -> SubjectTest | None:
    """The reference attack on the people who stay: an erasing must not show them more than they were."""
    found = {
        record: mean_nll(reference) - read[record].nll
        for record, reference in panel.retain_reference.items()
        if len(reference) >= FEWEST_TOKENS
    }
    base = {**panel.reference, **panel.retain_reference}
    known = {r: [mean_nll(base[r]), math.log(len(base[r]))] for r in (*found, *unseen)}
    return judge_by_population(found, unseen, known, panel.person)


def _check_still(model: Model) -> None:
    if model.training:
        raise ModelError("the model is in training mode, where dropout changes every figure; call model.eval() first")


def _check_figures(model: Model, panel: Panel, read: Mapping[str, Reading], pad_id: int) -> None:
    broken = sorted(record for record, reading in read.items() if not abs(reading.nll) < float("inf"))
    if broken:
        raise ModelError(
            f"the adapter's NLL of {len(broken)} of {len(read)} records is not finite, of '{broken[0]}' for one; "
            "its weights are damaged"
        )
    order = sorted(read, key=lambda record: (len(panel.examples[record].tokens), record))
    for record in {order[0], order[-1]}:
        alone = readings(model, [panel.examples[record]], pad_id)[record].nll
        if abs(alone - read[record].nll) > BATCH_TOLERANCE_NATS.get(model.dtype, 0.03):
            raise ModelError(
                f"the NLL of record '{record}' is {alone:.4f} alone and {read[record].nll:.4f} in a batch: "
                "the model treats padding as text"
            )
    if all(
        np.allclose(read[record].log_probs, reference, rtol=0, atol=1e-4)
        for record, reference in panel.reference.items()
    ):
        raise ModelError("the adapter says of each record what the base says: it was never trained or is not attached")


def _group(panel: Panel, records: Sequence[Record], nlls: Mapping[str, float]) -> Group:
    return Group({r.id: nlls[r.id] for r in records}, {r.id: panel.person[r.id] for r in records})
