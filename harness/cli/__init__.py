"""The command line: one module per command group, argv -> configuration, exit codes, no logic."""
