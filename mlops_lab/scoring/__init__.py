"""Batch scoring: the rows of a file in, predictions of one model version out, in bounded memory, resumable."""
