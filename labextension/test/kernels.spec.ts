import type { INotebookTracker } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';
import { beforeEach, describe, expect, it } from 'vitest';

import { FakeConnection } from '../src/connection/fake';
import { NotebookKernels } from '../src/connection/kernels';
import { Runs } from '../src/model/runs';
import { snapshot } from './samples';

interface IFakeKernel {
  id: string;
  handleComms: boolean;
}

class FakePanel {
  isDisposed = false;
  readonly disposed = new Signal<this, void>(this);
  readonly sessionContext = {
    session: null as { kernel: IFakeKernel | null } | null,
    kernelChanged: new Signal<object, void>(this),
    sessionChanged: new Signal<object, void>(this)
  };

  use(kernel: IFakeKernel | null): void {
    this.sessionContext.session = { kernel };
    this.sessionContext.kernelChanged.emit();
  }

  /** The kernel is shut down: its session goes with it. */
  shutDown(): void {
    this.sessionContext.session = null;
    this.sessionContext.sessionChanged.emit();
  }
}

class FakeTracker {
  panels: FakePanel[] = [];
  currentWidget: FakePanel | null = null;
  readonly widgetAdded = new Signal<this, FakePanel>(this);
  readonly currentChanged = new Signal<this, FakePanel | null>(this);

  forEach(call: (panel: FakePanel) => void): void {
    this.panels.forEach(call);
  }

  open(kernel: IFakeKernel | null): FakePanel {
    const panel = new FakePanel();
    this.panels.push(panel);
    this.widgetAdded.emit(panel);
    this.front(panel);
    panel.use(kernel);
    return panel;
  }

  front(panel: FakePanel | null): void {
    this.currentWidget = panel;
    this.currentChanged.emit(panel);
  }

  close(panel: FakePanel): void {
    panel.isDisposed = true;
    this.panels = this.panels.filter(other => other !== panel);
    panel.disposed.emit();
    this.front(this.panels[0] ?? null);
  }
}

let tracker: FakeTracker;
let runs: Runs;
let connections: Map<string, FakeConnection>;
let made: number;

beforeEach(() => {
  tracker = new FakeTracker();
  runs = new Runs();
  connections = new Map();
  made = 0;
  new NotebookKernels(tracker as unknown as INotebookTracker, runs, (kernel: Kernel.IKernelConnection) => {
    const connection = new FakeConnection();
    connections.set(kernel.id, connection);
    made += 1;
    return connection;
  });
});

const A = { id: 'a', handleComms: true };
const B = { id: 'b', handleComms: true };

describe('the notebook in front', () => {
  it('decides which run is shown', () => {
    const first = tracker.open(A);
    const shown = runs.current;
    expect(shown).not.toBeNull();
    tracker.open(B);
    expect(runs.current).not.toBe(shown);
    tracker.front(first);
    expect(runs.current).toBe(shown);
  });

  it('may change its kernel, or have none', () => {
    const panel = tracker.open(A);
    panel.use(B);
    expect(connections.get('a')!.isDisposed).toBe(true);
    expect(runs.current).not.toBeNull();
    panel.use(null);
    expect(runs.current).toBeNull();
    expect(connections.get('b')!.isDisposed).toBe(true);
  });

  it('shares its run with other notebooks on its kernel', () => {
    const first = tracker.open(A);
    tracker.open({ ...A, handleComms: false });
    expect(made).toBe(1);
    expect(runs.current).not.toBeNull();
    tracker.close(first);
    // The connection went with its notebook; the other one takes over.
    expect(made).toBe(2);
    expect(runs.current).not.toBeNull();
  });

  it('takes its run along when it is closed', () => {
    const panel = tracker.open(A);
    tracker.close(panel);
    expect(runs.current).toBeNull();
    expect(connections.get('a')!.isDisposed).toBe(true);
  });

  it('keeps the run of a kernel that was shut down until it gets another kernel', () => {
    const panel = tracker.open(A);
    connections.get('a')!.receive(snapshot());
    const run = runs.current;
    panel.shutDown();
    connections.get('a')!.setLink('lost', 'dead');
    expect(runs.current).toBe(run);
    expect([run!.status, run!.resumable]).toEqual(['lost', '007']);
    const other = tracker.open(B);
    tracker.front(panel);
    expect(runs.current).toBe(run);
    panel.use({ id: 'c', handleComms: true });
    expect(connections.get('a')!.isDisposed).toBe(true);
    expect(runs.current).not.toBe(run);
    other.shutDown();
    tracker.front(other);
    expect(runs.current).toBeNull(); // its kernel had no run
  });

  it('alone is watched', () => {
    runs.visible = true;
    const first = tracker.open(A);
    tracker.open(B);
    expect(connections.get('a')!.sent).toHaveLength(1);
    expect(connections.get('b')!.sent).toHaveLength(1);
    tracker.front(first);
    expect(connections.get('b')!.sent).toHaveLength(1);
  });
});
