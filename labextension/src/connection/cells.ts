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
  /** The numbers of the cells of these notebooks, which all plugins share. */
  static of(tracker: INotebookTracker): CellNumbers {
    let numbers = CellNumbers._shared.get(tracker);
    if (!numbers) {
      numbers = new CellNumbers(tracker);
      CellNumbers._shared.set(tracker, numbers);
    }
    return numbers;
  }

  constructor(private _tracker: INotebookTracker) {
    _tracker.forEach(panel => this._follow(panel));
    _tracker.widgetAdded.connect((_, panel) => this._follow(panel), this);
  }

  /** A signal that a cell got its number. */
  get changed(): ISignal<CellNumbers, void> {
    return this._changed;
  }

  /** A signal with the id of a cell that is about to run again. */
  get requested(): ISignal<CellNumbers, string> {
    return this._requested;
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

  /** The names of the cells of a notebook in its kernel, by the ids of the cells. */
  names(panel: NotebookPanel): Map<string, string> {
    const kernel = panel.sessionContext.session?.kernel;
    const names = new Map<string, string>();
    for (const cell of kernel ? panel.content.widgets : []) {
      const number = cell.model.type === 'code' ? this._number(kernel!, cell) : null;
      if (number !== null) {
        names.set(cell.model.id, `In [${number}]`);
      }
    }
    return names;
  }

  /** Whether cells of the notebook run or wait for others. */
  busy(panel: NotebookPanel): boolean {
    const kernel = panel.sessionContext.session?.kernel;
    return kernel ? (this._known.get(kernel)?.requested.size ?? 0) > 0 : false;
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
      if (direction === 'send' && msg.header.msg_type === 'execute_request') {
        const { cellId } = msg.metadata;
        this._requested.emit(typeof cellId === 'string' ? cellId : '');
      }
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

  private static _shared = new WeakMap<INotebookTracker, CellNumbers>();
  private _known = new WeakMap<Kernel.IKernelConnection, INumbers>();
  private _isDisposed = false;
  private readonly _changed = new Signal<CellNumbers, void>(this);
  private readonly _requested = new Signal<CellNumbers, string>(this);
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
