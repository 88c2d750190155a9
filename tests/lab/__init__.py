"""The panel in a real browser, on a real Jupyter server, with real kernels and runs.

A package, so that server and browser end with its last test: while Playwright runs, its event loop is the one of the
main thread, and the other rings want their own.
"""
