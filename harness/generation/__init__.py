"""Sampling a policy into pools: one file per engine, found by its name; support files begin with an underscore."""
