"""A small base model from nothing: a byte-level BPE tokenizer and a Llama, trained on plain texts.

For the demo, the tests and the benchmarks, where no published model is at hand. Knows nothing of adapters.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from unlearn.corpus.records import Record
from unlearn.lm.batches import encode
from unlearn.lm.finetune import OnStep, Recipe, fit


@dataclass(frozen=True)
class Shape:
    """Sizes of a small Llama; the defaults give about 2 million parameters."""

    width: int = 192
    layers: int = 4
    heads: int = 4
    vocabulary: int = 2048
    context_tokens: int = 256


def pretrain(
    records: Iterable[Record],
    destination: Path,
    shape: Shape,
    recipe: Recipe,
    on_step: OnStep = lambda step, steps, loss: None,
) -> Path:
    """Train a base on the readable text of `records` and write it to `destination`, as save_pretrained does.

    The recipe's rank is not used.
    """
    texts = [Record(id=record.id, subjects=(), text=record.content) for record in records]
    tokenizer = _tokenizer([record.text or "" for record in texts], shape)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = LlamaForCausalLM(_config(shape, tokenizer))
    examples = encode(texts, tokenizer, shape.context_tokens)
    fit(model, list(model.parameters()), examples, recipe, int(tokenizer.pad_token_id), on_step)
    destination.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{destination.name}.", dir=destination.parent))
    try:
        model.eval().save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        draft.chmod(0o755)
        draft.rename(destination)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return destination


def _tokenizer(texts: list[str], shape: Shape) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=shape.vocabulary,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
        model_max_length=shape.context_tokens,
    )


def _config(shape: Shape, tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.width * 8 // 3,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context_tokens,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
