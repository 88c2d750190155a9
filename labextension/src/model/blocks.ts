/**
 * The blocks of the run in the order of the panel, the set of opened blocks, and the last output of each opened block.
 *
 * The model requests the output of a job when the user opens its block, when the user reloads it, and when the block
 * enters another state. It requests nothing for a closed block or while the view is hidden.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { IBlockRow, IBlockOutput, IManagerRow } from '../protocol';
import { DEPARTED_MANAGER_STATES, ENDED_BLOCK_STATES } from '../protocol';
import type { IRun, IRuns } from '../tokens';

/** Whether the block is in a state that it does not leave. */
export function hasEnded(block: IBlockRow): boolean {
  return (ENDED_BLOCK_STATES as readonly string[]).includes(block.state);
}

/** Whether the manager is not connected any more. */
export function hasDeparted(manager: IManagerRow): boolean {
  return (DEPARTED_MANAGER_STATES as readonly string[]).includes(manager.state);
}

/** The key of a block in the whole run: each executor counts its own blocks. */
export function blockKey(row: { executor: string; block: string }): string {
  return `${row.executor}/${row.block}`;
}

/** The blocks of one executor. */
export interface IBlockGroup {
  readonly executor: string;
  /** Requested and running blocks, oldest first. */
  readonly live: readonly IBlockRow[];
  /** Ended blocks, newest end first. */
  readonly ended: readonly IBlockRow[];
}

/** The blocks by executor; executors are in the order of their first blocks. */
export function groupByExecutor(blocks: Iterable<IBlockRow>): IBlockGroup[] {
  const groups = new Map<string, IBlockRow[]>();
  for (const row of blocks) {
    groups.set(row.executor, [...(groups.get(row.executor) ?? []), row]);
  }
  return [...groups].map(([executor, rows]) => ({
    executor,
    live: rows.filter(row => !hasEnded(row)).sort((a, b) => a.requested - b.requested || byId(a, b)),
    ended: rows.filter(hasEnded).sort((a, b) => (b.ended ?? 0) - (a.ended ?? 0) || byId(b, a))
  }));
}

/** What these blocks cost per hour together; null if nobody says the price of any. */
export function totalPrice(blocks: readonly IBlockRow[]): number | null {
  const known = blocks.map(row => row.price).filter(price => price !== null);
  return known.length === 0 ? null : known.reduce((sum, price) => sum + price, 0);
}

/** The connected managers in the order of their blocks. */
export function connectedManagers(managers: Iterable<IManagerRow>): IManagerRow[] {
  return [...managers]
    .filter(row => !hasDeparted(row))
    .sort((a, b) => compare(a.executor, b.executor) || byId(a, b) || compare(a.host, b.host));
}

/** Compares digits by their value: `node10` comes after `node9`. */
const { compare } = new Intl.Collator(undefined, { numeric: true });

function byId(a: { block: string }, b: { block: string }): number {
  return compare(a.block, b.block);
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

  /** Whether the view is visible: only then the model sends requests. */
  set active(active: boolean) {
    this._active = active;
    this._onChange();
  }

  isOpen(key: string): boolean {
    return this._open.has(key);
  }

  /** The last output of the job; null until the kernel replies. */
  output(key: string): IBlockOutput | null {
    return this._open.get(key)?.text ?? null;
  }

  /** Why the output could not be read; empty otherwise. */
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

  /** Requests the output again. */
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
      // Another run numbers its blocks from the start, so an old key may name another block.
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
  /** The state of the block at the last request. */
  state: string;
  text: IBlockOutput | null;
  problem: string;
}
