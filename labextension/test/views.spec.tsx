// @vitest-environment jsdom
import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';
import { afterEach, describe, expect, it, vi } from 'vitest';

import { FakeConnection } from '../src/connection/fake';
import { Run } from '../src/model/run';
import { TaskTable } from '../src/model/tasks';
import type { IDrawerBodyProps } from '../src/panels/drawer/body';
import { DrawerBody } from '../src/panels/drawer/body';
import { HeaderBody } from '../src/panels/frame/header';
import { LegendBody } from '../src/panels/graph/legend';
import { OverviewBody } from '../src/panels/overview/body';
import { TasksBody } from '../src/panels/tasks/body';
import { Rendered } from './render';
import { liveRuns, settle } from './runs';
import { delta, detail, INFO, overview, row, snapshot } from './samples';

const trans = nullTranslator.load('parslab');
let view: Rendered | undefined;

function show(element: React.ReactElement): Rendered {
  view = new Rendered(element);
  return view;
}

afterEach(() => view?.close());

describe('the overview', () => {
  function body(part: Parameters<typeof overview>[0] = {}) {
    const { run, connection } = liveRuns({ overview: overview(part) });
    const calls = { onCancelAll: vi.fn(), onRetryFailed: vi.fn(), onShowTasks: vi.fn() };
    return { run, connection, calls, element: <OverviewBody run={run} trans={trans} {...calls} /> };
  }

  it('counts tasks by state, in the order of a life', () => {
    const seen = show(body({ counts: { exec_done: 12, dep_fail: 2, running: 3 } }).element);
    const counters = seen.all('.parslab-Counters li').map(li => [li.dataset.state, li.dataset.count]);
    expect(counters).toEqual([
      ['pending', '0'],
      ['running', '3'],
      ['exec_done', '12'],
      ['failed', '0'],
      ['dep_fail', '2']
    ]);
    expect(seen.text).toContain('14 of 17 ended');
    expect(seen.one('.parslab-StateBar').getAttribute('aria-label')).toContain('12 done');
  });

  it('leads to the tasks that it counts', () => {
    const { element, calls } = body({ apps: { fit: { running: 1, failed: 2 } } });
    const seen = show(element);
    seen.click(seen.one('[data-state="failed"] button'));
    seen.click(seen.one('[data-app="fit"] button'));
    expect(calls.onShowTasks.mock.calls).toEqual([[{ states: ['failed'] }], [{ apps: ['fit'] }]]);
    expect(seen.one('[data-app="fit"]').textContent).toContain('2 failed');
  });

  it('shows workers, speed and notices', () => {
    const { element, connection } = body();
    connection.receive(delta(6, { notices: [{ time: 1, level: 'error', text: 'The disk is full.' }] }));
    const seen = show(element);
    expect(seen.one('[data-figure="workers"]').dataset).toMatchObject({ busy: '1', total: '2' });
    expect(seen.one('[data-figure="rate"]').textContent).toBe('1.5');
    expect(seen.all('.parslab-Workers > [data-state="busy"]')).toHaveLength(1);
    expect(seen.one('.parslab-Notices [data-level="error"]').textContent).toContain('The disk is full.');
  });

  it('cancels while there is something to cancel', () => {
    const { element, calls, connection, run } = body();
    const seen = show(element);
    seen.click(seen.button('Cancel all'));
    expect(calls.onCancelAll).toHaveBeenCalledOnce();
    connection.receive(delta(6, { overview: overview({ counts: { exec_done: 2 } }) }));
    seen.again(<OverviewBody run={run} trans={trans} {...calls} />);
    expect(seen.button('Cancel all').disabled).toBe(true);
  });
});

