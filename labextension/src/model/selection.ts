/** The selected task. */
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { ISelection } from '../tokens';

export class Selection implements ISelection {
  get task(): number | null {
    return this._task;
  }

  get changed(): ISignal<ISelection, number | null> {
    return this._changed;
  }

  select(task: number | null): void {
    if (task !== this._task) {
      this._task = task;
      this._changed.emit(task);
    }
  }

  private _task: number | null = null;
  private _changed = new Signal<ISelection, number | null>(this);
}
