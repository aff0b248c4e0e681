"""A Dagster Pipes client for SageMaker jobs, which knows nothing of this project: `client.PipesSageMakerClient`."""
