import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { FakeConnection } from '../src/connection/fake';
import { REPLY_TIMEOUT } from '../src/model/requests';
import { HEARTBEAT, Run } from '../src/model/run';
import { LEASE } from '../src/protocol';
import type { IRunChange } from '../src/tokens';
import { settle } from './runs';
import { delta, detail, INFO, overview, snapshot } from './samples';

let connection: FakeConnection;
let run: Run;
let changes: IRunChange[];

beforeEach(() => {
  vi.useFakeTimers();
  connection = new FakeConnection();
  run = new Run(connection);
  changes = [];
  run.changed.connect((_, change) => changes.push(change));
});

afterEach(() => {
  run.dispose();
  vi.useRealTimers();
});

function attaches(): number {
  return connection.sent.filter(ask => ask.type === 'SnapshotRequest').length;
}

describe('the stream', () => {
  it('is asked for when somebody watches, and not before', async () => {
    expect(run.status).toBe('waiting');
    expect(attaches()).toBe(0);
    run.visible = true;
    await settle();
    expect(attaches()).toBe(1);
    connection.receive(snapshot({ request_id: connection.last('SnapshotRequest').request_id }));
    expect(run.status).toBe('live');
    expect([...run.nodes.keys()]).toEqual([0, 1]);
    expect(changes).toEqual([{ reset: true, added: [], moved: [] }]);
  });

  it('applies deltas in order', () => {
    run.visible = true;
    connection.receive(snapshot(), delta(6, { nodes: [[2, 'fit', 'pending', [1]]], changes: [[1, 'exec_done']] }));
    expect(run.nodes.get(1)?.state).toBe('exec_done');
    expect(run.nodes.get(2)?.deps).toEqual([1]);
    expect(changes[1]).toEqual({ reset: false, added: [2], moved: [1] });
  });

  it('reports states that are told again, and no nodes that it does not know', () => {
    run.visible = true;
    connection.receive(
      snapshot(),
      delta(6, {
        changes: [
          [1, 'running'],
          [99, 'failed']
        ]
      })
    );
    expect(changes[1].moved).toEqual([1]);
  });

  it('repairs a gap with one new snapshot', async () => {
    run.visible = true;
    await settle();
    connection.receive(snapshot(), delta(7, { changes: [[1, 'failed']] }), delta(8));
    await settle();
    expect(attaches()).toBe(2);
    expect(run.nodes.get(1)?.state).toBe('running');
    connection.receive(snapshot({ seq: 8, nodes: [[1, 'fit', 'failed', []]] }), delta(9));
    expect(run.nodes.get(1)?.state).toBe('failed');
    expect(attaches()).toBe(2);
  });

  it('asks again when the repairing snapshot was lost too', async () => {
    run.visible = true;
    await settle();
    connection.receive(snapshot(), delta(7));
    await settle();
    vi.advanceTimersByTime(6000);
    connection.receive(delta(8));
    await settle();
    expect(attaches()).toBe(3);
  });

  it('ignores old deltas and snapshots that other pages asked for', () => {
    run.visible = true;
    connection.receive(snapshot(), delta(5, { changes: [[1, 'failed']] }), snapshot({ request_id: 'other-1' }));
    expect(run.nodes.get(1)?.state).toBe('running');
    expect(changes).toHaveLength(1);
  });

  it('merges workers, notices and the end of the run', () => {
    run.visible = true;
    const [first] = snapshot().workers;
    connection.receive(
      snapshot(),
      delta(6, { workers: [{ ...first, worker: 'local-1', state: 'idle' }] }),
      delta(7, { notices: [{ time: 1, level: 'warning', text: 'Careful.' }] }),
      delta(8, { run: { ...INFO, ended: 1020, reason: 'shut down' } })
    );
    expect([...run.workers.keys()]).toEqual(['local-0', 'local-1']);
    expect(run.notices.map(notice => notice.text)).toEqual(['Careful.']);
    expect(run.status).toBe('ended');
    expect(run.reason).toBe('shut down');
  });

  it('keeps one rate a second, for a minute', () => {
    run.visible = true;
    connection.receive(snapshot());
    for (let i = 1; i <= 200; i++) {
      connection.receive(delta(5 + i, { overview: overview({ now: 1010 + i / 2, rate: i }) }));
    }
    expect(run.rates).toHaveLength(60);
    expect(run.rates[59]).toBe(200);
  });

  it('carries the clock of the kernel on', () => {
    run.visible = true;
    connection.receive(snapshot());
    vi.advanceTimersByTime(2500);
    expect(run.now).toBeCloseTo(1012.5);
  });
});

