"""Benchmarks: what this service can do, measured on the machine at hand with nothing but the test environment."""
