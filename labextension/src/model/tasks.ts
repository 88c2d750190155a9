/**
 * The task table: a window of rows. The kernel filters and sorts the rows and sends them in pages.
 *
 * Old rows stay until new ones arrive, so nothing flickers. While the run changes, the visible pages are requested again
 * at most every `REFRESH` milliseconds, and the other pages are dropped. The rows belong to one run: they are cleared
 * when the kernel loads another run, and closed when their run ends.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { ITaskPage, ITaskRow } from '../protocol';
import type { IRun, IRuns } from '../tokens';
import { CurrentRun } from './current';
import { endedRow } from './ended';
import { RateLimiter } from './limiter';

export const PAGE = 100;
export const REFRESH = 500;

/** What the rows are filtered and sorted by. */
export interface IQuery {
  readonly states: readonly string[];
  readonly apps: readonly string[];
  readonly text: string;
  /** A cell of the notebook, `In [3]`; empty for the tasks of all cells. */
  readonly cell: string;
  /** Only tasks that ran on these workers or managers. */
  readonly workers: readonly string[];
  /** Only tasks that ran between these two times, in seconds since the epoch. */
  readonly between: readonly [number, number] | null;
  readonly sort: keyof ITaskRow;
  readonly descending: boolean;
}

export const ALL: IQuery = {
  states: [],
  apps: [],
  text: '',
  cell: '',
  workers: [],
  between: null,
  sort: 'id',
  descending: true
};

export class TaskTable implements IDisposable {
  constructor(runs: IRuns) {
    this._current = new CurrentRun(runs, {
      onReplaced: () => this._clear(),
      onEnded: run => this._close(run),
      onChanged: () => this._requestIfActive()
    });
  }

  get run(): IRun | null {
    return this._current.run;
  }

  get query(): IQuery {
    return this._query;
  }

  /** Rows that match, whether loaded or not. */
  get total(): number {
    return this._total;
  }

  /** Why the rows could not be loaded; empty otherwise. */
  get problem(): string {
    return this._problem;
  }

  get changed(): ISignal<TaskTable, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Whether the table is visible: only then it requests rows. */
  set active(active: boolean) {
    this._active = active;
    if (active) {
      this._limiter.request();
    } else {
      this._limiter.cancel();
    }
  }

  /** The row at this index, if it is loaded. */
  row(index: number): ITaskRow | undefined {
    return this._pages.get(Math.floor(index / PAGE))?.[index % PAGE];
  }

  /** Filters or sorts the rows. */
  setQuery(part: Partial<IQuery>): void {
    this._query = { ...this._query, ...part };
    this._generation += 1;
    this._first = 0;
    this._refresh();
    this._changed.emit();
  }

  /** Sets the rows that are visible. */
  setVisibleRows(first: number, last: number): void {
    this._first = first;
    this._last = last;
    const missing = this._visiblePages().some(page => !this._pages.has(page));
    if (missing) {
      this._refresh();
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._current.dispose();
    this._limiter.dispose();
    Signal.clearData(this);
  }

  private _requestIfActive(): void {
    if (this._active) {
      this._limiter.request();
    }
  }

  /** Drops the rows of one run and starts with those of another. */
  private _clear(): void {
    this._pages.clear();
    this._total = 0;
    this._problem = '';
    // Times and workers of one run say nothing about another one.
    this._query = { ...this._query, workers: [], between: null };
    this._generation += 1;
    this._requestIfActive();
    this._changed.emit();
  }

  /** Keeps the rows as they are at the end of the run. */
  private _close(run: IRun): void {
    this._generation += 1; // drops replies that are on their way
    this._limiter.cancel();
    this._problem = '';
    for (const [page, rows] of this._pages) {
      this._pages.set(
        page,
        rows.map(row => endedRow(row, run))
      );
    }
    this._changed.emit();
  }

  private _visiblePages(): number[] {
    const first = Math.floor(this._first / PAGE);
    const last = Math.floor(Math.max(this._first, Math.min(this._last, this._total - 1)) / PAGE);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  }

  private _refresh(): void {
    const { run, hasEnded } = this._current;
    if (!this._active || hasEnded || !run?.info) {
      return;
    }
    const visible = this._visiblePages();
    for (const page of this._pages.keys()) {
      if (!visible.includes(page)) {
        this._pages.delete(page);
      }
    }
    for (const page of visible) {
      void this._load(run, page);
    }
  }

  private async _load(run: IRun, page: number): Promise<void> {
    const key = `${this._generation}/${page}`;
    if (this._loading.has(key)) {
      this._stale = true;
      return;
    }
    this._loading.add(key);
    const generation = this._generation;
    let reply: ITaskPage | null = null;
    let problem = '';
    try {
      const { states, apps, workers, between, ...rest } = this._query;
      const lists = { states: [...states], apps: [...apps], workers: [...workers] };
      const times: [number, number] | null = between && [...between];
      const query = { ...rest, ...lists, between: times, offset: page * PAGE, limit: PAGE };
      reply = await run.page(query);
    } catch (error) {
      problem = (error as Error).message;
    }
    this._loading.delete(key);
    if (this._isDisposed || generation !== this._generation) {
      return;
    }
    this._problem = problem;
    if (reply) {
      this._pages.set(page, reply.rows);
      this._total = reply.total;
    }
    this._changed.emit();
    if (this._stale) {
      this._stale = false;
      this._limiter.request();
    }
  }

  private _current: CurrentRun;
  private _query = ALL;
  private _pages = new Map<number, ITaskRow[]>();
  private _total = 0;
  private _problem = '';
  private _first = 0;
  private _last = 0;
  private _active = false;
  private _generation = 0;
  private _loading = new Set<string>();
  /** Whether something changed while a page was loading. */
  private _stale = false;
  private _limiter = new RateLimiter(() => this._refresh(), REFRESH);
  private _isDisposed = false;
  private _changed = new Signal<TaskTable, void>(this);
}
