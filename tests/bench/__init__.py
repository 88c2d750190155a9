"""Benchmarks of parslab beside floors measured in the same run: ``python -m tests.bench``, see README.md here.

``__main__`` is the command, ``plan`` says which cases make a run and ``report`` which rows and bounds come out of it.
``cases`` are the programs that measure, one fresh process each; ``floors``, ``pools`` and ``peers`` are what parslab is
measured against, ``memory`` and ``processes`` how costs are counted, ``profile`` where the time of a task goes.
"""
