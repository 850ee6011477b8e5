"""Sends stored test rows of a use case to the prediction API, and their true values after them, as users would.

`python docs/course/send.py 300`, and with `--times house_size=8` every living area is eight times as large.
"""

import argparse
import json
import sys

import pandas as pd

from mlops_lab.client import InferenceClient
from mlops_lab.data.rows import rows
from mlops_lab.errors import LabError
from mlops_lab.lab import Lab
from mlops_lab.settings import Settings, local_url


def main() -> None:
    """Reads the arguments, and sends."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("rows", type=int, help="how many; the stored rows repeat")
    asked.add_argument("--use-case", default="housing")
    asked.add_argument("--times", metavar="FIELD=FACTOR", help="multiply a number of every row")
    asked.add_argument("--batch", type=int, default=20, help="rows in one request")
    options = asked.parse_args()

    settings = Settings()
    lab = Lab(settings)
    use_case = lab.use_case(options.use_case)
    stored = lab.snapshots.read(use_case, split="test")
    sent = pd.concat([stored] * (options.rows // len(stored) + 1)).head(options.rows)
    actual = sent[use_case.target.name].tolist()
    fields = sent[[feature.name for feature in use_case.features]].copy()
    if options.times:
        name, _, factor = options.times.partition("=")
        fields[name] = fields[name] * float(factor)
    records = json.loads(json.dumps(rows(fields), default=str))  # dates as text

    client = InferenceClient(
        settings.inference_url or local_url(settings.inference_port), key=settings.api_key
    )
    for start in range(0, len(records), options.batch):
        reply = client.predict(use_case.name, records[start : start + options.batch])
        for prediction, value in zip(reply.prediction_ids, actual[start:], strict=False):
            client.feedback(use_case.name, prediction, value)
    print(f"{len(records):,} predictions sent, with their true values")


if __name__ == "__main__":
    try:
        main()
    except LabError as error:
        sys.exit(f"error: {error}")
