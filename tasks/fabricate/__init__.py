"""Facilities out of a seed: readings of a water works, a nuclear plant and a grid, with known anomalies.

What each channel is, what goes wrong and pictures of it: docs/fabricate.md. `write.py` is the way in.
"""
