"""AWS on this machine for the tests: a real S3 server, and moto's control plane extended so that jobs execute."""
