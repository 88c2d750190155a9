"""A run in which everything happens that can happen to a task, and which then stands still."""

from __future__ import annotations

STORY = """
@python_app
def double(number):
    print('doubling', number)
    return 2 * number

@python_app
def add(*parts):
    return sum(parts)

@python_app
def broken(number):
    numbers = [number]
    return numbers[3]  # there is no fourth

@python_app
def after(number):
    return number

@python_app
def waiting(number, *after):
    return number

@python_app
def unwanted(gate):
    import os, time
    while not os.path.exists(gate):
        time.sleep(0.01)

four, six = double(2), double(3)
ten = add(four, six)
wrong = broken(ten)
never = after(wrong)
gone = unwanted({gate!r})
gone.cancel()
running = held({gate!r})
later = waiting(1, running)
wrong.exception(), ten.result()
"""
COUNTS = {"exec_done": 3, "failed": 1, "dep_fail": 1, "cancelled": 1, "running": 1, "pending": 1}