describe('what failed', () => {
  function overviewOf(counts: Record<string, number>) {
    const { run } = liveRuns({ overview: overview({ counts }) });
    const onRetryFailed = vi.fn();
    const calls = { onCancelAll: vi.fn(), onShowTasks: vi.fn(), onRetryFailed };
    return { onRetryFailed, element: <OverviewBody run={run} trans={trans} {...calls} /> };
  }

  it('can be tried again where it is counted', () => {
    const { element, onRetryFailed } = overviewOf({ exec_done: 3, dep_fail: 2 });
    const seen = show(element);
    seen.click(seen.button('Retry failed'));
    expect(onRetryFailed).toHaveBeenCalledOnce();
    expect(seen.button('Retry failed').title).toContain('2 failed tasks');
    seen.again(overviewOf({ exec_done: 3, cancelled: 2 }).element);
    expect(() => seen.button('Retry failed')).toThrow();
  });

  it('can be tried again for the app that the table is about', async () => {
    const apps = { fit: { failed: 2 }, load: { exec_done: 3 } };
    const { runs } = liveRuns({ overview: overview({ counts: { failed: 2, exec_done: 3 }, apps }) });
    const table = new TaskTable(runs);
    const calls = { onOpen: vi.fn(), onRetryFailed: vi.fn() };
    const body = () => <TasksBody table={table} selected={null} trans={trans} {...calls} />;
    const seen = show(body());
    seen.click(seen.button('Retry failed'));
    expect(calls.onRetryFailed).toHaveBeenLastCalledWith(undefined);
    table.setQuery({ apps: ['fit'] });
    seen.again(body());
    seen.click(seen.button('Retry failed of fit'));
    expect(calls.onRetryFailed).toHaveBeenLastCalledWith('fit');
    table.setQuery({ apps: ['load'] });
    seen.again(body());
    expect(seen.text).not.toContain('Retry');
    table.dispose();
  });
});

