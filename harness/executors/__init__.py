"""Where candidates are scored: in this process, or on the workers of a Ray cluster. ONE FILE PER EXECUTOR."""
