"""The processes that run tasks: workers, their pools and managers.

This package imports layers 0 to 2 only, so that a worker loads neither the client nor traitlets nor Jupyter.
"""
