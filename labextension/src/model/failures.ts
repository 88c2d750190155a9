/**
 * The groups of failed tasks in the order of the panel, the opened groups, and the example of each opened group.
 *
 * The model requests the details of an example when the user opens its group, and when another task becomes the example.
 * It requests nothing for a closed group or while the view is hidden.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { IFailureGroupRow, ITaskDetail } from '../protocol';
import type { IRun, IRuns } from '../tokens';
import { CurrentRun } from './current';

/** The number of the group of all failures that have no group of their own. */
export const OTHER = 0;

/** The largest group first; the group of all others last. */
export function ordered(groups: Iterable<IFailureGroupRow>): IFailureGroupRow[] {
  const rank = (group: IFailureGroupRow) => (group.number === OTHER ? 1 : 0);
  return [...groups].sort((a, b) => rank(a) - rank(b) || b.tasks - a.tasks || (a.first ?? 0) - (b.first ?? 0));
}

export class OpenFailures implements IDisposable {
  constructor(runs: IRuns) {
    this._current = new CurrentRun(runs, {
      onReplaced: () => this._clear(),
      onEnded: () => undefined,
      onChanged: () => this._refresh()
    });
  }

  get run(): IRun | null {
    return this._current.run;
  }

  get changed(): ISignal<OpenFailures, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Whether the view is visible: only then the model sends requests. */
  set active(active: boolean) {
    this._active = active;
    this._refresh();
  }

  isOpen(group: number): boolean {
    return this._open.has(group);
  }

  /** The details of the example; null until the kernel replies. */
  example(group: IFailureGroupRow): ITaskDetail | null {
    const detail = this._open.get(group.number)?.detail ?? null;
    return detail?.row.id === group.example ? detail : null;
  }

  /** Why the details could not be read; empty otherwise. */
  problem(group: number): string {
    return this._open.get(group)?.problem ?? '';
  }

  toggle(group: number): void {
    if (!this._open.delete(group)) {
      this._open.set(group, { task: null, detail: null, problem: '' });
      this._refresh();
    }
    this._changed.emit();
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._current.dispose();
      Signal.clearData(this);
    }
  }

  private _clear(): void {
    this._open.clear();
    this._changed.emit();
  }

  private _refresh(): void {
    const { run } = this;
    if (!this._active || !run) {
      return;
    }
    for (const [number, opened] of this._open) {
      const task = run.failures.get(number)?.example ?? null;
      if (task !== null && task !== opened.task) {
        opened.task = task;
        void this._load(run, opened, task);
      }
    }
  }

  private async _load(run: IRun, opened: IOpened, task: number): Promise<void> {
    let detail: ITaskDetail | null = null;
    let problem = '';
    try {
      detail = await run.detail(task);
    } catch (error) {
      problem = (error as Error).message;
    }
    // Another task may have become the example meanwhile.
    if (!this._isDisposed && opened.task === task) {
      opened.detail = detail;
      opened.problem = problem;
      this._changed.emit();
    }
  }

  private _current: CurrentRun;
  private _active = false;
  private _open = new Map<number, IOpened>();
  private _isDisposed = false;
  private _changed = new Signal<OpenFailures, void>(this);
}

interface IOpened {
  /** The example at the last request. */
  task: number | null;
  detail: ITaskDetail | null;
  problem: string;
}
