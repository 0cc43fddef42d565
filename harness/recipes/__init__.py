"""Recipes that come with the harness: `harness sweep NAME`. ONE FILE PER SYSTEM."""
