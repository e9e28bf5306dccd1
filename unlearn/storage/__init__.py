"""Files elsewhere: what adapters are registered from, and where their versions live. No torch, no database.

objects  one object store: list, read, write, remove      loans  inputs and copies, for as long as they are needed
cache    base models, by the digest of their content      vault  versions: whole or not at all, verified
handover how far jobs are, for a worker of another machine
"""

from __future__ import annotations

from unlearn.storage.handover import Handover
from unlearn.storage.loans import Loan
from unlearn.storage.vault import Vault

__all__ = ["Handover", "Loan", "Vault"]
