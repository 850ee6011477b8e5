"""The one-shot that creates the lab's buckets in any store of the S3 API, and in MinIO the accounts that may use them.

It runs before every start of the stack and changes only what differs, so that a new secret reaches MinIO at the next
start. The variables are those of `mlops_lab/settings.py`; docs/scale.md (Object stores) explains them. Files of
LAB_SECRETS_DIR: `access-key` and `secret-key` of an account that may make buckets, and for MinIO the secret keys of the
accounts to make there.
"""

import os
import sys
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Account: the variable that names its bucket, and its default. Besides root, no other account can use the bucket.
ACCOUNTS = {
    "mlflow": ("LAB_ARTIFACTS_DESTINATION", "s3://mlflows3"),
    "pipeline": ("LAB_ARTIFACTS_URL", "s3://api-artifacts"),
}
# What a killed upload leaves takes room and is in no list of objects.
CLEAN_UP = {
    "ID": "parts-of-killed-uploads",
    "Status": "Enabled",
    "Filter": {"Prefix": ""},
    "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
}


def main() -> None:
    """Each bucket, then what else this store needs for it. Ends with status 1 and one line when it can't."""
    folder = Path(os.environ.get("LAB_SECRETS_DIR", "/secrets"))
    access_key, secret_key = secret(folder, "access-key"), secret(folder, "secret-key")
    store = connect(access_key, secret_key)
    made = {account: secret(folder, f"{account}-secret-key") for account in ACCOUNTS}
    for account, (variable, default) in ACCOUNTS.items():
        bucket = (os.environ.get(variable) or default).removeprefix("s3://").partition("/")[0]
        try:
            make_bucket(store, bucket)
            if made[account]:
                # Only MinIO's stack needs its client.
                from minio_accounts import make_account

                make_account(access_key, secret_key, account, made[account], bucket)
            else:
                make_rule(store, bucket)
        except (BotoCoreError, ClientError) as error:
            sys.exit(
                f"buckets: {bucket}: {error}; check LAB_S3_ENDPOINT, LAB_S3_REGION, LAB_S3_CA and the keys"
            )
        except Exception as error:
            sys.exit(f"buckets: account {account}: {error}")
        print(f"buckets: {bucket} is ready" + f"; only {account} can use it" * bool(made[account]))
    if not any(made.values()):
        print("buckets: no accounts were made, because the store isn't the stack's MinIO: it has its own")


def connect(access_key: str, secret_key: str):
    """A client of the store that the variables name."""
    return boto3.client(
        "s3",
        endpoint_url=os.environ.get("LAB_S3_ENDPOINT") or None,
        region_name=os.environ.get("LAB_S3_REGION") or "us-east-1",
        aws_access_key_id=access_key or None,
        aws_secret_access_key=secret_key or None,
        verify=os.environ.get("LAB_S3_CA") or None,
        config=Config(
            s3={"addressing_style": os.environ.get("LAB_S3_ADDRESSING") or "path"},
            retries={"max_attempts": 5, "mode": "standard"},
            connect_timeout=5,
            read_timeout=30,
        ),
    )


def make_bucket(store, name: str) -> None:
    """Makes the bucket when it isn't there. An account that may make none can use one that a person made."""
    try:
        store.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise
        region = store.meta.region_name
        # Amazon's first region is the one that must not be named.
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        store.create_bucket(Bucket=name, **place)


def make_rule(store, name: str) -> None:
    """Parts of killed uploads go after a week, where the store has such rules. MinIO does that itself, after a day."""
    try:
        store.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration={"Rules": [CLEAN_UP]})
    except ClientError as error:
        code = error.response["Error"]["Code"]
        print(f"buckets: {name} has no rule that removes parts of killed uploads: the store says {code}")


def secret(folder: Path, name: str) -> str:
    """The value of a file; empty when there is none."""
    file = folder / name
    return file.read_text().strip() if file.exists() else ""


if __name__ == "__main__":
    main()
