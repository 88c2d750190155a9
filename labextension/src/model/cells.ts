/**
 * How far the tasks of the cells of one notebook are: counts, rate and time left.
 *
 * The run is asked, and only while a cell runs or has unfinished tasks; the panel need not be open. The time between two
 * questions grows with the time that an answer takes. Counts stay as they are when the run can no longer be asked.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { ICellCountsRow } from '../protocol';
import { FAILURES, SUCCESSES } from '../protocol';
import type { IRun } from '../tokens';
import { isFinal, sum } from './states';

/** Fewest milliseconds between two questions. */
export const PERIOD = 1000;

/** An answer takes at most one part in so many of the time. */
const SHARE = 20;

/** Seconds over which the rate is averaged. */
const WINDOW = 15;

/** Most cells that are asked for: those that ran last. */
const CELLS = 20;

/** So many of the last cells are asked for even if they have called no tasks: a thread of theirs may do it later. */
const RECENT = 3;

/** After so many answers without tasks a cell counts as one that calls none: its calls may still be on their way. */
const EMPTY = 3;

/** The tasks of one cell. */
export interface ICellProgress {
  readonly counts: Readonly<Record<string, number>>;
  readonly total: number;
  /** Tasks that have ended, in whatever way. */
  readonly ended: number;
  readonly failed: number;
  /** Tasks that ended per second. */
  readonly rate: number;
  /** Seconds until all have ended at this rate; null if nobody knows. */
  readonly left: number | null;
  /** Seconds from the first call to the last end, or to now. */
  readonly seconds: number;
}

/** What a notebook tells. */
export interface ICells {
  readonly run: IRun | null;
  /** The names of its cells, `In [3]`. */
  readonly names: readonly string[];
  /** Whether cells run or wait. */
  readonly busy: boolean;
  /** Whether somebody sees the notebook. */
  readonly visible: boolean;
}

type Point = readonly [time: number, ended: number];

export class CellProgress implements IDisposable {
  constructor(private _cells: ICells) {}

  get changed(): ISignal<CellProgress, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** The tasks of a cell; undefined if it has called none, or if the run has not been asked. */
  get(cell: string): ICellProgress | undefined {
    return this._progress.get(cell);
  }

  /** Asks the run, at once unless it was asked just now, and from then on while there is something to wait for. */
  ask(): void {
    if (this._asking) {
      this._again = true;
      return;
    }
    clearTimeout(this._timer);
    const wait = this._next - Date.now();
    if (wait <= 0) {
      void this._ask();
    } else {
      this._timer = setTimeout(() => void this._ask(), wait);
    }
  }

  /** Forgets all counts: the notebook has another kernel. */
  clear(): void {
    this._progress.clear();
    this._points.clear();
    this._empty.clear();
    this._changed.emit();
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      clearTimeout(this._timer);
      Signal.clearData(this);
    }
  }

  private async _ask(): Promise<void> {
    const { run, names, visible } = this._cells;
    if (this._isDisposed || !run || !names.length || !visible) {
      return;
    }
    this._asking = true;
    this._again = false;
    const begun = Date.now();
    const asked = this._unsettled(names);
    const { busy } = this._cells;
    let answered = true;
    try {
      const reply = await run.cellCounts(asked);
      if (run === this._cells.run) {
        // A cell that ran again has another name, and the tasks of its old one belong to no cell any more.
        [...this._progress.keys()].filter(name => !names.includes(name)).forEach(name => this._forget(name));
        reply.rows.forEach(row => this._add(row, reply.now));
        // The cell that runs is one of the last ones, and may call its tasks later.
        const empty = asked.slice(busy ? RECENT : 0).filter(name => !this.get(name));
        empty.forEach(name => this._empty.set(name, (this._empty.get(name) ?? 0) + 1));
      }
    } catch {
      // The run has ended, or it is too old to answer: the counts stay.
      answered = false;
    }
    this._asking = false;
    this._next = Date.now() + Math.max(PERIOD, (Date.now() - begun) * SHARE);
    if (this._isDisposed) {
      return;
    }
    this._changed.emit();
    const waits = this._cells.busy || names.some(name => this._waits(name));
    if (this._again || (answered && waits)) {
      this.ask();
    }
  }

  /** The cells whose tasks may have changed. */
  private _unsettled(names: readonly string[]): string[] {
    return newest(names)
      .filter((name, i) => i < RECENT || !this._isSettled(name))
      .slice(0, CELLS);
  }

  private _isSettled(cell: string): boolean {
    const one = this.get(cell);
    // Failed and cancelled tasks may be retried at any time.
    return one ? one.total === sum(one.counts, SUCCESSES) : !this._waits(cell);
  }

  private _waits(cell: string): boolean {
    const one = this.get(cell);
    return one ? one.ended < one.total : (this._empty.get(cell) ?? 0) < EMPTY;
  }

  private _forget(cell: string): void {
    this._progress.delete(cell);
    this._points.delete(cell);
  }

  private _add(row: ICellCountsRow, now: number): void {
    const states = Object.keys(row.counts);
    const total = sum(row.counts, states);
    const ended = sum(row.counts, states.filter(isFinal));
    const rate = this._rate(row.cell, [now, ended]);
    this._progress.set(row.cell, {
      counts: row.counts,
      total,
      ended,
      failed: sum(row.counts, FAILURES),
      rate,
      left: rate > 0 && ended < total ? (total - ended) / rate : null,
      seconds: (row.ended ?? now) - row.submitted
    });
  }

  private _rate(cell: string, point: Point): number {
    const before = this._points.get(cell) ?? [];
    const points: Point[] = [...before.filter(([time]) => time >= point[0] - WINDOW), point];
    this._points.set(cell, points);
    const [time, ended] = points[0];
    // A retry makes ended tasks unfinished again.
    return point[0] > time ? Math.max(0, point[1] - ended) / (point[0] - time) : 0;
  }

  private _progress = new Map<string, ICellProgress>();
  private _points = new Map<string, Point[]>();
  /** How often the run has said that a cell, which had ended, has called no tasks. */
  private _empty = new Map<string, number>();
  private _asking = false;
  /** Whether somebody asked while an answer was on its way. */
  private _again = false;
  /** Milliseconds since the epoch before which the run is not asked again. */
  private _next = 0;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;
  private _changed = new Signal<CellProgress, void>(this);
}

/** The cells with the highest numbers first. */
function newest(names: readonly string[]): string[] {
  const number = (name: string) => Number(/\d+/.exec(name)?.[0] ?? 0);
  return [...new Set(names)].sort((a, b) => number(b) - number(a));
}
