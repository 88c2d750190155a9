"""Interrupts at random moments of a script that calls apps and waits for them in every way there is.

The script interrupts itself by real SIGINTs, spread over its progress and not over time, so that a slow machine sees as
many as a quick one. Afterwards every process of the run must be the one that it was, every future must have its result,
and every task must have been executed once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox

__all__ = ["interrupt_at_random"]

_SCRIPT = """
    import asyncio, collections, concurrent.futures, itertools, random
    import psutil
    from parslab import HighThroughputExecutor, LocalProvider

    TASKS, INTERRUPTS, SEED = {tasks}, {interrupts}, {seed}
    LOG = RUNS + "-log"
    dice, moments = random.Random(SEED), random.Random(SEED + 1)
    futures, numbers, ways = {{}}, itertools.count(), collections.Counter()
    hits = swallowed = 0
    exposed = False  # whether the main thread is where it catches an interrupt

    @python_app
    def work(number, seconds, *needs):
        import os, time
        log = os.open(LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(log, b"%d\\n" % number)
        os.close(log)
        time.sleep(seconds)
        return number

    def unraisable(what, report=sys.unraisablehook):
        # Python cannot raise an interrupt that comes in a callback of its garbage collector.
        global swallowed
        if isinstance(what.exc_value, KeyboardInterrupt):
            swallowed += 1
        else:
            report(what)

    def processes():
        below = psutil.Process(dfk.pid).children(recursive=True)
        return sorted([(dfk.pid, psutil.Process(dfk.pid).create_time()), *((p.pid, p.create_time()) for p in below)])

    async def gathered(some):
        return await asyncio.gather(*some)

    def first(some):
        for one in concurrent.futures.as_completed(some):
            return one.result()

    WAYS = {{
        "result": lambda some: some[-1].result(),
        "exception": lambda some: some[0].exception(),
        "wait": concurrent.futures.wait,
        "as_completed": first,
        "gather": lambda some: asyncio.run(gathered(some)),
        "wait_for_current_tasks": lambda some: parslab.wait_for_current_tasks(),
        "state": lambda some: some[-1].state,
    }}

    def step():
        number = next(numbers)
        recent = list(itertools.islice(reversed(futures.values()), 5))
        needs = recent[:2] if dice.random() < 0.2 else []
        futures[number] = work(number, dice.choice((0, 0, 0.001, 0.01)), *needs)
        if recent and dice.random() < 0.1:
            way = dice.choice(list(WAYS))
            WAYS[way](recent)
            ways[way] += 1

    def steps():
        global exposed
        exposed = True
        while len(futures) < TASKS or hits + swallowed < INTERRUPTS:
            step()

    def interrupt():
        for sent in range(INTERRUPTS):
            while not exposed or len(futures) < TASKS * sent // INTERRUPTS:
                time.sleep(0.0005)
            time.sleep(moments.uniform(0, 0.003))
            os.kill(os.getpid(), signal.SIGINT)
            while hits + swallowed <= sent:  # the next one may not come while this one is handled
                time.sleep(0.0005)

    config = Config(
        executors=[
            LowLatencyExecutor(workers=2),
            HighThroughputExecutor(
                provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1), max_workers_per_node=1
            ),
        ],
        run_dir=RUNS,
        strategy_period=0.2,
    )
    with parslab.load(config) as dfk:
        assert [work(-1 - n, 0).result() for n in range(20)] == [-1 - n for n in range(20)]
        before = processes()
        sys.unraisablehook = unraisable
        began = time.monotonic()
        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        while len(futures) < TASKS or hits + swallowed < INTERRUPTS:
            try:
                steps()
            except KeyboardInterrupt:
                exposed = False
                hits += 1
        interrupter.join()
        wrong = [number for number, future in futures.items() if future.result(120) != number]
        parslab.wait_for_current_tasks()
        after = processes()
        seconds = time.monotonic() - began
    with open(LOG) as file:
        begun = collections.Counter(map(int, file.read().split()))
    emit(
        tasks=len(futures), called=next(numbers), hits=hits, swallowed=swallowed, ways=dict(ways), wrong=wrong,
        died=[pid for pid, _ in set(before) - set(after)], processes=len(before), seconds=seconds,
        lost=[number for number in futures if not begun[number]],
        twice=[number for number, count in begun.items() if count > 1],
    )
"""


def interrupt_at_random(
    sandbox: Sandbox, tasks: int, interrupts: int, seed: int = 0, patience: float = 30.0
) -> dict[str, Any]:
    """Interrupt a script so often while it calls so many apps; return the facts that it prints.

    Parameters
    ----------
    patience
        Seconds that it may take on an idle machine.
    """
    with sandbox.script(_SCRIPT.format(tasks=tasks, interrupts=interrupts, seed=seed)) as script:
        facts = script.read_json(patience)
        assert script.wait() == 0
    return facts
