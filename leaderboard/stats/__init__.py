"""Statistics, one file per method: pure numpy and scipy, no I/O. Each docstring has the formula and its source."""
