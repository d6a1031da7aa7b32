"""Hostile input: an honest answer or a named error, in bounded time and memory."""
