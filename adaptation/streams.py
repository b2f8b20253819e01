"""What is folded into a seed, by what its random numbers are for; other values would give other results."""

TRAINING, SOURCE_SAMPLES, SAMPLE_HEADS, DOMAINS = range(4)  # into a run's seed

EVALUATION = 3  # into an evaluation's seed; also the number of DOMAINS, whose draws are of another kind
