"""Streams with known anomalies, in their natural order: made ones, simulated ones, public ones."""
