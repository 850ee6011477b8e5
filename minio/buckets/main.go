// Creates the lab's buckets and the two accounts that may use them, one bucket for each.
//
// It runs before every start of the stack and changes only what differs, so that a new
// secret reaches MinIO at the next start.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/minio/madmin-go/v3"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Account has one bucket. Besides root, no other account can read or write it.
type Account struct{ Name, Bucket string }

var accounts = []Account{
	{Name: "mlflow", Bucket: "mlflows3"},
	{Name: "pipeline", Bucket: "api-artifacts"},
}

const policy = `{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"],
   "Resource": ["arn:aws:s3:::%[1]s"]},
  {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject",
   "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
   "Resource": ["arn:aws:s3:::%[1]s/*"]}]}`

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := run(ctx, env("LAB_S3_HOST", "minio:9000"), env("LAB_SECRETS_DIR", "/secrets")); err != nil {
		fmt.Fprintln(os.Stderr, "buckets:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, host, secrets string) error {
	read := func(name string) (string, error) {
		value, err := os.ReadFile(filepath.Join(secrets, name))
		return strings.TrimSpace(string(value)), err
	}
	user, err := read("root-user")
	if err != nil {
		return err
	}
	password, err := read("root-password")
	if err != nil {
		return err
	}
	root := credentials.NewStaticV4(user, password, "")
	store, err := minio.New(host, &minio.Options{Creds: root})
	if err != nil {
		return err
	}
	admin, err := madmin.NewWithOptions(host, &madmin.Options{Creds: root})
	if err != nil {
		return err
	}
	for _, account := range accounts {
		secret, err := read(account.Name + "-secret-key")
		if err != nil {
			return err
		}
		if err := makeBucket(ctx, store, account.Bucket); err != nil {
			return fmt.Errorf("bucket %s: %w", account.Bucket, err)
		}
		if err := makeAccount(ctx, admin, account, secret); err != nil {
			return fmt.Errorf("account %s: %w", account.Name, err)
		}
		fmt.Printf("buckets: %s is ready; only %s can use it\n", account.Bucket, account.Name)
	}
	return nil
}

func makeBucket(ctx context.Context, store *minio.Client, name string) error {
	there, err := store.BucketExists(ctx, name)
	if err != nil || there {
		return err
	}
	return store.MakeBucket(ctx, name, minio.MakeBucketOptions{})
}

func makeAccount(ctx context.Context, admin *madmin.AdminClient, account Account, secret string) error {
	if err := admin.AddUser(ctx, account.Name, secret); err != nil {
		return err
	}
	name := "only-" + account.Bucket
	if err := admin.AddCannedPolicy(ctx, name, fmt.Appendf(nil, policy, account.Bucket)); err != nil {
		return err
	}
	_, err := admin.AttachPolicy(ctx, madmin.PolicyAssociationReq{Policies: []string{name}, User: account.Name})
	var reply madmin.ErrorResponse
	if errors.As(err, &reply) && reply.Code == "XMinioAdminPolicyChangeAlreadyApplied" {
		return nil
	}
	return err
}

func env(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}