describe('the link', () => {
  it('is only tried in the blind when something may be found', async () => {
    connection.findable = false;
    connection.setLink('absent');
    run.visible = true;
    await settle();
    expect(attaches()).toBe(0);
    expect(run.status).toBe('none');
    connection.setLink('live');
    await settle();
    expect(attaches()).toBe(1);
  });

  it('takes no answer in the blind for no run', async () => {
    connection.setLink('absent');
    connection.refusal = 'The kernel did not answer.';
    run.visible = true;
    await settle();
    expect(attaches()).toBe(1);
    expect(run.status).toBe('none');
    expect(run.reason).toBe('');
  });

  it('tells why a live one does not answer', async () => {
    connection.refusal = 'The kernel did not answer.';
    run.visible = true;
    await settle();
    expect(run.status).toBe('waiting');
    expect(run.reason).toBe('The kernel did not answer.');
  });

  it('knows what the wall clock showed before and after the machine slept', () => {
    connection.receive(
      snapshot({
        run: {
          ...INFO,
          clock: [
            [1100, 3600],
            [1200, 0]
          ]
        }
      })
    );
    expect([1000, 1100, 1150, 1200].map(time => run.wallTime(time))).toEqual([1000, 4700, 4750, 1200]);
  });

  it('keeps the last picture when it is lost, and starts anew when it is back', async () => {
    run.visible = true;
    connection.receive(snapshot());
    connection.setLink('lost', 'restarted');
    expect(run.status).toBe('lost');
    expect(run.reason).toBe('restarted');
    expect(run.nodes.size).toBe(2);
    connection.setLink('live');
    await settle();
    connection.receive(snapshot({ seq: 1, run: { ...INFO, run: '008' }, nodes: [] }));
    expect(run.status).toBe('live');
    expect(run.nodes.size).toBe(0);
  });

  it('ends the run when the kernel closes it', () => {
    run.visible = true;
    connection.receive(snapshot());
    connection.setLink('closed', 'the notebook cleared it');
    expect(run.status).toBe('ended');
    expect(run.reason).toBe('the notebook cleared it');
  });
});

describe('signs of life', () => {
  it('are given while somebody watches a live run, and only then', async () => {
    const beats = () => connection.sent.filter(ask => ask.type === 'Heartbeat').length;
    run.visible = true;
    connection.receive(snapshot());
    vi.advanceTimersByTime(HEARTBEAT * 3);
    expect(beats()).toBe(3);
    run.visible = false;
    vi.advanceTimersByTime(HEARTBEAT * 3);
    expect(beats()).toBe(3);
    run.visible = true;
    connection.receive(snapshot(), delta(6, { run: { ...INFO, ended: 1020 } }));
    vi.advanceTimersByTime(HEARTBEAT * 3);
    expect(beats()).toBe(3);
  });

  it('attaches again when the lease may have run out meanwhile', async () => {
    run.visible = true;
    await settle();
    connection.receive(snapshot());
    run.visible = false;
    vi.advanceTimersByTime(1000);
    run.visible = true;
    await settle();
    expect(attaches()).toBe(1);
    run.visible = false;
    vi.advanceTimersByTime(LEASE * 1000);
    run.visible = true;
    await settle();
    expect(attaches()).toBe(2);
  });
});

