"""The model: bases, adapters, batches, likelihoods, training. Knows nothing of requests or verdicts."""
