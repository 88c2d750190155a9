/**
 * Keeps one run for each kernel of an open notebook, and selects the run of the notebook in front.
 *
 * The panel connects to every notebook kernel at once, even while it is hidden: the page must know the comm target when
 * a run starts. Each change compares all kernels of the tracker with the known ones, so the order of signals does not
 * matter.
 *
 * The run of a kernel that was shut down stays until its notebook gets another kernel: the run may go on without a
 * kernel, and the panel offers to continue it.
 */
import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel } from '@jupyterlab/services';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';

import type { Runs } from '../model/runs';
import type { IConnection } from '../tokens';

export class NotebookKernels implements IDisposable {
  constructor(
    private _tracker: INotebookTracker,
    private _runs: Runs,
    private _connect: (kernel: Kernel.IKernelConnection) => IConnection
  ) {
    _tracker.forEach(panel => this._follow(panel));
    _tracker.widgetAdded.connect((_, panel) => this._follow(panel), this);
    _tracker.currentChanged.connect(this._update, this);
    this._update();
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

  private _follow(panel: NotebookPanel): void {
    panel.sessionContext.kernelChanged.connect(this._update, this);
    panel.sessionContext.sessionChanged.connect(this._update, this);
    panel.disposed.connect(this._update, this);
    this._update();
  }

  private _update(): void {
    const kernels = new Map<string, Kernel.IKernelConnection>();
    const orphans = new Map<string, Kernel.IKernelConnection>();
    this._tracker.forEach(panel => {
      if (panel.isDisposed) {
        return;
      }
      const kernel = panel.sessionContext.session?.kernel;
      if (kernel) {
        this._last.set(panel, kernel.id);
        // A page may have several connections to one kernel; only one of them handles comms.
        if (kernel.handleComms || !kernels.has(kernel.id)) {
          kernels.set(kernel.id, kernel);
        }
        return;
      }
      const last = this._last.get(panel) ?? '';
      const known = this._known.get(last);
      if (known && this._runs.has(last)) {
        orphans.set(last, known);
      }
    });
    for (const [id, kernel] of this._known) {
      if ((kernels.get(id) ?? orphans.get(id)) !== kernel) {
        this._known.delete(id);
        this._runs.remove(id);
      }
    }
    for (const [id, kernel] of kernels) {
      if (!this._known.has(id)) {
        this._known.set(id, kernel);
        this._runs.add(id, this._connect(kernel));
      }
    }
    const front = this._tracker.currentWidget;
    this._runs.show(front && !front.isDisposed ? (this._last.get(front) ?? null) : null);
  }

  private _known = new Map<string, Kernel.IKernelConnection>();
  /** The kernel that each notebook has, or had before it was shut down. */
  private _last = new WeakMap<NotebookPanel, string>();
  private _isDisposed = false;
}
