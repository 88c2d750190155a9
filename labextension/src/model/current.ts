/**
 * Follows the run of the notebook in front, for a model that keeps data of one run.
 *
 * Another notebook may come to the front, and a kernel may load one run after the other. Both replace the run.
 */
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import type { IRun, IRunChange, IRuns } from '../tokens';

export interface IRunHandlers {
  /** Another run is current, or none: the data of the run before are dropped. */
  onReplaced: () => void;
  /** The run has ended: the data stay as they are at its end. Called once for each run. */
  onEnded: (run: IRun) => void;
  /** The run changed, and goes on. */
  onChanged: (change: IRunChange) => void;
}

export class CurrentRun implements IDisposable {
  constructor(
    private _runs: IRuns,
    private _handlers: IRunHandlers
  ) {
    _runs.currentChanged.connect(this._onCurrent, this);
    this._follow();
  }

  get run(): IRun | null {
    return this._run;
  }

  /** Whether the run has ended. */
  get hasEnded(): boolean {
    return this._hasEnded;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      Signal.clearData(this);
    }
  }

  private _onCurrent(): void {
    this._follow();
    this._handlers.onReplaced();
  }

  private _follow(): void {
    this._run?.changed.disconnect(this._onChange, this);
    this._run = this._runs.current;
    this._run?.changed.connect(this._onChange, this);
    this._id = this._run?.id;
    this._hasEnded = false;
  }

  private _onChange(run: IRun, change: IRunChange): void {
    if (run.id !== this._id) {
      this._id = run.id;
      this._hasEnded = false;
      this._handlers.onReplaced();
    } else if (this._hasEnded) {
      return;
    } else if (run.status === 'ended') {
      this._hasEnded = true;
      this._handlers.onEnded(run);
    } else {
      this._handlers.onChanged(change);
    }
  }

  private _run: IRun | null = null;
  private _id: string | undefined;
  private _hasEnded = false;
  private _isDisposed = false;
}
