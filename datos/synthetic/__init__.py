"""Synthetic data in the form of the three public data sets, the same bytes on every machine."""
