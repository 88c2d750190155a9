/**
 * The graph as arrays, with a place for each node.
 *
 * Changes of state only touch an array. New nodes wait for the next layout; layouts are spaced by a multiple of what
 * the last one took, so a graph that grows fast never eats more than a small share of the page's time.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { INode, IRun, IRunChange, IRuns } from '../../tokens';
import type { IPlacement } from './layout';
import { place } from './layout';

/** Milliseconds between layouts, at least; and how many times longer than a layout takes. */
const SPACING = 80;
const SHARE = 12;

const NOWHERE = place([], 1);

export class GraphModel implements IDisposable {
  constructor(private _runs: IRuns) {
    _runs.currentChanged.connect(this._onRun, this);
    this._onRun();
  }

  get run(): IRun | null {
    return this._run;
  }

  /** Nodes with a place, by index. */
  get nodes(): readonly INode[] {
    return this._nodes;
  }

  /** Dependencies by index; those that are not in the graph are left out. */
  get deps(): readonly (readonly number[])[] {
    return this._deps;
  }

  /** Nodes that need a node, by index. */
  get dependents(): readonly (readonly number[])[] {
    return this._dependents;
  }

  get placement(): IPlacement {
    return this._placement;
  }

  /** Counts layouts: the same number, the same places. */
  get version(): number {
    return this._version;
  }

  /** Fires when something is to be drawn anew. */
  get changed(): ISignal<GraphModel, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Where a task is among the nodes; -1 when it is not. */
  indexOf(task: number | null): number {
    return (task === null ? undefined : this._index.get(task)) ?? -1;
  }

  /** The width of the picture by its height. */
  set aspect(aspect: number) {
    if (Math.abs(Math.log(aspect / this._aspect)) > 0.2) {
      this._aspect = aspect;
      this._stale = true;
      this._schedule();
    }
  }

  /** While nobody looks no layout is made. */
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
    const wait = this._laidOut + Math.max(SPACING, SHARE * this._layoutTime) - Date.now();
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
  private _placement: IPlacement = NOWHERE;
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
