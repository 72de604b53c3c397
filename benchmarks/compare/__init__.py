"""convkit against other frameworks, each in a process of its own: ``python -m benchmarks.compare``."""
