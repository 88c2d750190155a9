/**
 * The details of the selected task, updated while they are visible.
 *
 * The model requests them again when the state of the task changes. While the task runs, it also requests them every
 * `LIVE` milliseconds, because the output grows without a change of state.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { ITaskDetail } from '../protocol';
import type { IRun, IRunChange, IRuns, ISelection } from '../tokens';
import { CurrentRun } from './current';
import { endedRow } from './ended';
import { RateLimiter } from './limiter';
import { isFinal } from './states';

export const LIVE = 2000;
const REFRESH = 500;

export class TaskDetailModel implements IDisposable {
  constructor(
    runs: IRuns,
    readonly selection: ISelection
  ) {
    this._current = new CurrentRun(runs, {
      // Another run numbers its tasks from the start, so the same id names another task.
      onReplaced: () => selection.select(null),
      onEnded: run => this._close(run),
      onChanged: change => this._onChange(change)
    });
    selection.changed.connect(this._onSelection, this);
    selection.select(null);
  }

  get run(): IRun | null {
    return this._current.run;
  }

  get task(): number | null {
    return this.selection.task;
  }

  /** Null until the kernel replies. */
  get detail(): ITaskDetail | null {
    return this._detail;
  }

  get problem(): string {
    return this._problem;
  }

  get changed(): ISignal<TaskDetailModel, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Whether the details are visible. */
  set active(active: boolean) {
    this._active = active;
    if (active) {
      this._limiter.request();
    } else {
      this._limiter.cancel();
      this._stopTimer();
    }
  }

  /** Requests the details again after a command on the task. */
  reload(): void {
    void this._load();
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._current.dispose();
    this._stopTimer();
    this._limiter.dispose();
    Signal.clearData(this);
  }

  private _onSelection(): void {
    this._detail = null;
    this._problem = '';
    this._stopTimer();
    this._changed.emit();
    void this._load();
  }

  private _onChange(change: IRunChange): void {
    const task = this.task;
    if (!this._active || task === null) {
      return;
    }
    const detail = this._detail;
    const near = detail ? [...detail.deps, ...detail.dependents].map(([id]) => id) : [];
    if (change.reset || [task, ...near].some(id => change.moved.includes(id)) || this._gains(task, change)) {
      this._limiter.request();
    }
  }

  /** Keeps the details as they are at the end of the run. */
  private _close(run: IRun): void {
    this._stopTimer();
    this._limiter.cancel();
    this._problem = '';
    const detail = this._detail;
    if (detail && !isFinal(detail.row.state)) {
      this._detail = { ...detail, row: endedRow(detail.row, run) };
      this._changed.emit();
    }
  }

  private _gains(task: number, change: IRunChange): boolean {
    return change.added.some(id => this.run?.nodes.get(id)?.deps.includes(task));
  }

  private async _load(): Promise<void> {
    const { task, run } = this;
    if (task === null || !run) {
      return;
    }
    try {
      const detail = await run.detail(task);
      if (task !== this.task || run !== this.run || this._isDisposed || this._current.hasEnded) {
        return;
      }
      this._detail = detail;
      this._problem = '';
    } catch (error) {
      // If the run has ended, the panel keeps the details that it has.
      if (task !== this.task || this._isDisposed || (this._detail && this._current.hasEnded)) {
        return;
      }
      this._problem = (error as Error).message;
    }
    this._stopTimer();
    if (this._active && this._detail && !isFinal(this._detail.row.state)) {
      this._timer = setTimeout(() => this._limiter.request(), LIVE);
    }
    this._changed.emit();
  }

  private _stopTimer(): void {
    if (this._timer !== null) {
      clearTimeout(this._timer);
      this._timer = null;
    }
  }

  private _current: CurrentRun;
  private _detail: ITaskDetail | null = null;
  private _problem = '';
  private _active = false;
  private _timer: ReturnType<typeof setTimeout> | null = null;
  private _limiter = new RateLimiter(() => void this._load(), REFRESH);
  private _isDisposed = false;
  private _changed = new Signal<TaskDetailModel, void>(this);
}
