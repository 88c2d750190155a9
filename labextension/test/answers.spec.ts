import { beforeEach, describe, expect, it, vi } from 'vitest';

import type { FakeConnection } from '../src/connection/fake';
import { TaskAnswers } from '../src/model/answers';
import { Selection } from '../src/model/selection';
import { WatchedTask } from '../src/model/watched';
import { liveRuns, settle } from './runs';

let connection: FakeConnection;
let selection: Selection;
let answers: TaskAnswers;

beforeEach(() => {
  const live = liveRuns();
  connection = live.connection;
  selection = new Selection();
  answers = new TaskAnswers(new WatchedTask(live.runs, selection));
});

describe('what is asked of a task', () => {
  it('is asked once, and answered in place', async () => {
    selection.select(1);
    const changed = vi.fn();
    answers.changed.connect(changed);
    void answers.ask('retry');
    void answers.ask('retry');
    expect(connection.sent.filter(ask => ask.type === 'RetryRequest')).toHaveLength(1);
    expect(connection.last('RetryRequest')).toMatchObject({ tasks: [1], app: '' });
    expect(answers.of('retry')).toEqual({ text: null, refused: false });
    connection.tell({
      type: 'CommandReply',
      request_id: connection.last('RetryRequest').request_id,
      text: '1 task runs again.'
    });
    await settle();
    expect(answers.of('retry')).toEqual({ text: '1 task runs again.', refused: false });
    expect(changed).toHaveBeenCalledTimes(2);
    expect(connection.sent[connection.sent.length - 1]).toMatchObject({ type: 'TaskDetailRequest', task: 1 });
  });

  it('is refused with a sentence', async () => {
    selection.select(1);
    void answers.ask('explain');
    connection.tell({
      type: 'ErrorReply',
      request_id: connection.last('ExplainRequest').request_id,
      text: 'Nothing is known of it.'
    });
    await settle();
    expect(answers.of('explain')).toEqual({ text: 'Nothing is known of it.', refused: true });
  });

  it('is not said of another task', async () => {
    selection.select(1);
    void answers.ask('explain');
    const { request_id: ask } = connection.last('ExplainRequest');
    selection.select(0);
    connection.tell({ type: 'CommandReply', request_id: ask, text: 'It ran because.' });
    await settle();
    expect(answers.of('explain')).toBeUndefined();
  });

  it('is explained anew after it was tried again', async () => {
    selection.select(1);
    void answers.ask('explain');
    connection.tell({
      type: 'CommandReply',
      request_id: connection.last('ExplainRequest').request_id,
      text: 'It ran because.'
    });
    await settle();
    void answers.ask('retry');
    expect(answers.of('explain')).toBeUndefined();
  });
});
