// @vitest-environment jsdom
import { nullTranslator } from '@jupyterlab/translation';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { CellProgress, PERIOD } from '../src/model/cells';
import { inWords } from '../src/panels/cells/line';
import type { ICellCounts, ICellCountsRow } from '../src/protocol';
import type { IRun } from '../src/tokens';
import { settle } from './runs';

const trans = nullTranslator.load('parslab');

let cells: { run: IRun | null; names: string[]; busy: boolean; visible: boolean };
let asked: string[][];
let now: number;
let rows: ICellCountsRow[];
let refusal: string;
let progress: CellProgress;

function row(cell: string, counts: Record<string, number>, ended: number | null = null): ICellCountsRow {
  return { cell, counts, submitted: 100, ended };
}

beforeEach(() => {
  vi.useFakeTimers();
  asked = [];
  now = 100;
  rows = [];
  refusal = '';
  const cellCounts = async (names: readonly string[]): Promise<ICellCounts> => {
    asked.push([...names]);
    if (refusal) {
      throw new Error(refusal);
    }
    return { type: 'CellCounts', request_id: '1', now, rows };
  };
  cells = { run: { cellCounts } as unknown as IRun, names: ['In [3]'], busy: false, visible: true };
  progress = new CellProgress(cells);
});

afterEach(() => {
  progress.dispose();
  vi.useRealTimers();
});

async function ask(): Promise<void> {
  progress.ask();
  await settle();
}

async function later(seconds: number): Promise<void> {
  now += seconds;
  await vi.advanceTimersByTimeAsync(PERIOD);
}

describe('the progress of cells', () => {
  it('is asked for until all tasks have ended', async () => {
    rows = [row('In [3]', { running: 2, exec_done: 1, failed: 1 })];
    await ask();
    expect(progress.get('In [3]')).toMatchObject({ total: 4, ended: 2, failed: 1, rate: 0, left: null });
    rows = [row('In [3]', { running: 1, exec_done: 2, failed: 1 })];
    await later(2);
    expect(progress.get('In [3]')).toMatchObject({ ended: 3, rate: 0.5, left: 2, seconds: 2 });
    rows = [row('In [3]', { exec_done: 3, failed: 1 }, 103)];
    await later(2);
    expect(progress.get('In [3]')).toMatchObject({ ended: 4, left: null, seconds: 3 });
    await later(60);
    expect(asked).toHaveLength(3);
  });

  it('is asked for while a cell runs, which may call tasks at any time', async () => {
    cells.busy = true;
    await ask();
    expect(progress.get('In [3]')).toBeUndefined();
    await later(1);
    await later(1);
    await later(1);
    expect(asked).toHaveLength(4);
    cells.busy = false;
    for (let i = 0; i < 9; i++) {
      await later(1);
    }
    expect(asked).toHaveLength(7);
  });

  it('is asked for until calls that were on their way must have arrived', async () => {
    await ask();
    await later(1);
    rows = [row('In [3]', { exec_done: 1 }, 101)];
    await later(1);
    expect(progress.get('In [3]')).toMatchObject({ total: 1 });
    await later(1);
    expect(asked).toHaveLength(3);
  });

  it('costs nothing without a run, a cell or a reader', async () => {
    cells.visible = false;
    await ask();
    cells.visible = true;
    cells.names = [];
    await ask();
    cells.run = null;
    await ask();
    expect(asked).toEqual([]);
  });

  it('stays as it is when the run can no longer be asked', async () => {
    rows = [row('In [3]', { running: 1 })];
    await ask();
    refusal = 'The run has ended.';
    await later(1);
    await later(1);
    expect(asked).toHaveLength(2);
    expect(progress.get('In [3]')).toMatchObject({ total: 1, ended: 0 });
  });

  it('forgets the tasks of a cell that runs again, and does not wait for them', async () => {
    rows = [row('In [3]', { running: 1 })];
    await ask();
    cells.names = ['In [4]'];
    rows = [];
    await later(1);
    expect(progress.get('In [3]')).toBeUndefined();
    await later(1);
    await later(1);
    await later(1);
    expect(asked).toHaveLength(4);
  });

  it('is asked for again for what happened meanwhile, once a second, and for the newest cells only', async () => {
    cells.names = Array.from({ length: 300 }, (_, i) => `In [${i}]`);
    progress.ask();
    progress.ask();
    await ask();
    await ask();
    expect(asked).toHaveLength(1);
    await later(1);
    expect(asked).toHaveLength(2);
    expect(asked[0]).toHaveLength(20);
    expect(asked[0][0]).toBe('In [299]');
  });
});

describe('the cells that are asked for', () => {
  const names = Array.from({ length: 9 }, (_, i) => `In [${i + 1}]`);

  it('are those whose tasks may change, and the last ones', async () => {
    cells.names = names;
    rows = [
      row('In [1]', { exec_done: 2, memo_done: 1 }, 101),
      row('In [2]', { exec_done: 1, failed: 1 }, 101),
      row('In [3]', { exec_done: 1, running: 1 })
    ];
    await ask();
    expect(asked[0]).toHaveLength(9);
    await later(1);
    await later(1);
    await later(1);
    expect(asked[3]).toEqual(['In [9]', 'In [8]', 'In [7]', 'In [3]', 'In [2]']);
  });

  it('are only the last ones in the end while one runs', async () => {
    cells.names = names;
    cells.busy = true;
    await ask();
    for (let i = 0; i < 6; i++) {
      await later(1);
    }
    expect(asked[2]).toHaveLength(9);
    expect(asked[6]).toHaveLength(3);
  });
});

describe('the words of a line', () => {
  const done = { counts: {}, total: 1200, ended: 1200, failed: 0, rate: 0, left: null, seconds: 3.25 };

  it('tell a finished cell by the number of its tasks and their time', () => {
    expect(inWords(done, trans)).toBe('1,200 tasks · 3.3 s');
    expect(inWords({ ...done, failed: 2, counts: { cancelled: 3 } }, trans)).toBe(
      '1,200 tasks · 3.3 s · 2 failed · 3 cancelled'
    );
    expect(inWords({ ...done, total: 1, ended: 1 }, trans)).toBe('1 task · 3.3 s');
  });

  it('tell the rate and the time left of one that goes on', () => {
    expect(inWords({ ...done, ended: 200, rate: 12.3, left: 81.3 }, trans)).toBe(
      '200 of 1,200 tasks · 12/s · 1 min 21 s left'
    );
    expect(inWords({ ...done, ended: 0 }, trans)).toBe('0 of 1,200 tasks');
  });
});
