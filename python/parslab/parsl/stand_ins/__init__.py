"""Classes of Parsl for other programs and sites: some are translated, the others can be described but not loaded."""
