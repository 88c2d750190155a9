/**
 * The graph as arrays: its nodes, their edges, and the position of each node.
 *
 * A change of state needs no new layout. New nodes wait for the next layout. The pause between two layouts is a multiple
 * of the time of the last one, so a graph that grows fast takes only a small share of the page's time.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { INode, IRun, IRunChange, IRuns } from '../../tokens';
import type { IPlacement } from './layout';
import { place } from './layout';

/** Fewest milliseconds between two layouts. */
const MIN_PAUSE = 80;
/** The pause between two layouts, as a multiple of the time that the last one took. */
const PAUSE_FACTOR = 12;

const EMPTY = place([], 1);

export class GraphModel implements IDisposable {
  constructor(private _runs: IRuns) {
    _runs.currentChanged.connect(this._onRun, this);
    this._onRun();
  }

  get run(): IRun | null {
    return this._run;
  }

  /** The nodes that have a position, by index. */
  get nodes(): readonly INode[] {
    return this._nodes;
  }

  /** The dependencies of each node, by index, without those that are not in the graph. */
  get deps(): readonly (readonly number[])[] {
    return this._deps;
  }

  /** The nodes that depend on each node, by index. */
  get dependents(): readonly (readonly number[])[] {
    return this._dependents;
  }

  get placement(): IPlacement {
    return this._placement;
  }

  /** The number of layouts so far: positions change only when this number does. */
  get version(): number {
    return this._version;
  }

  /** A signal that the graph must be drawn again. */
  get changed(): ISignal<GraphModel, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** The index of a task; -1 when the graph does not have it. */
  indexOf(task: number | null): number {
    return (task === null ? undefined : this._index.get(task)) ?? -1;
  }

  /** The width of the canvas divided by its height. */
  set aspect(aspect: number) {
    if (Math.abs(Math.log(aspect / this._aspect)) > 0.2) {
      this._aspect = aspect;
      this._stale = true;
      this._schedule();
    }
  }

  /** Whether the graph is visible: only then the model computes layouts. */
  set active(active: boolean) {
    this._active = active;
    if (active) {
      this._schedule();
    } else if (this._timer !== null) {
      clearTimeout(this._timer);
      this._timer = null;
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this.active = false;
    this._isDisposed = true;
    Signal.clearData(this);
  }

  private _onRun(): void {
    this._run?.changed.disconnect(this._onChange, this);
    this._run = this._runs.current;
    this._run?.changed.connect(this._onChange, this);
    this._stale = true;
    this._layoutTime = 0;
    this._schedule();
  }

  private _onChange(_: IRun, change: IRunChange): void {
    if (change.reset || change.added.length) {
      this._stale = true;
      this._schedule();
    }
    if (change.moved.length && this._active) {
      this._changed.emit();
    }
  }

  private _schedule(): void {
    if (!this._active || !this._stale || this._timer !== null) {
      return;
    }
    const wait = this._laidOut + Math.max(MIN_PAUSE, PAUSE_FACTOR * this._layoutTime) - Date.now();
    this._timer = setTimeout(() => this._layout(), Math.max(0, wait));
  }

  private _layout(): void {
    const begin = performance.now();
    this._timer = null;
    this._stale = false;
    this._nodes = [...(this._run?.nodes.values() ?? [])];
    this._index = new Map(this._nodes.map((node, i) => [node.id, i]));
    this._dependents = this._nodes.map(() => []);
    this._deps = this._nodes.map((node, i) => {
      const deps: number[] = [];
      for (const id of node.deps) {
        const dep = this._index.get(id);
        if (dep !== undefined && dep !== i) {
          deps.push(dep);
          this._dependents[dep].push(i);
        }
      }
      return deps;
    });
    this._placement = place(this._deps, this._aspect);
    this._version += 1;
    this._layoutTime = performance.now() - begin;
    this._laidOut = Date.now();
    this._changed.emit();
  }

  private _run: IRun | null = null;
  private _nodes: INode[] = [];
  private _index = new Map<number, number>();
  private _deps: number[][] = [];
  private _dependents: number[][] = [];
  private _placement: IPlacement = EMPTY;
  private _version = 0;
  private _aspect = 1;
  private _active = false;
  private _stale = true;
  private _laidOut = 0;
  private _layoutTime = 0;
  private _timer: ReturnType<typeof setTimeout> | null = null;
  private _isDisposed = false;
  private _changed = new Signal<GraphModel, void>(this);
}
