"""Corpora of records: what they are, how they are read, written and split, and people made up to fill them."""

from unlearn.corpus.jsonl import MAX_LINE_BYTES, read_corpus, write_corpus
from unlearn.corpus.records import Corpus, Message, Record
from unlearn.corpus.splits import Split, check_disjoint, split
from unlearn.corpus.synthetic import World, synthetic_world

__all__ = [
    "MAX_LINE_BYTES",
    "Corpus",
    "Message",
    "Record",
    "Split",
    "World",
    "check_disjoint",
    "read_corpus",
    "split",
    "synthetic_world",
    "write_corpus",
]
