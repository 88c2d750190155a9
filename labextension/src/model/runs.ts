/** The runs by kernel, the run that the panel shows, and whether the panel is visible. */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { IConnection, IRun, IRuns } from '../tokens';
import { Run } from './run';

export class Runs implements IRuns, IDisposable {
  get current(): IRun | null {
    return this._current;
  }

  get currentChanged(): ISignal<IRuns, IRun | null> {
    return this._currentChanged;
  }

  get visible(): boolean {
    return this._visible;
  }

  set visible(visible: boolean) {
    this._visible = visible;
    if (this._current) {
      this._current.visible = visible;
    }
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Adds the run of a new kernel; the run owns the connection from now on. */
  add(kernel: string, connection: IConnection): void {
    this.remove(kernel);
    this._runs.set(kernel, new Run(connection));
  }

  /** Removes the run of a kernel. */
  remove(kernel: string): void {
    const run = this._runs.get(kernel);
    if (run) {
      this._runs.delete(kernel);
      if (run === this._current) {
        this._setCurrent(null);
      }
      run.dispose();
    }
  }

  /** Whether the panel has ever received the state of the run of this kernel. */
  has(kernel: string): boolean {
    return this._runs.get(kernel)?.info != null;
  }

  of(kernel: string): IRun | null {
    return this._runs.get(kernel) ?? null;
  }

  /** Shows the run of this kernel. */
  show(kernel: string | null): void {
    this._setCurrent((kernel !== null && this._runs.get(kernel)) || null);
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._runs.forEach(run => run.dispose());
    this._runs.clear();
    Signal.clearData(this);
  }

  private _setCurrent(run: Run | null): void {
    if (run === this._current) {
      return;
    }
    if (this._current) {
      this._current.visible = false;
    }
    this._current = run;
    if (run) {
      run.visible = this._visible;
    }
    this._currentChanged.emit(run);
  }

  private _runs = new Map<string, Run>();
  private _current: Run | null = null;
  private _visible = false;
  private _isDisposed = false;
  private _currentChanged = new Signal<IRuns, IRun | null>(this);
}
