"""Shared by the tests: labs, models, processes, a scripted Data API."""
