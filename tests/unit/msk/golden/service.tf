data "aws_iam_policy_document" "eventzr_kafka" {
  statement {
    sid    = "Connect"
    effect = "Allow"

    actions = [
      "kafka-cluster:Connect",
      "kafka-cluster:WriteDataIdempotently",
    ]

    resources = [
      "arn:aws:kafka:us-east-1:123456789012:cluster/orders/1a2b3c4d-0000-1111-2222-333344445555-s1",
    ]
  }

  statement {
    sid    = "Consume"
    effect = "Allow"

    actions = [
      "kafka-cluster:DescribeTopic",
      "kafka-cluster:ReadData",
    ]

    resources = [
      "arn:aws:kafka:us-east-1:123456789012:topic/orders/1a2b3c4d-0000-1111-2222-333344445555-s1/eventzr.marketplace.listing.created.v1",
      "arn:aws:kafka:us-east-1:123456789012:topic/orders/1a2b3c4d-0000-1111-2222-333344445555-s1/eventzr.marketplace.order.completed.v1",
    ]
  }

  statement {
    sid    = "Groups"
    effect = "Allow"

    actions = [
      "kafka-cluster:AlterGroup",
      "kafka-cluster:DescribeGroup",
    ]

    resources = [
      "arn:aws:kafka:us-east-1:123456789012:group/orders/1a2b3c4d-0000-1111-2222-333344445555-s1/orders-svc",
    ]
  }

  statement {
    sid    = "Publish"
    effect = "Allow"

    actions = [
      "kafka-cluster:DescribeTopic",
      "kafka-cluster:WriteData",
    ]

    resources = [
      "arn:aws:kafka:us-east-1:123456789012:topic/orders/1a2b3c4d-0000-1111-2222-333344445555-s1/eventzr.marketplace.listing.created.v1",
      "arn:aws:kafka:us-east-1:123456789012:topic/orders/1a2b3c4d-0000-1111-2222-333344445555-s1/eventzr.marketplace.quote.accepted.v1",
      "arn:aws:kafka:us-east-1:123456789012:topic/orders/1a2b3c4d-0000-1111-2222-333344445555-s1/orders-svc.dlq",
    ]
  }
}
