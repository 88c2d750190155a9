// @vitest-environment jsdom
import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';
import { afterEach, describe, expect, it, vi } from 'vitest';

import { OpenFailures, ordered, OTHER } from '../src/model/failures';
import { FailuresBody } from '../src/panels/failures/body';
import { Rendered } from './render';
import { liveRuns, settle } from './runs';
import { delta, detail, failures, INFO, overview, row, snapshot } from './samples';

const trans = nullTranslator.load('parslab');
let view: Rendered | undefined;

afterEach(() => view?.close());

function body(part: Parameters<typeof liveRuns>[0]) {
  const all = liveRuns(part);
  const open = new OpenFailures(all.runs);
  open.active = true;
  const actions = { retryGroup: vi.fn(), copyReproducer: vi.fn(), showTask: vi.fn() };
  const element = () => <FailuresBody run={all.run} open={open} trans={trans} actions={actions} />;
  view = new Rendered(element());
  return { ...all, open, seen: view, actions, again: () => view!.again(element()) };
}

const TWO = [failures(11), failures(12, { kind: 'KeyError', message: "'…'", tasks: 40, first: 1004, example: 9 })];

describe('the groups of failures', () => {
  it('are listed, the largest first, with what is common to their tasks', () => {
    const { seen } = body({
      failures: [failures(OTHER, { kind: '', message: '', tasks: 50, example: null }), ...TWO],
      overview: overview({ counts: { failed: 93, dep_fail: 2 } })
    });
    expect(seen.all('[data-group]').map(group => [group.dataset.group, group.dataset.tasks])).toEqual([
      ['12', '40'],
      ['11', '3'],
      ['0', '50']
    ]);
    expect(seen.one('[role="status"]').textContent).toBe(
      '93 failed tasks of 3 kinds2 more did not run, because they need one of these.'
    );
    expect(seen.one('[data-group="12"]').textContent).toContain("KeyError40'…'");
    expect(seen.one('[data-group="0"]').textContent).toContain('Other errors50');
    expect(seen.one('[data-group="11"] .parslab-Failure-where').textContent).toContain('fitnode1');
  });

  it('name few apps and hosts, and all with their counts when they are open', () => {
    const hosts = { node1: 1, node2: 7, node3: 2, node4: 1 };
    const { seen, again } = body({ failures: [failures(11, { tasks: 11, hosts })] });
    expect(seen.one('.parslab-Failure-where').textContent).toContain('node2, node3 and 2 more');
    seen.click(seen.one('[aria-expanded="false"]'));
    again();
    expect(seen.one('dl').textContent).toBe('Hostsnode2 (7), node3 (2), node1 (1), node4 (1)');
  });

  it('open with an example, and close', async () => {
    const { seen, connection, again, actions } = body({ failures: TWO });
    seen.click(seen.one('[data-group="11"] [aria-expanded="false"]'));
    again();
    expect(seen.text).toContain('Loading…');
    const { request_id, task } = connection.last('TaskDetailRequest');
    expect(task).toBe(7);
    const failed = row(7, { state: 'failed', error: 'ValueError: number 7 is bad' });
    const source: [string, string] = ['In [3], line 4', 'raise ValueError(number)'];
    connection.receive(detail(7, { request_id, row: failed, traceback: 'Traceback: ...', source }));
    await settle();
    again();
    expect(seen.one('.parslab-Failure-error').textContent).toBe('ValueError: number 7 is bad');
    expect(seen.one('.parslab-Failure-source').textContent).toBe('In [3], line 4raise ValueError(number)');
    expect(seen.one('[data-text="traceback"]').textContent).toBe('Traceback: ...');
    expect(seen.one('.parslab-Drawer-shown').textContent).toBe('C=7');
    const head = seen.one('[aria-expanded="true"]');
    expect(seen.one(`#${head.getAttribute('aria-controls')}`).textContent).toContain('task 7');
    seen.click(seen.button('task 7'));
    expect(actions.showTask).toHaveBeenCalledWith(7);
    seen.click(head);
    again();
    expect(seen.all('.parslab-Failure-body')).toHaveLength(0);
  });

  it('say why an example could not be read', async () => {
    const { seen, connection, again } = body({ failures: TWO });
    seen.click(seen.one('[data-group="11"] button'));
    const { request_id } = connection.last('TaskDetailRequest');
    connection.receive({ type: 'ErrorReply', request_id, text: 'This run has no task 7.' });
    await settle();
    again();
    expect(seen.one('[role="alert"]').textContent).toBe('This run has no task 7.');
  });

  it('are retried, and copied as a cell', () => {
    const { seen, actions, again, connection } = body({ failures: TWO });
    seen.click(seen.one('[data-group="12"] button'));
    again();
    seen.click(seen.button('Retry 40 tasks'));
    seen.click(seen.button('Copy as a cell'));
    expect(actions.retryGroup).toHaveBeenCalledWith(12);
    expect(actions.copyReproducer).toHaveBeenCalledWith(9);
    connection.receive(delta(6, { run: { ...INFO, ended: 1010 } }));
    again();
    expect(seen.button('Retry 40 tasks').disabled).toBe(true);
    expect(seen.button('Copy as a cell').disabled).toBe(true);
  });

  it('follow the run: another example, fewer tasks, none', async () => {
    const { seen, run, connection, again } = body({ failures: TWO });
    seen.click(seen.one('[data-group="11"] button'));
    expect(connection.last('TaskDetailRequest').task).toBe(7);
    connection.receive(delta(6, { failures: [failures(11, { tasks: 2, example: 8 })] }));
    again();
    expect(connection.last('TaskDetailRequest').task).toBe(8);
    // A late reply about the example before is not shown.
    const [first] = connection.sent.filter(request => request.type === 'TaskDetailRequest');
    connection.receive(detail(7, { request_id: first.request_id, traceback: 'of the task before' }));
    await settle();
    again();
    expect(seen.text).not.toContain('of the task before');
    expect(seen.text).toContain('Loading…');
    connection.receive(delta(7, { failures: TWO.map(group => ({ ...group, tasks: 0, example: null })) }));
    again();
    expect(seen.text).toBe('No failed tasks.');
    expect(run.hasFailed).toBe(true);
    connection.receive(snapshot({ seq: 9, run: { ...INFO, run: '008' } }));
    expect(run.hasFailed).toBe(false);
  });

  it('are closed for another run, and ask nothing while the view is hidden', () => {
    const { open, connection } = body({ failures: TWO });
    open.active = false;
    open.toggle(11);
    expect(connection.sent.map(request => request.type)).not.toContain('TaskDetailRequest');
    open.active = true;
    expect(connection.last('TaskDetailRequest').task).toBe(7);
    connection.receive(snapshot({ seq: 9, run: { ...INFO, run: '008' }, failures: TWO }));
    expect(open.isOpen(11)).toBe(false);
    open.dispose();
  });

  it('keep their order where they have equal numbers of tasks', () => {
    const groups = [failures(1, { first: 5 }), failures(2, { first: 3 }), failures(3, { first: 4 })];
    expect(ordered(groups).map(group => group.number)).toEqual([2, 3, 1]);
  });
});

describe('commands of the run', () => {
  it('name a group, or a task', async () => {
    const { run, connection } = liveRuns({ failures: TWO });
    const retried = run.retryGroup(12);
    const { request_id, failures: number } = connection.last('RetryRequest');
    expect(number).toBe(12);
    connection.receive({ type: 'CommandReply', request_id, text: '40 tasks run again.' });
    expect(await retried).toBe('40 tasks run again.');
    const copied = run.reproducer(9);
    const request = connection.last('ReproducerRequest');
    expect(request.task).toBe(9);
    connection.receive({ type: 'CommandReply', request_id: request.request_id, text: 'fit(9)' });
    expect(await copied).toBe('fit(9)');
  });
});
