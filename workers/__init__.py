"""The queue: Celery, the relay from the outbox, the broker. Thin: what a job does is `unlearn.fulfilment`'s."""
