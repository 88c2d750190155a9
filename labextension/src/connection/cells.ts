/**
 * Which number (`In [3]`) a cell of a notebook has had in its kernel.
 *
 * The notebook itself knows it only when the cell has ended, and keeps the numbers of kernels that are gone. So it is
 * read from what goes back and forth: the request to run a cell names the cell, the kernel's echo names the number.
 */
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

type Cell = NonNullable<INotebookTracker['activeCell']>;

/** The cells of one kernel. */
interface INumbers {
  /** Cells by the requests that were sent and not echoed yet. */
  readonly asked: Map<string, string>;
  /** Numbers by cell. */
  readonly cells: Map<string, number>;
  /** Whether the kernel has been restarted: what notebooks remember is of the process before. */
  anew: boolean;
}

export class CellNumbers implements IDisposable {
  constructor(private _tracker: INotebookTracker) {
    _tracker.forEach(panel => this._follow(panel));
    _tracker.widgetAdded.connect((_, panel) => this._follow(panel), this);
  }

  /** A cell has got its number. */
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

  /** The active cell of the notebook in front as the kernel calls it, `In [3]`; empty when it has not run there. */
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
    // The cell ran before this page was loaded, unless another one has its number.
    const kept: unknown = cell.model.sharedModel.toJSON().execution_count;
    const taken = known?.anew || [...(known?.cells.values() ?? [])].includes(kept as number);
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
    const numbers: INumbers = { asked: new Map(), cells: new Map(), anew: false };
    this._known.set(kernel, numbers);
    kernel.anyMessage.connect((_, { msg, direction }) => {
      if (note(numbers, msg, direction)) {
        this._changed.emit();
      }
    }, this);
    kernel.statusChanged.connect((_, status) => {
      if (status === 'restarting' || status === 'autorestarting') {
        numbers.asked.clear();
        numbers.cells.clear();
        numbers.anew = true;
      }
    }, this);
  }

  private _known = new WeakMap<Kernel.IKernelConnection, INumbers>();
  private _isDisposed = false;
  private readonly _changed = new Signal<CellNumbers, void>(this);
}

/** Take what a message says of a cell; whether that is its number. */
function note(numbers: INumbers, message: KernelMessage.IMessage, direction: 'send' | 'recv'): boolean {
  const type: string = message.header.msg_type;
  if (direction === 'send') {
    const { cellId } = message.metadata;
    if (type === 'execute_request' && typeof cellId === 'string') {
      numbers.asked.set(message.header.msg_id, cellId);
    }
    return false;
  }
  const request = 'msg_id' in message.parent_header ? message.parent_header.msg_id : '';
  const cell = numbers.asked.get(request);
  if (cell === undefined) {
    return false;
  }
  if (type === 'execute_input') {
    const { execution_count: number } = message.content as KernelMessage.IExecuteInputMsg['content'];
    if (number !== null) {
      numbers.cells.set(cell, number);
      return true;
    }
  } else if (type === 'execute_reply') {
    numbers.asked.delete(request);
  }
  return false;
}
