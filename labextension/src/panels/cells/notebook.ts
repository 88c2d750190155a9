/**
 * The lines below the cells of one notebook.
 *
 * The notebook keeps the text of each line in the metadata of its cell. So the line is there after a reload, without a
 * kernel, and for other people who open the notebook.
 */
import type { NotebookPanel } from '@jupyterlab/notebook';
import { NotebookActions } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import { Signal } from '@lumino/signaling';
import type { PanelLayout } from '@lumino/widgets';

import type { CellNumbers } from '../../connection/cells';
import { CellProgress } from '../../model/cells';
import { sum } from '../../model/states';
import { FAILURES, FINAL } from '../../protocol';
import type { IRun, IRuns } from '../../tokens';
import type { CellState, ICellActions } from './line';
import { CellLine, inWords } from './line';

type Cell = NotebookPanel['content']['widgets'][number];

/** The key in the metadata of a cell: `{"parslab": {"tasks": "12 tasks · 3.4 s"}}`. */
const KEY = 'parslab';

/** What the buttons of the lines do; a command ends when the run has carried it out. */
export interface ICellCommands {
  readonly cancel: (cell: string) => Promise<unknown>;
  readonly retry: (cell: string) => Promise<unknown>;
  readonly show: (cell: string) => Promise<unknown>;
}

