"""The embedded default: tiny self-made models and data in which merging has a real, large effect."""
