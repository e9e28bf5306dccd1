"""Fixtures of the model wing's tests."""

from lm_bases import gemma_base, llama_base, tiny_base

__all__ = ["gemma_base", "llama_base", "tiny_base"]
