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
import { delta, detail, INFO, overview, row } from './samples';

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
    const calls = { onCancelAll: vi.fn(), onShowTasks: vi.fn() };
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
    connection.tell(delta(6, { notices: [{ time: 1, level: 'error', text: 'The disk is full.' }] }));
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
    connection.tell(delta(6, { overview: overview({ counts: { exec_done: 2 } }) }));
    seen.again(<OverviewBody run={run} trans={trans} {...calls} />);
    expect(seen.button('Cancel all').disabled).toBe(true);
  });
});

describe('the head', () => {
  const tabs = [
    { id: 'overview', label: 'Overview' },
    { id: 'graph', label: 'Graph' }
  ];

  function head(run: Run | null, onSelect = vi.fn()) {
    return <HeaderBody run={run} tabs={tabs} current="overview" trans={trans} onSelect={onSelect} />;
  }

  it('says what to do when there is nothing to see', () => {
    expect(show(head(null)).text).toContain('Open a notebook');
    view!.close();
    const connection = new FakeConnection();
    connection.link = 'absent';
    const seen = show(head(new Run(connection)));
    expect(seen.text).toBe('Run parslab.load() or %parsl load in this notebook to see its tasks here.');
    expect(seen.all('[role="tab"]')).toHaveLength(0);
  });

  it('tells how the run stands above the last picture', () => {
    const { run, connection } = liveRuns();
    const seen = show(head(run as Run));
    expect(seen.one('.parslab-RunLine').dataset.status).toBe('live');
    expect(seen.text).toContain('Run 007');
    connection.become('lost', 'restarted');
    seen.again(head(run as Run));
    expect(seen.one('[role="alert"]').textContent).toContain('run parslab.load() again');
    expect(seen.all('[role="tab"]')).toHaveLength(2);
    connection.become('lost', 'offline');
    seen.again(head(run as Run));
    expect(seen.one('[role="alert"]').textContent).toContain('connection to the kernel is lost');
    connection.become('closed', 'shut down');
    seen.again(head(run as Run));
    expect(seen.one('[role="status"]').textContent).toBe(
      'This run has ended (shut down). Run parslab.load() to start another.'
    );
  });

  it('stops the clock when the run has ended', () => {
    const { run, connection } = liveRuns();
    connection.tell(delta(6, { run: { ...INFO, ended: 1065 } }));
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
    const { ask } = connection.last('Page');
    connection.tell({ type: 'TaskPage', ask, rows, total: 3, offset: 0 });
    await settle();
    const onOpen = vi.fn();
    const element = <TasksBody table={table} now={1010} selected={2} trans={trans} onOpen={onOpen} />;
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
    expect(connection.last('Page')).toMatchObject({ sort: 'app', descending: false });
    seen.again(element);
  });

  it('filters by states and apps', async () => {
    const { element, connection } = await body();
    const seen = show(element);
    seen.click(seen.button('Running'));
    expect(connection.last('Page').states).toEqual(['running']);
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
    const calls = { onClose: vi.fn(), onCancel: vi.fn(), onShow: vi.fn(), onCopy: vi.fn() };
    const props = { task: 1, detail: detail(1), problem: '', now: 1010, live: true, trans, ...calls, ...part };
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
