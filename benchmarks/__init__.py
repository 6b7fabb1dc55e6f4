"""What redis_atomic costs, beside what others cost: ``python -m benchmarks``."""
