"""Writers of checkpoints in the published formats, filled with random numbers.

The published weights come under licences of their own, and are large. These stand in for them wherever only the format
matters: in the tests, and in `benchmarks.full_size`. Needs PyTorch.
"""
