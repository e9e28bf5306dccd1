"""Each governor: the pulse it lets pass, the pulse it acts on, and what it says then."""

import json
import math
from dataclasses import replace

import pytest

from unlearn.guards import GOVERNORS, Budget, GeneralText, NonFinite, Overshoot
from unlearn.guards.retain_kl import RetainKl
from unlearn.guards.retain_rise import RetainRise
from unlearn.measurement import Pulse
from unlearn.policy import GovernorPolicy

CALM = Pulse(
    step=3,
    steps=10,
    seconds=1.0,
    loss=0.5,
    gradient_norm=1.0,
    forget_nll_nats=2.0,
    gap_nats=0.1,
    absolute_gap_nats=0.2,
    retain_kl_nats=0.01,
    retain_rise_nats=0.001,
    retain_nll_nats=2.0,
    general_rise_nats=0.01,
    general_nll_nats=4.0,
    window_records=48,
)

CASES = [
    (NonFinite(), {"loss": math.nan}, "rollback", "not both finite"),
    (NonFinite(), {"loss": math.inf}, "rollback", "not both finite"),
    (NonFinite(), {"gradient_norm": math.inf}, "rollback", "not both finite"),
    (RetainKl(0.1), {"retain_kl_nats": 0.11}, "rollback", "0.1100 nats per token over 48 records"),
    (RetainRise(0.05, 0.02), {"retain_rise_nats": 0.11}, "rollback", "rose by 0.1100"),
    (GeneralText(0.05), {"general_rise_nats": 0.21}, "rollback", "rose by 0.2100"),
    (Overshoot(0.25), {"gap_nats": -0.26}, "stop", "0.260 nats per token past"),
    (Budget(60.0), {"step": 11}, "stop", "10 steps of this rung are taken"),
    (Budget(60.0), {"seconds": 61.0}, "stop", "61 seconds are over; 60 are the budget"),
]


@pytest.mark.parametrize(("governor", "change", "action", "says"), CASES, ids=lambda case: type(case).__name__)
def test_a_governor_acts_past_its_budget_and_not_before(governor, change, action, says):
    assert governor(CALM) is None
    found = governor(replace(CALM, **change))
    assert found is not None
    assert found.action == action
    assert says in found.sentence
    assert found.governor in GOVERNORS


def test_exactly_the_budget_is_within_it():
    for governor, change in (
        (RetainKl(0.1), {"retain_kl_nats": 0.1}),
        (RetainRise(0.05, 0.0), {"retain_rise_nats": 0.1}),
        (GeneralText(0.05), {"general_rise_nats": 0.2}),
        (Overshoot(0.25), {"gap_nats": -0.25}),
        (Budget(60.0), {"step": 10, "seconds": 60.0}),
    ):
        assert governor(replace(CALM, **change)) is None


@pytest.mark.parametrize(
    ("governor", "figure"),
    [
        (NonFinite(), "loss"),
        (NonFinite(), "gradient_norm"),
        (RetainKl(0.1), "retain_kl_nats"),
        (RetainRise(0.05, 0.02), "retain_rise_nats"),
        (RetainRise(0.05, 0.02), "retain_nll_nats"),
        (GeneralText(0.05), "general_rise_nats"),
        (GeneralText(0.05), "general_nll_nats"),
        (Overshoot(0.25), "gap_nats"),
    ],
)
def test_a_figure_that_is_no_number_is_never_within_a_budget(governor, figure):
    found = governor(replace(CALM, **{figure: math.nan}))
    assert found is not None
    assert json.dumps(found.as_report(), allow_nan=False)  # what is no number is null in a report


def test_the_last_look_takes_no_gradient_and_lacks_nothing():
    assert NonFinite()(replace(CALM, gradient_norm=None)) is None


def test_a_small_rise_of_a_small_nll_is_let_pass_by_the_floor():
    tiny = replace(CALM, retain_nll_nats=0.1, retain_rise_nats=0.015)
    assert RetainRise(0.05, 0.02)(tiny) is None
    assert RetainRise(0.05, 0.01)(tiny) is not None


def test_without_targets_or_a_probe_two_governors_have_nothing_to_say():
    assert Overshoot(0.0)(replace(CALM, gap_nats=None)) is None
    assert GeneralText(1e-9)(replace(CALM, general_rise_nats=None)) is None
    assert GeneralText(1e-9)(replace(CALM, general_nll_nats=None)) is None


def test_the_menu_makes_every_governor_from_the_policy_and_a_calm_loop_goes_on():
    policy = GovernorPolicy()
    assert [make(policy)(CALM) for make in GOVERNORS.values()] == [None] * len(GOVERNORS)
