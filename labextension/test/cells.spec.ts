import type { INotebookTracker } from '@jupyterlab/notebook';
import { Signal } from '@lumino/signaling';
import { beforeEach, describe, expect, it } from 'vitest';

import { CellNumbers } from '../src/connection/cells';

class FakeKernel {
  readonly anyMessage = new Signal<this, object>(this);
  readonly statusChanged = new Signal<this, string>(this);

  send(id: string, cellId: string): void {
    const msg = { header: { msg_id: id, msg_type: 'execute_request' }, parent_header: {}, metadata: { cellId } };
    this.anyMessage.emit({ msg, direction: 'send' });
  }

  notify(type: string, parent: string, content: object): void {
    const msg = {
      header: { msg_id: 'x', msg_type: type },
      parent_header: { msg_id: parent },
      metadata: {},
      content
    };
    this.anyMessage.emit({ msg, direction: 'recv' });
  }
}

let kernel: FakeKernel;
let tracker: ReturnType<typeof fake>;
let numbers: CellNumbers;

function fake() {
  const panel = {
    sessionContext: { session: { kernel }, kernelChanged: new Signal<object, void>({}) }
  };
  return {
    currentWidget: panel,
    activeCell: cell('a', null),
    widgetAdded: new Signal<object, void>({}),
    forEach: (call: (one: object) => void) => call(panel)
  };
}

function cell(id: string, count: number | null) {
  return { model: { id, sharedModel: { toJSON: () => ({ execution_count: count }) } } };
}

beforeEach(() => {
  kernel = new FakeKernel();
  tracker = fake();
  numbers = new CellNumbers(tracker as unknown as INotebookTracker);
});

describe('the number of a cell', () => {
  it('is known while the cell runs', () => {
    expect(numbers.active).toBe('');
    kernel.send('m1', 'a');
    expect(numbers.active).toBe('');
    kernel.notify('execute_input', 'm1', { execution_count: 3 });
    expect(numbers.active).toBe('In [3]');
    kernel.notify('execute_reply', 'm1', { status: 'ok' });
    kernel.send('m2', 'b');
    kernel.notify('execute_input', 'm2', { execution_count: 4 });
    expect(numbers.active).toBe('In [3]');
    kernel.send('m3', 'a');
    kernel.notify('execute_input', 'm3', { execution_count: 5 });
    expect(numbers.active).toBe('In [5]');
  });

  it('is known when the reply overtakes the echo of the request', () => {
    let changes = 0;
    numbers.changed.connect(() => (changes += 1));
    kernel.send('m1', 'a');
    kernel.notify('execute_reply', 'm1', { status: 'ok', execution_count: 3 });
    expect(numbers.active).toBe('In [3]');
    kernel.notify('execute_input', 'm1', { execution_count: 3 });
    expect(changes).toBe(1);
  });

  it('does not come from a request that the kernel has skipped', () => {
    kernel.send('m1', 'a');
    kernel.notify('execute_reply', 'm1', { status: 'aborted' });
    expect(numbers.active).toBe('');
  });

  it('is what the notebook says of cells that ran before the page was loaded', () => {
    tracker.activeCell = cell('c', 7);
    expect(numbers.active).toBe('In [7]');
    kernel.send('m1', 'a');
    kernel.notify('execute_input', 'm1', { execution_count: 7 });
    expect(numbers.active).toBe('');
  });

  it('is not that of a kernel that is gone', () => {
    kernel.send('m1', 'a');
    kernel.notify('execute_input', 'm1', { execution_count: 3 });
    kernel.statusChanged.emit('restarting');
    tracker.activeCell = cell('a', 3);
    expect(numbers.active).toBe('');
  });
});
