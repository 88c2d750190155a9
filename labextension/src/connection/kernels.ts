/**
 * Keeps one run for each kernel of an open notebook, and selects the run of the notebook in front.
 *
 * The panel connects to every notebook kernel at once, even while it is hidden: the page must know the comm target when
 * a run starts. Each change compares all kernels of the tracker with the known ones, so the order of signals does not
 * matter.
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
    panel.disposed.connect(this._update, this);
    this._update();
  }

  private _update(): void {
    const kernels = new Map<string, Kernel.IKernelConnection>();
    this._tracker.forEach(panel => {
      const kernel = panel.isDisposed ? null : panel.sessionContext.session?.kernel;
      // A page may have several connections to one kernel; only one of them handles comms.
      if (kernel && (kernel.handleComms || !kernels.has(kernel.id))) {
        kernels.set(kernel.id, kernel);
      }
    });
    for (const [id, kernel] of this._known) {
      if (kernels.get(id) !== kernel) {
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
    this._runs.show((front?.isDisposed ? null : front?.sessionContext.session?.kernel?.id) ?? null);
  }

  private _known = new Map<string, Kernel.IKernelConnection>();
  private _isDisposed = false;
}
