"""Functions that travel: what runs on a worker around, or instead of, the user's function.

Workers import this room, so it uses only the standard library, ``records``, ``serialize`` and ``errors``.
"""
