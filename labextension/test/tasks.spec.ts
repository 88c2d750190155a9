import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { PAGE, REFRESH, TaskTable } from '../src/model/tasks';
import { columnStyle } from '../src/panels/tasks/columns';
import type { FakeConnection } from '../src/connection/fake';
import { liveRuns, settle } from './runs';
import type { ITaskRow } from '../src/protocol';
import { delta, INFO, row, snapshot } from './samples';

let connection: FakeConnection;
let table: TaskTable;

beforeEach(() => {
  vi.useFakeTimers();
  const live = liveRuns();
  connection = live.connection;
  table = new TaskTable(live.runs);
});

afterEach(() => {
  table.dispose();
  vi.useRealTimers();
});

function pages(): number[] {
  return connection.sent.flatMap(ask => (ask.type === 'TaskPageRequest' ? [ask.offset!] : []));
}

async function answer(total: number): Promise<void> {
  const ask = connection.last('TaskPageRequest');
  const offset = ask.offset!;
  const rows = Array.from({ length: Math.min(PAGE, total - offset) }, (_, i) => row(offset + i));
  connection.receive({ type: 'TaskPage', request_id: ask.request_id, rows, total, offset });
  await settle();
}

async function reply(rows: ITaskRow[]): Promise<void> {
  const { request_id } = connection.last('TaskPageRequest');
  connection.receive({ type: 'TaskPage', request_id, rows, total: rows.length, offset: 0 });
  await settle();
}

describe('the table', () => {
  it('asks only while it is seen', async () => {
    connection.receive(delta(6));
    expect(pages()).toEqual([]);
    table.active = true;
    expect(pages()).toEqual([0]);
    await answer(250);
    expect(table.total).toBe(250);
    expect(table.row(99)?.id).toBe(99);
    expect(table.row(100)).toBeUndefined();
  });

  it('fetches the pages in sight and keeps none out of sight', async () => {
    table.active = true;
    await answer(1000);
    table.setVisibleRows(150, 180);
    expect(pages()).toEqual([0, 100]);
    await answer(1000);
    expect(table.row(150)?.id).toBe(150);
    expect(table.row(0)).toBeUndefined();
  });

  it('refreshes at most twice a second while the run moves', async () => {
    table.active = true;
    await answer(10);
    for (let i = 0; i < 40; i++) {
      connection.receive(delta(6 + i));
      vi.advanceTimersByTime(50);
      if (connection.sent.length) {
        await answer(10);
      }
    }
    expect(pages().length).toBeLessThanOrEqual(1 + 2000 / REFRESH + 1);
    expect(pages().length).toBeGreaterThanOrEqual(4);
  });

  it('shows old rows until new ones are here, and drops answers to old questions', async () => {
    table.active = true;
    await answer(10);
    const old = connection.sent.length;
    table.setQuery({ text: 'fit' });
    expect(connection.sent.length).toBe(old + 1);
    const first = connection.last('TaskPageRequest');
    expect(table.row(3)?.id).toBe(3);
    table.setQuery({ text: 'fits', sort: 'app', descending: false });
    connection.receive({ type: 'TaskPage', request_id: first.request_id, rows: [row(77)], total: 1, offset: 0 });
    await settle();
    expect(table.total).toBe(10);
    expect(connection.last('TaskPageRequest')).toMatchObject({ text: 'fits', sort: 'app', descending: false });
    await answer(2);
    expect(table.total).toBe(2);
  });

  it('tells why rows are not there', async () => {
    table.active = true;
    connection.receive({
      type: 'ErrorReply',
      request_id: connection.last('TaskPageRequest').request_id,
      text: 'No such column.'
    });
    await settle();
    expect(table.problem).toBe('No such column.');
  });

  it('closes with its run: no row says running, and nothing is requested any more', async () => {
    table.active = true;
    await reply([row(0), row(1, { state: 'running', ended: null }), row(9, { state: 'ready', ended: null })]);
    vi.advanceTimersByTime(REFRESH);
    connection.receive(delta(6));
    const late = connection.last('TaskPageRequest');
    const sent = pages().length;
    connection.receive(
      delta(7, { changes: [[1, 'cancelled']], run: { ...INFO, ended: 1020, reason: 'asked to' } })
    );
    expect([0, 1, 2].map(index => table.row(index)?.state)).toEqual(['exec_done', 'cancelled', 'cancelled']);
    expect([0, 1, 2].map(index => table.row(index)?.ended)).toEqual([1003.5, 1020, 1020]);
    const old = row(1, { state: 'running', ended: null });
    connection.receive({ type: 'TaskPage', request_id: late.request_id, rows: [old], total: 1, offset: 0 });
    connection.setLink('closed', 'asked to');
    vi.advanceTimersByTime(20 * REFRESH);
    await settle();
    expect(table.row(1)?.state).toBe('cancelled');
    expect([pages().length, table.problem]).toEqual([sent, '']);
  });

  it('calls the tasks failed whose run broke off', async () => {
    table.active = true;
    await reply([row(1, { state: 'running', ended: null })]);
    connection.setLink('closed', 'the process of the run was killed');
    expect(table.row(0)).toMatchObject({ state: 'failed', ended: 1010 });
  });

  it('begins anew with the next run of the kernel', async () => {
    table.active = true;
    await reply([row(0), row(1)]);
    vi.advanceTimersByTime(REFRESH);
    connection.receive(delta(6)); // its request is never answered
    const sent = pages().length;
    connection.setLink('live');
    connection.receive(snapshot({ seq: 0, run: { ...INFO, run: '008', started: 2000, pid: 77 }, nodes: [] }));
    expect([table.total, table.row(0)]).toEqual([0, undefined]);
    vi.advanceTimersByTime(REFRESH);
    expect(pages().length).toBe(sent + 1);
    await reply([row(5)]);
    expect(table.row(0)?.id).toBe(5);
  });
});

describe('the columns of the table', () => {
  it('have their widths, and are hidden where the panel has no room', () => {
    const column = { label: '', show: () => '' };
    const style = columnStyle([
      { ...column, id: 'a', width: '1fr' },
      { ...column, id: 'b', width: '2px', from: 400 },
      { ...column, id: 'c', width: '3px' }
    ]);
    expect(style.split('\n')).toEqual([
      '@container (0px <= width < 400px) { .parslab-Row { grid-template-columns: 1fr 3px; } .parslab-Row > :is(.parslab-col-b) { display: none; } }',
      '@container (width >= 400px) { .parslab-Row { grid-template-columns: 1fr 2px 3px; }  }'
    ]);
  });
});
