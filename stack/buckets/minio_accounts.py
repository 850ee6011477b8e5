"""What only MinIO has: its accounts and their policies, by its admin API. Other stores have other ways."""

import json
import os
from urllib.parse import urlsplit

from minio.credentials import StaticProvider
from minio.error import MinioAdminException

from minio import MinioAdmin

# docs/scale.md shows the same rights for the key of another store.
BUCKET = ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"]
OBJECTS = [
    "s3:GetObject",
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListMultipartUploadParts",
]


def make_account(root: str, root_secret: str, name: str, secret: str, bucket: str) -> None:
    """An account that may use this bucket and nothing else. One that is there gets this secret."""
    address = urlsplit(os.environ["LAB_S3_ENDPOINT"])
    admin = MinioAdmin(
        endpoint=address.netloc,
        secure=address.scheme == "https",
        credentials=StaticProvider(root, root_secret),
    )
    admin.user_add(access_key=name, secret_key=secret)
    policy = f"only-{bucket}"
    admin.policy_add(policy_name=policy, policy=rights(bucket))
    try:
        admin.attach_policy(policies=[policy], user=name)
    except MinioAdminException as error:
        if json.loads(error._body).get("Code") != "XMinioAdminPolicyChangeAlreadyApplied":
            raise


def rights(bucket: str) -> dict:
    """The policy, in the language that Amazon's accounts have, too."""
    return {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": BUCKET, "Resource": [f"arn:aws:s3:::{bucket}"]},
            {"Effect": "Allow", "Action": OBJECTS, "Resource": [f"arn:aws:s3:::{bucket}/*"]},
        ],
    }
