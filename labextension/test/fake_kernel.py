"""A kernel that plays a run which nobody computes: for looking at the panel, and for measuring it, without a DFK.

In a notebook cell: ``from fake_kernel import Stage; stage = Stage(tasks=60); stage.play(seconds=20)``.  The play runs
in a thread; ``stage.close()`` ends the run.  Asks arrive on the control channel as they do in earnest.
"""

import os
import random
import threading
import time

import msgspec
from comm import create_comm
from IPython import get_ipython

from parslab.records import panel

STEPS = ("ready", "launched", "running")
OPEN = {"pending", "joining", *STEPS}
APPS = ("load_digits", "fit", "score", "pick_best", "report")
TRACE = 'Traceback (most recent call last):\n  File "Cell In [4]", line 7, in fit\n    model.fit(x, y)\n'


class Stage:
    def __init__(self, tasks=60, workers=4, seed=1):
        self.random = random.Random(seed)
        self.rows, self.deps, self.times, self.seq = {}, {}, {}, 0
        self.plan = [self.draw(i, tasks) for i in range(tasks)]
        self.workers, self.lock, self.notices, self.due = workers, threading.Lock(), [], 0.0
        self.run = panel.RunInfo("007", "fakehost", os.getpid(), "/tmp/runinfo/007", ["local"], time.time(), "0.1.0")
        self.decode = msgspec.json.Decoder(panel.Request).decode
        self.comm = create_comm(target_name="parslab.monitor", data={"run": self.run.run})
        self.kernel = get_ipython().kernel
        self.kernel.control_handlers["parslab_request"] = self.request

    def draw(self, i, tasks):
        """The app and the dependencies of task ``i``: fans, chains and joins, level below level."""
        level = 0 if i < tasks * 0.04 + 1 else 1 + i * 5 // tasks
        low = max(0, i - max(6, tasks // 5))
        deps = sorted({self.random.randrange(low, i) for _ in range(self.random.choice((1, 1, 2, 3)))}) if level else []
        return APPS[min(level, 4)], deps

    # ----- what the panel asks

    async def request(self, stream, ident, parent):
        ask = self.decode(parent["content"]["request"])
        reply = {"status": "ok", "comm_id": self.comm.comm_id, "run": self.run.run, "text": ""}
        self.kernel.session.send(stream, "parslab_reply", reply, parent, ident)
        with self.lock:
            answer = getattr(self, f"on_{type(ask).__name__.lower()}")(ask)
        if answer is not None:
            self.feed(answer)

    def on_heartbeat(self, ask):
        return None

    def on_snapshotrequest(self, ask):
        nodes = [panel.GraphNode(i, r.app, r.state, self.deps[i]) for i, r in list(self.rows.items())[:5000]]
        hidden = max(0, len(self.rows) - 5000)
        over = self.overview()
        return panel.Snapshot(self.seq, self.run, over, nodes, hidden, self.crew(), self.notices, ask.request_id)

    def on_taskpagerequest(self, ask):
        rows = [r for r in self.rows.values() if not ask.states or r.state in ask.states]
        rows = [r for r in rows if (not ask.apps or r.app in ask.apps) and ask.text in f"{r.app} {r.shown} {r.id}"]
        rows.sort(key=lambda r: (getattr(r, ask.sort) is None, getattr(r, ask.sort)), reverse=ask.descending)
        return panel.TaskPage(ask.request_id, rows[ask.offset : ask.offset + ask.limit], len(rows), ask.offset)

    def on_taskdetailrequest(self, ask):
        row, i = self.rows.get(ask.task), ask.task
        if row is None:
            return panel.ErrorReply(ask.request_id, f"There is no task {i} in this run.")
        deps = [panel.StateChange(d, self.rows[d].state) for d in self.deps[i]]
        needed = [panel.StateChange(k, self.rows[k].state) for k, d in self.deps.items() if i in d]
        trace = TRACE * 4 + row.error if row.error else ""
        out = "".join(f"epoch {k}: loss {1 / (k + 1):.4f}\n" for k in range(9)) if row.started else ""
        warn = "ConvergenceWarning: lbfgs failed to converge after 100 iterations\n" if i % 5 == 0 else ""
        times = self.times[i]
        return panel.TaskDetail(ask.request_id, row, times, deps, needed, "fakehost", 4242, trace, out, warn, 1)

    def on_cancelrequest(self, ask):
        which = [i for i in (list(self.rows) if ask.everything else ask.tasks) if self.rows[i].state in OPEN]
        self.tell([], [self.move(i, "cancelled") for i in which])
        return panel.CommandReply(ask.request_id, f"Cancelled {len(which)} tasks.")

    # ----- what it is told

    def feed(self, *messages):
        self.comm.send({"feed": [msgspec.json.encode(m).decode() for m in messages]})

    def overview(self):
        counts, apps = {}, {}
        for row in self.rows.values():
            app = apps.setdefault(row.app, {})
            counts[row.state], app[row.state] = counts.get(row.state, 0) + 1, app.get(row.state, 0) + 1
        now, rows = time.time(), self.rows.values()
        rate = sum(r.ended is not None and r.ended > now - 3 for r in rows) / 3
        busy = min(counts.get("running", 0), self.workers)
        return panel.Overview(now, counts, apps, rate, busy, self.workers, len(self.rows), 1)

    def crew(self):
        running = [r.id for r in self.rows.values() if r.state == "running"] + [None] * self.workers
        done = sum(r.ended is not None for r in self.rows.values()) // self.workers
        return [
            panel.WorkerRow(f"local-{k}", "local", "idle" if t is None else "busy", "fakehost", 4242 + k, t, done, "")
            for k, t in enumerate(running[: self.workers])
        ]

    def move(self, i, state):
        row, now = self.rows[i], time.time()
        row.state = state
        self.times[i].append((state, now))
        if state == "running":
            row.started, row.worker = now, f"local-{i % self.workers}"
        elif state not in OPEN:
            row.ended = now
            row.error = "ValueError: solver lbfgs got C=0" if state == "failed" else ""
        return panel.StateChange(i, state)

    def tell(self, nodes, changes, notices=()):
        self.seq += 1
        self.notices += notices
        over = self.overview()
        self.feed(
            panel.Delta(self.seq, over, nodes, changes, max(0, len(self.rows) - 5000), self.crew(), list(notices))
        )

    # ----- the play

    def submit(self, i):
        app, deps = self.plan[i]
        shown = f"C={2 ** (i % 9)}, gamma='scale', fold={i % 5}"
        self.rows[i] = panel.TaskRow(
            id=i, app=app, state="pending", executor="local", submitted=time.time(), shown=shown, cell="In [4]"
        )
        self.deps[i], self.times[i] = deps, [("pending", time.time())]
        return panel.GraphNode(i, app, "pending", deps)

    def follow(self, i):
        """The next state of a task, or None while it waits."""
        row, deps = self.rows[i], [self.rows[d].state for d in self.deps[i]]
        if row.state == "pending":
            if {"failed", "dep_fail", "cancelled"} & set(deps):
                return "dep_fail"
            return "ready" if all(s == "exec_done" for s in deps) else None
        if row.state == "running":
            ended = "failed" if self.random.random() < 0.003 else "exec_done"
            return ended if self.random.random() < self.pace else None
        if row.state == "launched" and self.busy >= self.room:
            return None
        return STEPS[STEPS.index(row.state) + 1]

    def play(self, seconds=20.0, ticks_per_second=20):
        """Submits for half of the time; a running task ends in each tick with probability ``pace``."""
        ticks = int(seconds * ticks_per_second)
        self.pace, share = 0.2, len(self.plan) / (0.5 * ticks)
        self.room = max(self.workers, int(share * 6))

        def act():
            while len(self.rows) < len(self.plan) or any(r.state in OPEN for r in self.rows.values()):
                with self.lock:
                    self.tick(share)
                time.sleep(1 / ticks_per_second)

        self.thread = threading.Thread(target=act, daemon=True)
        self.thread.start()

    def tick(self, share):
        self.due = min(len(self.plan), self.due + share)
        nodes = [self.submit(i) for i in range(len(self.rows), int(self.due))]
        moves, notices = [], []
        self.busy = sum(r.state == "running" for r in self.rows.values())
        for i in [i for i, r in self.rows.items() if r.state in OPEN]:
            state = self.follow(i)
            if state is not None and self.random.random() < 0.7:
                self.busy += (state == "running") - (self.rows[i].state == "running")
                moves.append(self.move(i, state))
                if state == "failed" and not notices:
                    notices = [panel.Notice(time.time(), "warning", f"Task {i} failed: see its traceback.")]
        self.tell(nodes, moves, notices)

    def close(self):
        self.comm.close(data={"reason": "shut down"})
