"""Cells that begin with ``%%parsl --bash``: scripts, into which names of the notebook are filled."""
