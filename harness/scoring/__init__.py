"""Scoring: requests -> raw rewards. One file per backend; planning is pure and shared."""
