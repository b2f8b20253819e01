"""Measuring an adapted generator: the networks whose features are compared, and the measures themselves."""
