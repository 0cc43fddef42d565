"""Scores that others computed, brought in as rewards: one file per format, told apart by content.

A format is a file of this folder with `SUMMARY`, `matches(document)` and `read(document, data, options)`; see
`harness.importing._document` for the words they share. Rows are joined to a task's examples by ids or by text,
never by their place in the file; a file that does not join is refused.
"""
