"""Programs that run inside a job: a container in AWS, a subprocess on a laptop."""
