"""Tiny workloads in the place of the real ones: `aws.package = "chronos_assets_tests.aws.stubs"`."""