describe('the head', () => {
  const tabs = [
    { id: 'overview', label: 'Overview' },
    { id: 'graph', label: 'Graph' }
  ];

  const onKeep = vi.fn();
  const onAttach = vi.fn();

  function head(run: Run | null, onSelect = vi.fn()) {
    const calls = { onSelect, onKeep, onAttach };
    return <HeaderBody run={run} tabs={tabs} current="overview" trans={trans} {...calls} />;
  }

  it('says how long the run outlives its notebook, and lets it be chosen', () => {
    const { run, connection } = liveRuns();
    const seen = show(head(run as Run));
    const select = seen.one('.parslab-Lease select') as HTMLSelectElement;
    expect(select.selectedOptions[0].textContent).toBe('stays for 10 min');
    expect([...select.options].map(option => option.value)).toEqual(['600', '3600', '28800', '0']);
    seen.choose(select, '28800');
    expect(onKeep).toHaveBeenCalledExactlyOnceWith(28800);
    const clients = [1, 2].map(client => ({
      client,
      pid: client,
      host: 'here',
      owner: client === 1,
      notebook: '',
      since: 1000
    }));
    connection.receive(delta(6, { run: { ...INFO, linger: 5400, clients } }));
    seen.again(head(run as Run));
    expect(select.selectedOptions[0].textContent).toBe('stays for 1 h 30 min');
    expect(seen.text).toContain('shared with one other client');
    connection.receive(delta(7, { run: { ...INFO, linger: 0 } }));
    seen.again(head(run as Run));
    expect(select.selectedOptions[0].textContent).toBe('ends with its kernel');
  });

  it('says when the batch job ends that the run is in', () => {
    const { run, connection } = liveRuns();
    const seen = show(head(run as Run));
    expect(seen.all('.parslab-Lease-job')).toHaveLength(0);
    const job_ends = new Date(2026, 10, 30, 15, 40, 10).getTime() / 1000;
    connection.receive(delta(6, { run: { ...INFO, job: 'Slurm job 1234', job_ends } }));
    seen.again(head(run as Run));
    expect(seen.one('.parslab-Lease-job').textContent).toMatch(/^Slurm job 1234 ends at .*3?:?40:10/);
  });

  it('says that the run exists after a restart, and continues it', () => {
    vi.useFakeTimers({ now: 1_000_000 });
    const { run, connection } = liveRuns();
    const seen = show(head(run as Run));
    connection.setLink('lost', 'restarted');
    seen.again(head(run as Run));
    expect(seen.one('[role="alert"]').textContent).toContain('Run 007 exists until ');
    expect(seen.text).toContain('Continue it here or with parslab.load().');
    expect(seen.all('.parslab-Lease')).toHaveLength(0);
    seen.click(seen.button('Continue the run'));
    expect(onAttach).toHaveBeenCalledOnce();
    vi.advanceTimersByTime(601_000);
    seen.again(head(run as Run));
    expect(seen.one('[role="alert"]').textContent).toContain('run parslab.load() to start another run');
    connection.setLink('live');
    connection.receive(snapshot({ seq: 1 }));
    connection.setLink('lost', 'dead');
    seen.again(head(run as Run));
    expect(seen.text).toContain('Continue it in a new kernel, here or with parslab.load()');
    expect(() => seen.button('Continue the run')).toThrow();
    seen.click(seen.button('Start a kernel and continue'));
    expect(onAttach).toHaveBeenCalledTimes(2);
    connection.setLink('live');
    const client = { client: 1, pid: 2, host: 'here', owner: true, notebook: '', since: 1 };
    connection.receive(snapshot({ seq: 2, run: { ...INFO, clients: [client, { ...client, client: 2 }] } }));
    connection.setLink('lost', 'left');
    vi.advanceTimersByTime(601_000);
    seen.again(head(run as Run));
    expect(seen.text).toContain('The kernel has left the run. Run 007 goes on, because it has other clients.');
    vi.useRealTimers();
  });

  it('names the half that keeps it from the route through the server, and the command that mends this', () => {
    const { run, connection } = liveRuns();
    const seen = show(head(run as Run));
    expect(seen.all('.parslab-MissingHalf')).toHaveLength(0);
    const says = {
      server: 'run pip install parslab where the server runs, and restart it',
      'old-server': 'restart jupyter lab',
      page: 'reload the page',
      process: 'The process of this run has gone',
      run: 'Use the same version.'
    };
    for (const [half, text] of Object.entries(says)) {
      connection.missing = { half: half as keyof typeof says, text: half === 'run' ? text : '' };
      seen.again(head(run as Run));
      expect(seen.one('.parslab-MissingHalf').textContent).toContain(text);
      expect(seen.one('.parslab-RunLine').title).toContain('Through the kernel');
    }
    connection.route = 'server';
    seen.again(head(run as Run));
    expect(seen.all('.parslab-MissingHalf')).toHaveLength(0);
    expect(seen.one('.parslab-RunLine').title).toContain('Through the Jupyter server');
  });

  it('offers to continue a live run without its kernel', () => {
    const { run, connection } = liveRuns();
    connection.route = 'server';
    connection.gone = 'dead';
    const seen = show(head(run as Run));
    expect(seen.one('.parslab-RunLine').dataset.status).toBe('live');
    expect(seen.one('[role="alert"]').textContent).toContain('Run 007 exists until ');
    onAttach.mockClear();
    seen.click(seen.button('Start a kernel and continue'));
    expect(onAttach).toHaveBeenCalledOnce();
  });

  it('says what to do when there is nothing to see', () => {
    expect(show(head(null)).text).toContain('Open a notebook');
    view!.close();
    const connection = new FakeConnection();
    connection.link = 'absent';
    const seen = show(head(new Run(connection)));
    expect(seen.text).toBe('Run parslab.load() or %parsl load in this notebook to see its tasks here.');
    expect(seen.all('[role="tab"]')).toHaveLength(0);
  });

  it('says what to do in a kernel that has no parslab, has no Python, or can continue a run', () => {
    const connection = new FakeConnection();
    connection.link = 'absent';
    const run = new Run(connection);
    onAttach.mockClear();
    connection.inspect({ python: true, installed: false, run: '' });
    const seen = show(head(run));
    expect(seen.text).toContain('run %pip install parslab, then parslab.load()');
    connection.inspect({ python: false, installed: false, run: '' });
    seen.again(head(run));
    expect(seen.text).toContain('need a Python kernel');
    connection.inspect({ python: true, installed: true, run: '007' });
    seen.again(head(run));
    expect(seen.text).toContain('Run 007 of this notebook is still here');
    seen.click(seen.button('Continue the run'));
    expect(onAttach).toHaveBeenCalledOnce();
    connection.inspect({ python: true, installed: true, run: '' });
    seen.again(head(run));
    expect(seen.text).toBe('Run parslab.load() or %parsl load in this notebook to see its tasks here.');
  });

  it('tells how the run stands above the last picture', () => {
    const { run, connection } = liveRuns({ run: { ...INFO, linger: 0 } });
    const seen = show(head(run as Run));
    expect(seen.one('.parslab-RunLine').dataset.status).toBe('live');
    expect(seen.text).toContain('Run 007');
    connection.setLink('lost', 'restarted');
    seen.again(head(run as Run));
    expect(seen.one('[role="alert"]').textContent).toContain('run parslab.load() to start another run');
    expect(seen.all('[role="tab"]')).toHaveLength(2);
    connection.setLink('lost', 'offline');
    seen.again(head(run as Run));
    expect(seen.one('[role="alert"]').textContent).toContain('connection to the kernel is lost');
    connection.setLink('closed', 'shut down');
    seen.again(head(run as Run));
    expect(seen.one('[role="status"]').textContent).toBe(
      'This run has ended (shut down). Run parslab.load() to start another.'
    );
  });

  it('stops the clock when the run has ended', () => {
    const { run, connection } = liveRuns();
    connection.receive(delta(6, { run: { ...INFO, ended: 1065 } }));
    expect(show(head(run as Run)).one('[role="timer"]').textContent).toBe('1:05');
  });

  it('has tabs that arrows move between', () => {
    const { run } = liveRuns();
    const onSelect = vi.fn();
    const seen = show(head(run as Run, onSelect));
    const [first, second] = seen.all('[role="tab"]');
    expect([first.tabIndex, second.tabIndex]).toEqual([0, -1]);
    expect(first.getAttribute('aria-selected')).toBe('true');
    seen.key(first, 'ArrowLeft');
    expect(onSelect).toHaveBeenLastCalledWith('graph');
    expect(document.activeElement).toBe(second);
  });
});

