"""Summarises a run from its database: a JSON document, and a page for the browser that needs no network."""
