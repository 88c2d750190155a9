/**
 * The results of commands on the selected task: one sentence each, shown where the button is.
 *
 * A result stays until another task is selected or the command is run again.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { TaskDetailModel } from './detail';

/** Retry the task, or explain why it ran. */
export type TaskCommand = 'retry' | 'explain';

export interface ICommandResult {
  /** Null until the reply arrives. */
  readonly text: string | null;
  /** Whether the text says why the command failed. */
  readonly failed: boolean;
}

export class TaskResults implements IDisposable {
  constructor(private _detail: TaskDetailModel) {
    _detail.selection.changed.connect(this._clear, this);
  }

  get changed(): ISignal<TaskResults, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  of(command: TaskCommand): ICommandResult | undefined {
    return this._results.get(command);
  }

  /** Runs a command on the selected task, unless its reply is still awaited. */
  async run(command: TaskCommand): Promise<void> {
    const { run, task } = this._detail;
    if (!run || task === null || this.of(command)?.text === null) {
      return;
    }
    const results = this._results;
    if (command === 'retry') {
      results.delete('explain'); // it explained the attempts before
    }
    this._set(results, command, { text: null, failed: false });
    try {
      const text = await (command === 'retry' ? run.retry([task]) : run.explain(task));
      this._set(results, command, { text, failed: false });
    } catch (error) {
      this._set(results, command, { text: (error as Error).message, failed: true });
    }
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      Signal.clearData(this);
    }
  }

  /** Late results belong to a task that is not selected any more: their map has been replaced. */
  private _set(results: Map<TaskCommand, ICommandResult>, command: TaskCommand, result: ICommandResult): void {
    results.set(command, result);
    if (results === this._results && !this._isDisposed) {
      if (command === 'retry' && result.text !== null) {
        // The task may have failed again before a Delta reported that it ran.
        this._detail.reload();
      }
      this._changed.emit();
    }
  }

  private _clear(): void {
    this._results = new Map();
    this._changed.emit();
  }

  private _results = new Map<TaskCommand, ICommandResult>();
  private _isDisposed = false;
  private _changed = new Signal<TaskResults, void>(this);
}
