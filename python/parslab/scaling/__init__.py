"""Requests and ends blocks as the work grows and shrinks [HPDC19 §4.4]."""
