"""Amazon MSK: IAM tokens, IAM policies, limits of Serverless; only `_aws` imports AWS's libraries, on first use."""
