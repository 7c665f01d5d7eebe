"""Benchmarks: what the program's speed is compared with, and how."""
