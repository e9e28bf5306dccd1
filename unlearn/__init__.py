"""Machine unlearning for LoRA adapters, with forgetting guards and evidence.

Start at `unlearn.fulfilment`: it is the way of one request, top to bottom.
"""

__version__ = "0.1.0"