describe('the key of the graph', () => {
  it('says what is not drawn', () => {
    const { run } = liveRuns({ hidden: 1200 });
    const seen = show(<LegendBody run={run} trans={trans} />);
    expect(seen.text).toContain('newer tasks are not drawn');
    expect(seen.one('[data-state="running"]').dataset.count).toBe('1');
  });
});

describe('the table', () => {
  async function body() {
    const { runs, connection } = liveRuns();
    const table = new TaskTable(runs);
    table.active = true;
    const rows = Array.from({ length: 3 }, (_, i) => row(i, { state: i === 1 ? 'failed' : 'exec_done' }));
    const { request_id: ask } = connection.last('TaskPageRequest');
    connection.receive({ type: 'TaskPage', request_id: ask, rows, total: 3, offset: 0 });
    await settle();
    const onOpen = vi.fn();
    const calls = { onOpen, onRetryFailed: vi.fn() };
    const element = <TasksBody table={table} selected={2} trans={trans} {...calls} />;
    return { connection, onOpen, element };
  }

  it('shows rows and marks the selected one', async () => {
    const seen = show((await body()).element);
    const rows = seen.all('[role="row"][data-task]');
    expect(rows.map(line => line.dataset.task)).toEqual(['0', '1', '2']);
    expect(rows[1].dataset.state).toBe('failed');
    expect(rows[2].getAttribute('aria-selected')).toBe('true');
    expect(rows[0].textContent).toContain('2.5 s');
    expect(seen.one('[role="grid"]').getAttribute('aria-rowcount')).toBe('4');
  });

  it('sorts by its heads', async () => {
    const { element, connection } = await body();
    const seen = show(element);
    const head = () => seen.one('[role="columnheader"].parslab-col-app');
    expect(head().getAttribute('aria-sort')).toBe('none');
    seen.click(head().querySelector('button')!);
    expect(connection.last('TaskPageRequest')).toMatchObject({ sort: 'app', descending: false });
    seen.again(element);
  });

  it('filters by states and apps', async () => {
    const { element, connection } = await body();
    const seen = show(element);
    seen.click(seen.button('Running'));
    expect(connection.last('TaskPageRequest').states).toEqual(['running']);
    const select = seen.one('select') as HTMLSelectElement;
    expect([...select.options].map(option => option.value)).toEqual(['', 'fit']);
  });

  it('is moved through by keys', async () => {
    const { element, onOpen } = await body();
    const seen = show(element);
    const rows = seen.one('.parslab-Rows');
    seen.key(rows, 'ArrowDown');
    expect(rows.getAttribute('aria-activedescendant')).toBe('parslab-row-1');
    seen.key(rows, 'End');
    seen.key(rows, 'ArrowDown');
    seen.key(rows, 'Enter');
    expect(onOpen).toHaveBeenCalledExactlyOnceWith(2);
  });
});

