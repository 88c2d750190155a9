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
    expect(connection.sent.filter(ask => ask.type === 'Retry')).toHaveLength(1);
    expect(connection.last('Retry')).toMatchObject({ tasks: [1], app: '' });
    expect(answers.of('retry')).toEqual({ text: null, refused: false });
    connection.tell({ type: 'Done', ask: connection.last('Retry').ask, text: '1 task runs again.' });
    await settle();
    expect(answers.of('retry')).toEqual({ text: '1 task runs again.', refused: false });
    expect(changed).toHaveBeenCalledTimes(2);
    expect(connection.sent[connection.sent.length - 1]).toMatchObject({ type: 'Detail', task: 1 });
  });

  it('is refused with a sentence', async () => {
    selection.select(1);
    void answers.ask('explain');
    connection.tell({ type: 'Problem', ask: connection.last('Explain').ask, text: 'Nothing is known of it.' });
    await settle();
    expect(answers.of('explain')).toEqual({ text: 'Nothing is known of it.', refused: true });
  });

  it('is not said of another task', async () => {
    selection.select(1);
    void answers.ask('explain');
    const { ask } = connection.last('Explain');
    selection.select(0);
    connection.tell({ type: 'Done', ask, text: 'It ran because.' });
    await settle();
    expect(answers.of('explain')).toBeUndefined();
  });

  it('is explained anew after it was tried again', async () => {
    selection.select(1);
    void answers.ask('explain');
    connection.tell({ type: 'Done', ask: connection.last('Explain').ask, text: 'It ran because.' });
    await settle();
    void answers.ask('retry');
    expect(answers.of('explain')).toBeUndefined();
  });
});
