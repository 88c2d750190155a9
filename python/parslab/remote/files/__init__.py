"""The file service of a node: it gets files for the tasks of its workers, and sends those that they wrote."""
