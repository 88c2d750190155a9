"""Finds equal calls of apps that cache, and keeps their results [core]."""
