/**
 * The execution number (`In [3]`) of each cell in its kernel.
 *
 * A notebook learns the number only when its cell ends, and it keeps the numbers of earlier kernels. So this module
 * reads the messages of the kernel: an `execute_request` names the cell, its `execute_input` and `execute_reply` the
 * number.
 */
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

type Cell = NonNullable<INotebookTracker['activeCell']>;

/** The cells that one kernel has run. */
interface INumbers {
  /** Cells by the ids of the requests that the kernel has not finished. */
  readonly requested: Map<string, string>;
  /** Numbers by cell. */
  readonly cells: Map<string, number>;
  /** Whether the kernel was restarted: the numbers that the notebooks keep are those of the old process. */
  restarted: boolean;
}

export class CellNumbers implements IDisposable {
  constructor(private _tracker: INotebookTracker) {
    _tracker.forEach(panel => this._follow(panel));
    _tracker.widgetAdded.connect((_, panel) => this._follow(panel), this);
  }

  /** A signal that a cell got its number. */
  get changed(): ISignal<CellNumbers, void> {
    return this._changed;
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

  /** The name of the active cell in its kernel, `In [3]`; empty if this kernel has not run it. */
  get active(): string {
    const panel = this._tracker.currentWidget;
    const kernel = panel?.sessionContext.session?.kernel;
    const cell = this._tracker.activeCell;
    const number = kernel && cell ? this._number(kernel, cell) : null;
    return number === null ? '' : `In [${number}]`;
  }

  private _number(kernel: Kernel.IKernelConnection, cell: Cell): number | null {
    const known = this._known.get(kernel);
    const number = known?.cells.get(cell.model.id);
    if (number !== undefined) {
      return number;
    }
    // The number in the notebook is valid if the cell ran before the page was loaded. It is not if another cell has it.
    const kept: unknown = cell.model.sharedModel.toJSON().execution_count;
    const taken = known?.restarted || [...(known?.cells.values() ?? [])].includes(kept as number);
    return typeof kept === 'number' && !taken ? kept : null;
  }

  private _follow(panel: NotebookPanel): void {
    panel.sessionContext.kernelChanged.connect(() => this._listen(panel), this);
    this._listen(panel);
  }

  private _listen(panel: NotebookPanel): void {
    const kernel = panel.sessionContext.session?.kernel;
    if (!kernel || this._known.has(kernel)) {
      return;
    }
    const numbers: INumbers = { requested: new Map(), cells: new Map(), restarted: false };
    this._known.set(kernel, numbers);
    kernel.anyMessage.connect((_, { msg, direction }) => {
      if (readMessage(numbers, msg, direction)) {
        this._changed.emit();
      }
    }, this);
    kernel.statusChanged.connect((_, status) => {
      if (status === 'restarting' || status === 'autorestarting') {
        numbers.requested.clear();
        numbers.cells.clear();
        numbers.restarted = true;
      }
    }, this);
  }

  private _known = new WeakMap<Kernel.IKernelConnection, INumbers>();
  private _isDisposed = false;
  private readonly _changed = new Signal<CellNumbers, void>(this);
}

/** Reads a message of a kernel; returns whether it has given a cell its number. */
function readMessage(numbers: INumbers, message: KernelMessage.IMessage, direction: 'send' | 'recv'): boolean {
  const type: string = message.header.msg_type;
  if (direction === 'send') {
    const { cellId } = message.metadata;
    if (type === 'execute_request' && typeof cellId === 'string') {
      numbers.requested.set(message.header.msg_id, cellId);
    }
    return false;
  }
  const request = 'msg_id' in message.parent_header ? message.parent_header.msg_id : '';
  const cell = numbers.requested.get(request);
  if (cell === undefined) {
    return false;
  }
  if (type !== 'execute_input' && type !== 'execute_reply') {
    return false;
  }
  if (type === 'execute_reply') {
    numbers.requested.delete(request);
  }
  // The messages arrive on two channels, so the reply may overtake the `execute_input`. An aborted request has no number.
  const { execution_count: number } = message.content as { execution_count?: number | null };
  if (typeof number !== 'number' || numbers.cells.get(cell) === number) {
    return false;
  }
  numbers.cells.set(cell, number);
  return true;
}
