"""Workers call the functions of this package around the user's function, or instead of it.

A worker must start fast, so this package imports only the standard library, ``records``, ``serialize`` and ``errors``.
"""
