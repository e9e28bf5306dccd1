"""Targets without a shadow table: the fit, the shift, and the base alone."""

from __future__ import annotations

import numpy as np
import pytest

from unlearn.corpus.records import Record
from unlearn.erasure.targets import _ridge, known_of, targets_from_calibration
from unlearn.lm.base import attached
from unlearn.lm.batches import encode
from unlearn.lm.likelihood import record_nlls
from unlearn.weights import read_adapter


@pytest.fixture
def some(company, base):
    forget = [r for r in company.train.records if company.subject in r.subjects]
    found = (
        encode(records, base.tokenizer, base.files.context_tokens) for records in (forget, company.holdout.records)
    )
    return tuple(found)


def targets(company, base, forget, calibration):
    staying = [r for r in company.train.records if company.subject not in r.subjects]
    known = known_of(company.train.records, company.holdout.records, staying)
    with attached(base, read_adapter(company.adapter)) as model:
        return targets_from_calibration(model, forget, calibration, 0, known)


def anchors(company, base, examples):
    with attached(base, read_adapter(company.adapter)) as model:
        level = record_nlls(model, examples, 0)
        with model.disable_adapter():
            return record_nlls(model, examples, 0), level


def test_the_fit_finds_a_line_that_is_there():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = 1.0 + x @ [2.0, 0.0, -1.0]
    predicted, explained = _ridge(x, y, np.array([[0.0, 0.0, 0.0], [1.0, 5.0, 1.0]]))
    assert predicted == pytest.approx([1.0, 2.0], abs=0.05)
    assert explained > 0.99


def test_a_covariate_that_never_varies_does_not_matter():
    x = np.array([[1.0, 3.0], [2.0, 3.0], [3.0, 3.0]] * 10)
    predicted, _ = _ridge(x, x[:, 0], np.array([[2.0, 3.0]]))
    assert predicted == pytest.approx([2.0])


def test_the_fit_lies_between_nothing_learned_and_everything_remembered(company, base, some):
    forget, holdout = some
    found = targets(company, base, forget, holdout)
    _, level = anchors(company, base, forget)
    assert found.source == "calibration fit"
    assert f"{len(holdout)} holdout records" in found.sentence
    assert sum(found.nlls.values()) > sum(level.values())  # what was memorised has to rise


def test_what_is_known_of_a_record_is_its_person_and_how_like_those_who_stay_it_reads():
    staying = [Record("r", ("a",), text="Ada keeps bees")]
    mine = [Record("f", ("b", "a"), text="Bo keeps bees"), Record("g", (), text="zinc")]
    known = known_of(mine, [Record("h", ("c",), text="Ada keeps bees")], staying)
    assert {i: k.person for i, k in known.items()} == {"f": "b", "g": "g", "h": "c"}
    assert known_of(mine, [], staying, {"a"}.__contains__)["f"].person == "a"  # wherever it names the one to forget
    assert known["h"].likeness == pytest.approx(1.0)
    assert 0.0 < known["f"].likeness < 1.0
    assert known["g"].likeness == 0.0


def test_a_fit_with_people_predicts_people_it_has_not_seen_better_than_their_mean(company, base, some):
    """Half of the holdout's people fitted, the other half predicted: nearer than the mean of the first half."""
    _, holdout = some
    people = sorted({r.subjects[0] for r in company.holdout.records})
    first = {r.id for r in company.holdout.records if r.subjects[0] in people[::2]}
    seen, unseen = ([e for e in holdout if (e.id in first) is side] for side in (True, False))
    found = targets(company, base, unseen, seen)
    _, level = anchors(company, base, holdout)
    mean = np.mean([level[e.id] for e in seen])
    ours, others = (
        np.mean([abs(guess(e) - level[e.id]) for e in unseen]) for guess in (lambda e: found.nlls[e.id], lambda e: mean)
    )
    assert ours < others


def test_few_holdout_records_give_their_mean_shift(company, base, some):
    forget, holdout = some
    few = holdout[:5]
    found = targets(company, base, forget, few)
    anchor, level = anchors(company, base, few)
    shift = np.mean([level[e.id] - anchor[e.id] for e in few])
    mine, _ = anchors(company, base, forget)
    assert found.source == "mean shift"
    for record, nll in found.nlls.items():
        assert nll == pytest.approx(mine[record] + shift, abs=1e-5)


def test_no_holdout_record_leaves_the_base_alone(company, base, some):
    forget, _ = some
    found = targets(company, base, forget, [])
    mine, _ = anchors(company, base, forget)
    assert (found.source, found.nlls) == ("base", pytest.approx(mine))
