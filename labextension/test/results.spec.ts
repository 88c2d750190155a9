import { beforeEach, describe, expect, it, vi } from 'vitest';

import type { FakeConnection } from '../src/connection/fake';
import { TaskResults } from '../src/model/results';
import { Selection } from '../src/model/selection';
import { TaskDetailModel } from '../src/model/detail';
import { liveRuns, settle } from './runs';

let connection: FakeConnection;
let selection: Selection;
let results: TaskResults;

beforeEach(() => {
  const live = liveRuns();
  connection = live.connection;
  selection = new Selection();
  results = new TaskResults(new TaskDetailModel(live.runs, selection));
});

describe('what is asked of a task', () => {
  it('is asked once, and answered in place', async () => {
    selection.select(1);
    const changed = vi.fn();
    results.changed.connect(changed);
    void results.run('retry');
    void results.run('retry');
    expect(connection.sent.filter(ask => ask.type === 'RetryRequest')).toHaveLength(1);
    expect(connection.last('RetryRequest')).toMatchObject({ tasks: [1], app: '' });
    expect(results.of('retry')).toEqual({ text: null, failed: false });
    connection.receive({
      type: 'CommandReply',
      request_id: connection.last('RetryRequest').request_id,
      text: '1 task runs again.'
    });
    await settle();
    expect(results.of('retry')).toEqual({ text: '1 task runs again.', failed: false });
    expect(changed).toHaveBeenCalledTimes(2);
    expect(connection.sent[connection.sent.length - 1]).toMatchObject({ type: 'TaskDetailRequest', task: 1 });
  });

  it('is a sentence when it fails', async () => {
    selection.select(1);
    void results.run('explain');
    connection.receive({
      type: 'ErrorReply',
      request_id: connection.last('ExplainRequest').request_id,
      text: 'Nothing is known of it.'
    });
    await settle();
    expect(results.of('explain')).toEqual({ text: 'Nothing is known of it.', failed: true });
  });

  it('is not said of another task', async () => {
    selection.select(1);
    void results.run('explain');
    const { request_id: ask } = connection.last('ExplainRequest');
    selection.select(0);
    connection.receive({ type: 'CommandReply', request_id: ask, text: 'It ran because.' });
    await settle();
    expect(results.of('explain')).toBeUndefined();
  });

  it('is explained anew after it was tried again', async () => {
    selection.select(1);
    void results.run('explain');
    connection.receive({
      type: 'CommandReply',
      request_id: connection.last('ExplainRequest').request_id,
      text: 'It ran because.'
    });
    await settle();
    void results.run('retry');
    expect(results.of('explain')).toBeUndefined();
  });
});
