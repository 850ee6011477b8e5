"""Deterministic stand-ins for the three public data sets: nothing here is real data."""
