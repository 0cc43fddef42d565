"""Two candidates against each other: which runs may be compared, what the gate says, and one file per output format."""
