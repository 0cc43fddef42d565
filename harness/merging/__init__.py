"""Merging reward models with experts: plan, source, kernel, sink. One file per method."""
