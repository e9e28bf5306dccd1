"""Erasing: loops that change an adapter. They see encoded records and an objective, never a request."""