describe('asks', () => {
  it('have ids that no other page has', () => {
    const other = new Run(connection);
    void run.detail(1);
    const mine = connection.last('TaskDetailRequest').request_id;
    void other.detail(1);
    expect(connection.last('TaskDetailRequest').request_id).not.toBe(mine);
    connection.receive(
      detail(1, { request_id: mine }),
      detail(1, { request_id: connection.last('TaskDetailRequest').request_id })
    );
    other.dispose();
  });

  it('get their own answers', async () => {
    const first = run.detail(1);
    const ask = connection.last('TaskDetailRequest').request_id;
    const second = run.detail(2);
    connection.receive(
      detail(2, { request_id: connection.last('TaskDetailRequest').request_id }),
      detail(1, { request_id: ask })
    );
    expect((await first).row.id).toBe(1);
    expect((await second).row.id).toBe(2);
  });

  it('reject with the sentence of the kernel', async () => {
    const answer = run.detail(9);
    connection.receive({
      type: 'ErrorReply',
      request_id: connection.last('TaskDetailRequest').request_id,
      text: 'There is no task 9.'
    });
    await expect(answer).rejects.toThrow('There is no task 9.');
  });

  it('fail when nobody answers, when sending fails, and when the kernel goes', async () => {
    const late = expect(run.detail(1)).rejects.toThrow('did not answer');
    vi.advanceTimersByTime(REPLY_TIMEOUT);
    await late;
    const gone = expect(run.cancel('all')).rejects.toThrow('went away');
    connection.setLink('lost', 'dead');
    await gone;
    connection.refusal = 'The kernel is not connected.';
    await expect(run.cancel([1])).rejects.toThrow('not connected');
  });

  it('cancel what a cell has called, of this notebook or of another', async () => {
    for (const client of [undefined, 2]) {
      const done = run.cancelCell('In [3]', client);
      const ask = connection.last('CancelRequest');
      expect(ask).toMatchObject({ cell: 'In [3]', client: client ?? -1 });
      connection.receive({ type: 'CommandReply', request_id: ask.request_id, text: '2 tasks cancelled' });
      expect(await done).toBe('2 tasks cancelled');
    }
  });

  it('try again some tasks, or all that failed', async () => {
    const one = run.retry([3]);
    expect(connection.last('RetryRequest')).toMatchObject({ tasks: [3], app: '' });
    connection.receive({
      type: 'CommandReply',
      request_id: connection.last('RetryRequest').request_id,
      text: '1 task runs again.'
    });
    expect(await one).toBe('1 task runs again.');
    const all = run.retry('failed', 'fit');
    expect(connection.last('RetryRequest')).toMatchObject({ everything: true, app: 'fit' });
    // Notebooks are asked first, and workers may have to let go.
    vi.advanceTimersByTime(REPLY_TIMEOUT * 2);
    connection.receive({
      type: 'CommandReply',
      request_id: connection.last('RetryRequest').request_id,
      text: '2 tasks run again.'
    });
    expect(await all).toBe('2 tasks run again.');
  });

  it('explain a task, and keep the run', async () => {
    const why = run.explain(3);
    expect(connection.last('ExplainRequest').task).toBe(3);
    connection.receive({
      type: 'CommandReply',
      request_id: connection.last('ExplainRequest').request_id,
      text: 'It ran because.'
    });
    expect(await why).toBe('It ran because.');
    const kept = run.keep(0);
    expect(connection.last('LingerRequest').seconds).toBe(0);
    connection.receive({
      type: 'CommandReply',
      request_id: connection.last('LingerRequest').request_id,
      text: 'It ends with its kernel.'
    });
    expect(await kept).toBe('It ends with its kernel.');
  });

  it('are given up when another process takes over the run, whose picture goes on', async () => {
    run.visible = true;
    await settle();
    connection.receive(snapshot({ request_id: connection.last('SnapshotRequest').request_id }));
    const lost = expect(run.detail(3)).rejects.toThrow('was restarted');
    changes.length = 0;
    connection.receive(snapshot({ run: { ...INFO, pid: 99 }, nodes: [[1, 'fit', 'running', []]] }));
    await lost;
    expect(changes).toEqual([{ reset: true, added: [], moved: [] }]);
    expect(run.rates).not.toEqual([]);
    connection.receive(delta(6, { changes: [[1, 'exec_done']] }));
    expect(run.nodes.get(1)?.state).toBe('exec_done');
    expect(attaches()).toBe(1);
  });

  it('cancel some tasks or all', async () => {
    const some = run.cancel([3, 4]);
    expect(connection.last('CancelRequest').tasks).toEqual([3, 4]);
    connection.receive({
      type: 'CommandReply',
      request_id: connection.last('CancelRequest').request_id,
      text: 'Cancelled 2 tasks.'
    });
    expect(await some).toBe('Cancelled 2 tasks.');
    const all = run.cancel('all');
    expect(connection.last('CancelRequest').everything).toBe(true);
    connection.receive({
      type: 'CommandReply',
      request_id: connection.last('CancelRequest').request_id,
      text: ''
    });
    await all;
  });
});
