"""What distilled sets are used for: the paper's applications and ablations."""
