"""Holds what Parsl's API has and parslab otherwise lacks; ``parslab.compat.names`` gives each thing Parsl's path."""
