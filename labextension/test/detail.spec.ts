import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { FakeConnection } from '../src/connection/fake';
import { Selection } from '../src/model/selection';
import { LIVE, TaskDetailModel } from '../src/model/detail';
import { liveRuns, settle } from './runs';
import { delta, detail, INFO, row, snapshot } from './samples';

let connection: FakeConnection;
let selection: Selection;
let watched: TaskDetailModel;

beforeEach(() => {
  vi.useFakeTimers();
  const live = liveRuns();
  connection = live.connection;
  selection = new Selection();
  watched = new TaskDetailModel(live.runs, selection);
  watched.active = true;
  // Let the pace of the first drawing pass.
  vi.advanceTimersByTime(1000);
});

afterEach(() => {
  watched.dispose();
  vi.useRealTimers();
});

function asked(): number[] {
  return connection.sent.flatMap(ask => (ask.type === 'TaskDetailRequest' ? [ask.task] : []));
}

async function answer(part: Parameters<typeof detail>[1] = {}): Promise<void> {
  const { request_id: ask, task } = connection.last('TaskDetailRequest');
  connection.receive(detail(task, { request_id: ask, ...part }));
  await settle();
}

describe('the watched task', () => {
  it('is asked for when it is selected', async () => {
    selection.select(1);
    expect(watched.detail).toBeNull();
    await answer();
    expect(watched.detail?.row.id).toBe(1);
  });

  it('is asked for again when it or a neighbour moves', async () => {
    selection.select(1);
    await answer({ deps: [[0, 'running']] });
    connection.receive(delta(6, { changes: [[1, 'exec_done']] }));
    expect(asked()).toEqual([1, 1]);
    await answer({ deps: [[0, 'running']] });
    vi.advanceTimersByTime(1000);
    connection.receive(delta(7, { nodes: [[5, 'fit', 'pending', [1]]] }));
    expect(asked()).toEqual([1, 1, 1]);
    await answer();
    vi.advanceTimersByTime(1000);
    connection.receive(delta(8, { nodes: [[6, 'fit', 'pending', [5]]], changes: [[5, 'running']] }));
    expect(asked()).toHaveLength(3);
  });

  it('is asked for from time to time while it runs', async () => {
    selection.select(1);
    await answer({ row: row(1, { state: 'running', ended: null }) });
    vi.advanceTimersByTime(LIVE);
    expect(asked()).toHaveLength(2);
    await answer();
    vi.advanceTimersByTime(LIVE * 3);
    expect(asked()).toHaveLength(2);
  });

  it('shows the last one selected, whatever comes late', async () => {
    selection.select(0);
    const { request_id: ask } = connection.last('TaskDetailRequest');
    selection.select(1);
    await answer();
    connection.receive(detail(0, { request_id: ask }));
    await settle();
    expect(watched.detail?.row.id).toBe(1);
  });

  it('tells what the kernel cannot', async () => {
    selection.select(99);
    connection.receive({
      type: 'ErrorReply',
      request_id: connection.last('TaskDetailRequest').request_id,
      text: 'There is no task 99.'
    });
    await settle();
    expect(watched.problem).toBe('There is no task 99.');
  });

  it('is forgotten with its run', () => {
    selection.select(1);
    connection.receive(snapshot({ seq: 1, run: { ...INFO, run: '008' } }));
    expect(selection.task).toBeNull();
  });

  it('is closed with its run', async () => {
    selection.select(1);
    await answer({ row: row(1, { state: 'running', ended: null }) });
    const sent = asked().length;
    connection.receive(
      delta(6, { changes: [[1, 'cancelled']], run: { ...INFO, ended: 1020, reason: 'asked to' } })
    );
    expect(watched.detail?.row).toMatchObject({ state: 'cancelled', ended: 1020 });
    connection.setLink('closed', 'asked to');
    vi.advanceTimersByTime(10 * LIVE);
    await settle();
    expect([asked().length, watched.problem]).toEqual([sent, '']);
    selection.select(0);
    await settle();
    expect([asked().length, watched.problem]).toEqual([sent, 'The run has ended.']);
  });
});
