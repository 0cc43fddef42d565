"""A night: sweep, gate, export, page; resumable, idempotent for a date, one at a time. And what is kept of it."""