describe('the drawer', () => {
  function body(part: Partial<IDrawerBodyProps> = {}) {
    const calls = {
      onCommand: vi.fn(),
      onClose: vi.fn(),
      onCancel: vi.fn(),
      onCancelCell: vi.fn(),
      onShow: vi.fn(),
      onCopy: vi.fn()
    };
    const told = {
      results: () => undefined,
      problem: '',
      clock: { now: 1010, wallTime: (time: number) => time },
      live: true
    };
    const props = { task: 1, detail: detail(1), trans, ...told, ...calls, ...part };
    return { calls, element: <DrawerBody {...props} /> };
  }

  it('tells states with times and how long each lasted', () => {
    const seen = show(body().element);
    const lines = seen.all('.parslab-Times tr');
    expect(lines.map(line => line.dataset.state)).toEqual(['pending', 'running', 'exec_done']);
    expect(lines[0].textContent).toContain('Pending1.0 s');
    expect(lines[1].textContent).toContain('2.5 s');
    expect(seen.text).toContain('C=1');
    expect(seen.text).toContain('In [3]');
  });

  it('tells what a task has used, where that was measured', () => {
    const used = detail(1, { cpu: 93.4, memory: 3 * 2 ** 30, read: 0, written: 5 * 2 ** 20 });
    const seen = show(body({ detail: used }).element);
    expect(seen.text).toContain('CPU time1 min 33 s');
    expect(seen.text).toContain('Peak memory3 GiB');
    expect(seen.text).toContain('Written5 MiB');
    expect(seen.text).not.toContain('Read');
    seen.again(body().element);
    expect(seen.text).not.toContain('CPU time');
  });

  it('shows where an MPI task runs, and how its ranks are started', () => {
    const launch = 'mpiexec -n 2 -ppn 2 -hosts n1 taskset -c 0,3';
    const placed = detail(1, { nodes: 'n1,n2', cores: '0,3', launch });
    const seen = show(body({ detail: placed }).element);
    expect(seen.text).toContain('Nodesn1, n2');
    expect(seen.text).toContain('Cores0, 3');
    expect(seen.text).toContain(`Launch${launch}`);
    seen.again(body().element);
    expect(seen.text).not.toContain('Nodes');
    expect(seen.text).not.toContain('Launch');
  });

  it('shows why a task failed, and copies it', () => {
    const failed = detail(1, {
      row: row(1, { state: 'failed', error: 'ValueError: no' }),
      traceback: 'Traceback:\n  line 3',
      stdout: 'epoch 1'
    });
    const { element, calls } = body({ detail: failed });
    const seen = show(element);
    expect(seen.one('.parslab-Drawer-error').textContent).toBe('ValueError: no');
    expect(seen.one('[data-text="traceback"]').textContent).toContain('line 3');
    expect(seen.one('[data-text="stdout"]').textContent).toBe('epoch 1');
    expect(seen.all('[data-text="stderr"]')).toHaveLength(0);
    seen.click(seen.button('Copy: Traceback'));
    expect(calls.onCopy).toHaveBeenCalledWith('Traceback:\n  line 3');
  });

  it('cancels only what has not ended, while the kernel is there', () => {
    const running = detail(1, { row: row(1, { state: 'running', ended: null }) });
    const { element, calls } = body({ detail: running });
    const seen = show(element);
    seen.click(seen.button('Cancel task'));
    expect(calls.onCancel).toHaveBeenCalledWith(1);
    seen.again(body({ detail: running, live: false }).element);
    expect(seen.button('Cancel task').disabled).toBe(true);
    seen.again(body().element);
    expect(() => seen.button('Cancel task')).toThrow();
  });

  it('tries again what failed, was never run or was cancelled, and says what was done', () => {
    for (const state of ['failed', 'dep_fail', 'cancelled']) {
      const { element, calls } = body({ detail: detail(1, { row: row(1, { state }) }) });
      const seen = show(element);
      seen.click(seen.button('Retry'));
      expect(calls.onCommand).toHaveBeenCalledExactlyOnceWith('retry');
      seen.close();
    }
    const seen = show(body().element);
    expect(() => seen.button('Retry')).toThrow();
    const failed = detail(1, { row: row(1, { state: 'failed' }) });
    const waiting = (question: string) => (question === 'retry' ? { text: null, failed: false } : undefined);
    seen.again(body({ detail: failed, results: waiting }).element);
    expect(seen.button('Retry').disabled).toBe(true);
    const said = seen.one('[role="status"][data-result="retry"]');
    const answers = () => ({ text: '3 tasks run again; fit as now defined.', failed: false });
    seen.again(body({ results: answers }).element);
    expect(said.textContent).toBe('3 tasks run again; fit as now defined.');
  });

  it('tells why a task ran when it is asked', () => {
    const { element, calls } = body();
    const seen = show(element);
    seen.click(seen.button('Why did this run?'));
    expect(calls.onCommand).toHaveBeenCalledExactlyOnceWith('explain');
    const why = 'Task 1 (fit) ran because its function has changed: body.';
    seen.again(
      body({ results: question => (question === 'explain' ? { text: why, failed: false } : undefined) }).element
    );
    expect(seen.one('[data-result="explain"]').textContent).toBe(why);
    expect(() => seen.button('Why did this run?')).toThrow();
    seen.again(body({ detail: detail(1, { row: row(1, { state: 'memo_done' }) }) }).element);
    expect(seen.button('Why did this not run?').disabled).toBe(false);
  });

  it('lists the attempts when there has been more than one', () => {
    const first = {
      attempt: 0,
      state: 'failed',
      started: 1001,
      ended: 1003.5,
      worker: 'local-0',
      host: 'node1',
      reason: 'worker_lost',
      error: 'WorkerLost: killed by SIGKILL'
    };
    const seen = show(body({ detail: detail(1, { attempts: [first] }) }).element);
    expect(seen.all('.parslab-Attempts')).toHaveLength(0);
    const second = { ...first, attempt: 1, state: 'running', started: 1006, ended: null, reason: '', error: '' };
    seen.again(body({ detail: detail(1, { attempts: [first, second] }) }).element);
    const [one, two] = seen.all('.parslab-Attempts > li');
    expect(one.textContent).toContain('2.5 s');
    expect(one.textContent).toContain('node1');
    expect(one.textContent).toContain('Worker lost');
    expect(one.textContent).toContain('WorkerLost: killed by SIGKILL');
    expect(two.dataset).toMatchObject({ attempt: '1', state: 'running' });
    expect(two.textContent).toContain('4.0 s');
    const gone = detail(1, {
      row: row(1, { state: 'failed', error: first.error }),
      attempts: [first, { ...first, attempt: 1 }]
    });
    seen.again(body({ detail: gone }).element);
    expect(seen.all('.parslab-Attempts-why')).toHaveLength(1);
    const many = Array.from({ length: 25 }, (_, attempt) => ({ ...first, attempt }));
    seen.again(body({ detail: detail(1, { attempts: many }) }).element);
    expect(seen.text).toContain('and 5 earlier ones');
  });

  it('cancels what the cell of a task has called', () => {
    const { element, calls } = body({ detail: detail(1, { client: 3 }) });
    const seen = show(element);
    seen.click(seen.button('Cancel the tasks of In [3]'));
    expect(calls.onCancelCell).toHaveBeenCalledExactlyOnceWith('In [3]', 3);
    seen.again(body({ live: false }).element);
    expect(seen.button('Cancel the tasks of In [3]').disabled).toBe(true);
  });

  it('leads to dependencies and dependents, and counts what is too many', () => {
    const dependents = Array.from({ length: 50 }, (_, i): [number, string] => [10 + i, 'pending']);
    const { element, calls } = body({ detail: detail(1, { deps: [[0, 'exec_done']], dependents }) });
    const seen = show(element);
    seen.click(seen.button('Task 0, done'));
    expect(calls.onShow).toHaveBeenCalledWith(0);
    expect(seen.text).toContain('and 10 more');
  });

  it('says when it is waiting, and when it cannot', () => {
    const seen = show(body({ detail: null }).element);
    expect(seen.text).toContain('Loading');
    seen.again(body({ detail: null, problem: 'There is no task 1.' }).element);
    expect(seen.one('[role="alert"]').textContent).toBe('There is no task 1.');
  });
});
