import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { GraphModel } from '../src/panels/graph/model';
import { liveRuns } from './runs';
import type { GraphNode } from '../src/protocol';
import { delta } from './samples';

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

describe('the graph model', () => {
  it('lays out soon after nodes came, and only while it is seen', () => {
    const { runs, connection } = liveRuns();
    const model = new GraphModel(runs);
    vi.advanceTimersByTime(1000);
    expect(model.nodes).toHaveLength(0);
    model.active = true;
    vi.advanceTimersByTime(1000);
    expect(model.nodes).toHaveLength(2);
    expect(model.dependents[0]).toEqual([1]);
    const version = model.version;
    connection.receive(delta(6, { changes: [[1, 'exec_done']] }));
    vi.advanceTimersByTime(1000);
    expect(model.version).toBe(version);
    expect(model.nodes[1].state).toBe('exec_done');
    model.dispose();
  });

  it('makes one layout of many small deltas', () => {
    const { runs, connection } = liveRuns();
    const model = new GraphModel(runs);
    model.active = true;
    vi.advanceTimersByTime(1000);
    const version = model.version;
    for (let i = 0; i < 50; i++) {
      const node: GraphNode = [10 + i, 'fit', 'pending', [9 + i]];
      connection.receive(delta(6 + i, { nodes: [node] }));
    }
    vi.advanceTimersByTime(2000);
    expect(model.version).toBeLessThanOrEqual(version + 2);
    expect(model.nodes).toHaveLength(52);
    // The dependency of the first one is not in the graph.
    expect(model.deps[model.indexOf(10)]).toEqual([]);
    expect(model.indexOf(9)).toBe(-1);
    model.dispose();
  });
});
