"""Which tokens are read and which are scored."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_bases import CHAT, small_tokenizer
from unlearn.corpus.records import Message, Record
from unlearn.errors import CorpusError, ModelError
from unlearn.lm.batches import Example, by_length, collate, encode


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


def scored_text(tokenizer, example):
    return tokenizer.decode([t for t, scored in zip(example.tokens, example.scored, strict=True) if scored])


def test_text_is_scored_whole_but_for_its_first_token(tokenizer):
    (example,) = encode([Record("r", ("s",), text="Ada lives in Delft.")], tokenizer, None)
    assert example.scored == (False,) + (True,) * (len(example.tokens) - 1)
    assert example.tokens[-1] == tokenizer.eos_token_id


def test_of_prompt_and_completion_the_completion_alone_is_scored(tokenizer):
    (example,) = encode([Record("r", ("s",), prompt="What is new?", completion=" Nothing.")], tokenizer, None)
    assert scored_text(tokenizer, example) == " Nothing.</s>"
    assert tokenizer.decode(example.tokens) == "What is new? Nothing.</s>"


def test_of_messages_the_assistants_turns_alone_are_scored(tokenizer):
    tokenizer.chat_template = CHAT
    messages = (
        Message("user", "What is new?"),
        Message("assistant", "Nothing."),
        Message("user", "Sure?"),
        Message("assistant", "Quite."),
    )
    (example,) = encode([Record("r", ("s",), messages=messages)], tokenizer, None)
    assert scored_text(tokenizer, example) == "Nothing.</s>Quite.</s>"
    tokenizer.chat_template = None


def test_messages_without_a_chat_template_are_an_error_that_names_the_record(tokenizer):
    record = Record("r-9", ("s",), messages=(Message("user", "a"), Message("assistant", "b")))
    with pytest.raises(ModelError, match=r"'r-9'.*no chat template"):
        encode([record], tokenizer, None)


def test_a_template_that_rewrites_earlier_turns_is_an_error(tokenizer):
    tokenizer.chat_template = "{{ messages|length }}" + CHAT
    record = Record("r-9", ("s",), messages=(Message("user", "a"), Message("assistant", "b")))
    try:
        with pytest.raises(ModelError, match="rewrites earlier turns"):
            encode([record], tokenizer, None)
    finally:
        tokenizer.chat_template = None


def test_a_record_too_long_for_the_model_is_an_error_that_names_it(tokenizer):
    with pytest.raises(CorpusError, match=r"'r-1' has \d+ tokens, the model takes 16"):
        encode([Record("r-1", ("s",), text="Ada " * 50)], tokenizer, 16)


def test_a_record_with_nothing_to_score_is_an_error(tokenizer):
    tokenizer_without_end = small_tokenizer()
    tokenizer_without_end.eos_token = None
    with pytest.raises(CorpusError, match="no token to score"):
        encode([Record("r-1", ("s",), text="A")], tokenizer_without_end, None)


def test_collate_pads_on_the_right_and_masks_the_padding():
    batch = collate([Example("a", (5, 6, 7), (False, True, True)), Example("b", (8, 9), (False, True))], 0)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 0]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.scored.tolist() == [[False, True, True], [False, True, False]]


@given(st.lists(st.integers(2, 40), min_size=1, max_size=60), st.integers(10, 200))
def test_batches_by_length_hold_every_example_once_and_keep_their_bound(lengths, bound):
    examples = [Example(f"r-{i}", (1,) * n, (False,) + (True,) * (n - 1)) for i, n in enumerate(lengths)]
    batches = by_length(examples, bound)
    assert sorted(e.id for batch in batches for e in batch) == sorted(e.id for e in examples)
    assert all(len(batch) == 1 or len(batch) * max(len(e.tokens) for e in batch) <= bound for batch in batches)
