/**
 * The blocks of the run as the panel lists them, which of them are open, and the last output of those.
 *
 * What a job printed is asked for when its block is opened, when the user wants it anew, and when the block has entered
 * another state; never for blocks that are closed or out of sight.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { IBlockRow, IBlockOutput, IManagerRow } from '../protocol';
import type { IRun, IRuns } from '../tokens';

/** States of blocks and managers that are over. */
const OVER: readonly string[] = ['finished', 'failed', 'scaled_in', 'missing', 'gone', 'lost', 'refused'];

export function isOver(row: { state: string }): boolean {
  return OVER.includes(row.state);
}

/** The name of a block in the whole run. */
export function blockKey(row: { executor: string; block: string }): string {
  return `${row.executor}/${row.block}`;
}

/** The blocks of one executor. */
export interface IBlockGroup {
  readonly executor: string;
  /** Those that are there or asked for, oldest first. */
  readonly live: readonly IBlockRow[];
  /** The others, those that ended last first. */
  readonly over: readonly IBlockRow[];
}

/** The blocks by executor, in the order in which executors were first heard of. */
export function grouped(blocks: Iterable<IBlockRow>): IBlockGroup[] {
  const groups = new Map<string, IBlockRow[]>();
  for (const row of blocks) {
    groups.set(row.executor, [...(groups.get(row.executor) ?? []), row]);
  }
  return [...groups].map(([executor, rows]) => ({
    executor,
    live: rows.filter(row => !isOver(row)).sort((a, b) => a.requested - b.requested || byId(a, b)),
    over: rows.filter(isOver).sort((a, b) => (b.ended ?? 0) - (a.ended ?? 0) || byId(b, a))
  }));
}

/** The managers that are connected, in the order of their blocks. */
export function connected(managers: Iterable<IManagerRow>): IManagerRow[] {
  return [...managers]
    .filter(row => !isOver(row))
    .sort((a, b) => words(a.executor, b.executor) || byId(a, b) || words(a.host, b.host));
}

/** Numbers in words count as numbers: `node10` comes after `node9`. */
const { compare: words } = new Intl.Collator(undefined, { numeric: true });

function byId(a: { block: string }, b: { block: string }): number {
  return words(a.block, b.block);
}

export class OpenBlocks implements IDisposable {
  constructor(private _runs: IRuns) {
    _runs.currentChanged.connect(this._onRun, this);
    this._onRun();
  }

  get changed(): ISignal<OpenBlocks, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Whether the blocks are seen: only then something is asked for. */
  set active(active: boolean) {
    this._active = active;
    this._onChange();
  }

  isOpen(key: string): boolean {
    return this._open.has(key);
  }

  /** What the job has printed last; null until the kernel has answered. */
  output(key: string): IBlockOutput | null {
    return this._open.get(key)?.text ?? null;
  }

  /** A sentence when that could not be had. */
  problem(key: string): string {
    return this._open.get(key)?.problem ?? '';
  }

  toggle(row: IBlockRow): void {
    const key = blockKey(row);
    if (this._open.delete(key)) {
      this._changed.emit();
    } else {
      this._open.set(key, { state: '', text: null, problem: '' });
      this.reload(row);
    }
  }

  /** Asks for the output anew. */
  reload(row: IBlockRow): void {
    const opened = this._open.get(blockKey(row));
    if (opened) {
      opened.state = row.state;
      void this._load(row, opened);
      this._changed.emit();
    }
  }

  dispose(): void {
    this._isDisposed = true;
    Signal.clearData(this);
  }

  private async _load(row: IBlockRow, opened: IOpened): Promise<void> {
    const run = this._run;
    if (!run) {
      return;
    }
    try {
      opened.text = await run.blockOutput(row.executor, row.block);
      opened.problem = opened.text.problem;
    } catch (error) {
      opened.problem = (error as Error).message;
    }
    if (!this._isDisposed && this._open.get(blockKey(row)) === opened) {
      this._changed.emit();
    }
  }

  private _onRun(): void {
    this._run?.changed.disconnect(this._onChange, this);
    this._run = this._runs.current;
    this._run?.changed.connect(this._onChange, this);
    this._open.clear();
    this._name = this._run?.info?.run;
  }

  private _onChange(): void {
    const run = this._run;
    if (run?.info?.run !== this._name) {
      // The same number is another block in another run.
      this._open.clear();
      this._name = run?.info?.run;
    }
    if (!this._active || !run) {
      return;
    }
    for (const [key, opened] of this._open) {
      const row = run.blocks.get(key);
      if (row && row.state !== opened.state) {
        this.reload(row);
      }
    }
  }

  private _run: IRun | null = null;
  private _name: string | undefined;
  private _active = false;
  private _open = new Map<string, IOpened>();
  private _isDisposed = false;
  private _changed = new Signal<OpenBlocks, void>(this);
}

interface IOpened {
  /** The state in which its output was asked for. */
  state: string;
  text: IBlockOutput | null;
  problem: string;
}
