"""AWS: S3, SageMaker, Glue and Athena, SNS, CloudWatch, SQS. Every module says which part of `platforms` it is."""