export class NotebookLines implements IDisposable {
  constructor(
    private _panel: NotebookPanel,
    private _runs: IRuns,
    private _numbers: CellNumbers,
    actions: ICellCommands,
    private _trans: TranslationBundle
  ) {
    const lines = this as NotebookLines;
    const act = (command: (cell: string) => Promise<unknown>) => (cell: string) =>
      void command(cell).then(() => this._ask());
    this._actions = { cancel: act(actions.cancel), retry: act(actions.retry), show: act(actions.show) };
    this._progress = new CellProgress({
      get run() {
        return lines._asked;
      },
      get names() {
        return [...lines._names.values()];
      },
      get busy() {
        return _numbers.busy(_panel);
      },
      get visible() {
        return _panel.isVisible;
      }
    });
    this._progress.changed.connect(this._draw, this);
    _numbers.changed.connect(this._ask, this);
    _numbers.requested.connect(this._onRequested, this);
    NotebookActions.outputCleared.connect(this._onCleared, this);
    _runs.currentChanged.connect(this._onRun, this);
    _panel.content.modelContentChanged.connect(this._draw, this);
    _panel.context.saveState.connect((_, state) => state === 'started' && this._keep(true), this);
    _panel.sessionContext.kernelChanged.connect(() => this._progress.clear(), this);
    _panel.sessionContext.statusChanged.connect((_, status) => {
      if (status === 'restarting' || status === 'autorestarting') {
        this._keep(true);
        this._progress.clear();
      }
    }, this);
    _panel.disposed.connect(() => this.dispose());
    void _panel.context.ready.then(() => this._onRun());
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._followed?.changed.disconnect(this._onRunChanged, this);
      this._progress.dispose();
      Signal.clearData(this);
    }
  }

  /** The run of the notebook's kernel, if it may have tasks of these cells. */
  private get _asked(): IRun | null {
    const kernel = this._panel.sessionContext.session?.kernel;
    const run = kernel ? this._runs.of(kernel.id) : null;
    // A kernel that has said nothing of a run is asked only in a notebook whose cells have called tasks before.
    const known = run && ['live', 'waiting'].includes(run.status);
    return known || this._cells.some(cell => kept(cell)) ? run : null;
  }

  private get _cells(): Cell[] {
    return this._isDisposed ? [] : this._panel.content.widgets.filter(cell => cell.model.type === 'code');
  }

  /** The names of the cells by id, without those that are about to run again. */
  private get _names(): Map<string, string> {
    const names = this._numbers.names(this._panel);
    for (const [id, name] of this._former) {
      if (names.get(id) === name) {
        names.delete(id);
      }
    }
    return names;
  }

  private _ask(): void {
    this._progress.ask();
  }

  private _onRequested(_: CellNumbers, id: string): void {
    const cell = this._cells.find(one => one.model.id === id);
    if (cell) {
      // Its old tasks are no longer those of what it does now. It gets its new number only when it begins to run.
      this._former.set(id, this._numbers.names(this._panel).get(id) ?? '');
      cell.model.deleteMetadata(KEY);
      this._draw();
    }
  }

  /** The line goes with the output of its cell, unless its tasks go on. */
  private _onCleared(_: unknown, { notebook, cell }: { notebook: unknown; cell: { model: Cell['model'] } }): void {
    const name = this._numbers.names(this._panel).get(cell.model.id) ?? '';
    const progress = this._progress.get(name);
    if (notebook === this._panel.content && (!progress || progress.ended === progress.total)) {
      this._former.set(cell.model.id, name);
      cell.model.deleteMetadata(KEY);
      this._draw();
    }
  }

  private _onRun(): void {
    const kernel = this._panel.sessionContext?.session?.kernel;
    const run = kernel ? this._runs.of(kernel.id) : null;
    if (run !== this._followed) {
      this._followed?.changed.disconnect(this._onRunChanged, this);
      this._followed = run;
      this._status = '';
      run?.changed.connect(this._onRunChanged, this);
    }
    this._ask();
    this._draw();
  }

  private _onRunChanged(run: IRun): void {
    const { overview, status } = run;
    const unfinished = overview ? overview.tasks_total - sum(overview.counts, FINAL) : 0;
    // Not each of the ten changes a second: only what a question without an answer yet may be about.
    const troubled = overview ? sum(overview.counts, [...FAILURES, 'cancelled']) : 0;
    const news = `${status} ${unfinished > 0} ${troubled}`;
    if (news !== this._status) {
      this._status = news;
      this._ask();
      this._draw();
    }
  }

  private _draw(): void {
    if (this._isDisposed || !this._panel.context.isReady) {
      return;
    }
    const names = this._names;
    for (const cell of this._cells) {
      const state = this._stateOf(cell, names.get(cell.model.id) ?? '');
      const line = this._lines.get(cell);
      if (state) {
        (line ?? this._add(cell)).state = state;
      } else if (line) {
        this._lines.delete(cell);
        line.dispose();
      }
    }
    this._keep(false);
  }

  private _stateOf(cell: Cell, name: string): CellState | null {
    const progress = this._progress.get(name);
    if (progress) {
      const live = ['live', 'waiting'].includes(this._asked?.status ?? '');
      return { cell: name, progress, live };
    }
    const text = kept(cell);
    return text ? { text } : null;
  }

  private _add(cell: Cell): CellLine {
    const line = new CellLine(this._actions, this._trans);
    this._lines.set(cell, line);
    // The notebook builds the inside of a cell when the cell comes near the visible part.
    void cell.ready.then(() => {
      const layout = cell.layout as PanelLayout | null;
      if (!line.isDisposed && !cell.isDisposed && layout) {
        layout.insertWidget(Math.max(0, layout.widgets.length - 1), line); // above the footer
      }
    });
    return line;
  }

  /** Writes the lines into the notebook: those of tasks that have all ended, or all lines. */
  private _keep(all: boolean): void {
    const names = this._names;
    for (const cell of this._cells) {
      const progress = this._progress.get(names.get(cell.model.id) ?? '');
      if (progress && (all || progress.ended === progress.total)) {
        const text = inWords({ ...progress, left: null, rate: 0 }, this._trans);
        if (kept(cell) !== text) {
          cell.model.setMetadata(KEY, { tasks: text });
        }
      }
    }
  }

  private _actions: ICellActions;
  private _progress: CellProgress;
  private _followed: IRun | null = null;
  private _status = '';
  /** The names that cells had before they were asked to run again. */
  private _former = new Map<string, string>();
  private _lines = new Map<Cell, CellLine>();
  private _isDisposed = false;
}

/** The text that the notebook keeps for a cell; empty if there is none. */
function kept(cell: Cell): string {
  const data: unknown = cell.model.getMetadata(KEY);
  const text = data && typeof data === 'object' ? (data as { tasks?: unknown }).tasks : '';
  return typeof text === 'string' ? text : '';
}
