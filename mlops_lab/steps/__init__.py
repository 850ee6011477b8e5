"""The steps of the loop, one module for each verb.

    land → validate → prepare → decide → train (once for each candidate) → promote → roll_out → finish

A step takes the lab, the use case and the id of a batch. Its results are in the databases, the bucket and MLflow,
never in memory, so that Airflow can run each step on any machine. Each step can run again: it replaces what it
wrote before.
"""
