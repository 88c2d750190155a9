/**
 * The timeline of the run: a picture of the window of time that the view shows, which the run reduces to its width.
 *
 * While the run goes on, the model requests a new picture at most every `REFRESH` milliseconds, and less often if
 * pictures take long to make. It requests nothing while the view is hidden. The last picture stays when the run ends.
 */
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { ITimeline, TimelineBar } from '../protocol';
import type { IRun, IRuns } from '../tokens';
import { CurrentRun } from './current';

/** Fewest milliseconds between two requests. */
export const REFRESH = 1000;
/** A picture is requested after at least this many times as long as the last one has taken. */
const SHARE = 8;
/** Most milliseconds to the next picture while the run changes. */
export const LONGEST_PAUSE = 5000;
/** Milliseconds between the last movement of the window and the request for its picture. */
const SETTLE = 150;
/** The shortest window, in seconds. */
const SHORTEST = 0.002;

/** A part of the time, in seconds since the run began. */
export interface IWindow {
  readonly since: number;
  readonly until: number;
}

/** A rectangle of the picture: a part of the time on some of the rows. */
export interface IArea extends IWindow {
  /** The first and the last row. */
  readonly rows: readonly [number, number];
}

/** What the bars are coloured by. */
export type ColourBy = 'state' | 'app';

/** A bar with names for its fields. */
export interface IBar {
  readonly start: number;
  readonly end: number;
  readonly tasks: number;
  readonly task: number;
  readonly app: number;
  readonly state: string;
  readonly failed: number;
  readonly busy: number;
}

export function barOf([start, end, tasks, task, app, state, failed, busy]: TimelineBar): IBar {
  return { start, end, tasks, task, app, state, failed, busy };
}

/** The bar of a row at a time, or the nearest one within `reach` seconds; -1 for none. */
export function barAt(bars: readonly TimelineBar[], time: number, reach = 0): number {
  let [low, high] = [0, bars.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (bars[middle][0] <= time) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  const near = [low - 1, low].filter(
    i => i >= 0 && i < bars.length && bars[i][0] - reach <= time && time <= bars[i][1] + reach
  );
  const distance = (i: number) => Math.max(bars[i][0] - time, time - bars[i][1], 0);
  return near.length ? near.reduce((best, i) => (distance(i) < distance(best) ? i : best)) : -1;
}

export class TimelineModel implements IDisposable {
  constructor(runs: IRuns) {
    this._current = new CurrentRun(runs, {
      onReplaced: () => this._clear(),
      onEnded: () => this._changed.emit(),
      onChanged: () => this._request()
    });
  }

  get run(): IRun | null {
    return this._current.run;
  }

  /** The last picture; null before the first one. */
  get picture(): ITimeline | null {
    return this._picture;
  }

  /** Why the picture could not be made; empty otherwise. */
  get problem(): string {
    return this._problem;
  }

  get changed(): ISignal<TimelineModel, void> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Whether the view is visible: only then the model sends requests. */
  set active(active: boolean) {
    this._active = active;
    clearTimeout(this._timer);
    this._timer = undefined;
    if (active) {
      this._last = -Infinity;
      this._request();
    }
  }

  /** The window that the user has chosen; null while the view follows the whole run. */
  get window(): IWindow | null {
    return this._window;
  }

  /** Shows this part of the time, or the whole run. */
  show(window: IWindow | null): void {
    this._window = window && limited(window, this._picture);
    this._changed.emit();
    this._soon();
  }

  /** The time that the view shows now. */
  get shown(): IWindow {
    return this._window ?? this._picture ?? { since: 0, until: 1 };
  }

  /** Zooms by a factor around a time; the middle of the window by default. */
  zoom(factor: number, around?: number): void {
    const { since, until } = this.shown;
    const middle = around ?? (since + until) / 2;
    this.show({ since: middle - (middle - since) / factor, until: middle + (until - middle) / factor });
  }

  /** Moves the window by a share of its length. */
  move(share: number): void {
    const { since, until } = this.shown;
    const by = (until - since) * share;
    this.show({ since: since + by, until: until + by });
  }

  /** The chosen area; null for none. */
  get area(): IArea | null {
    return this._area;
  }

  choose(area: IArea | null): void {
    this._area = area;
    this._changed.emit();
  }

  get colourBy(): ColourBy {
    return this._colourBy;
  }

  set colourBy(by: ColourBy) {
    this._colourBy = by;
    this._changed.emit();
  }

  /** Sets how many pixels wide the picture is, and how many rows it has room for. */
  resize(pixels: number, rows: number): void {
    if (pixels !== this._pixels || rows !== this._rows) {
      [this._pixels, this._rows] = [pixels, rows];
      this._soon();
    }
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._active = false;
      clearTimeout(this._timer);
      this._current.dispose();
      Signal.clearData(this);
    }
  }

  private _clear(): void {
    this._generation += 1;
    this._picture = this._window = this._area = null;
    this._problem = '';
    this._last = -Infinity;
    this._changed.emit();
    this._request();
  }

  /** Requests a picture for a window that may go on changing. */
  private _soon(): void {
    this._last = this._picture ? Date.now() + SETTLE - this._pause : -Infinity;
    clearTimeout(this._timer);
    this._timer = undefined;
    this._request();
  }

  /** Requests a picture when it is due. */
  private _request(): void {
    if (!this._active || this._timer !== undefined) {
      return;
    }
    if (this._loading) {
      this._stale = true;
      return;
    }
    const wait = this._last + this._pause - Date.now();
    if (wait > 0) {
      this._timer = setTimeout(() => {
        this._timer = undefined;
        void this._load();
      }, wait);
    } else {
      void this._load();
    }
  }

  private async _load(): Promise<void> {
    const { run, hasEnded } = this._current;
    if (!this._active || this._loading || hasEnded || !run?.info || this._pixels < 1) {
      return;
    }
    const [generation, begin] = [this._generation, Date.now()];
    this._loading = true;
    let picture: ITimeline | null = null;
    let problem = '';
    try {
      const { since, until } = this._window ?? { since: null, until: null };
      picture = await run.timeline({ since, until, pixels: this._pixels, rows: this._rows });
    } catch (error) {
      problem = (error as Error).message;
    }
    this._loading = false;
    this._last = Date.now();
    this._pause = Math.min(Math.max(REFRESH, SHARE * (this._last - begin)), LONGEST_PAUSE);
    if (this._isDisposed) {
      return;
    }
    if (generation === this._generation) {
      // A run that has ended meanwhile keeps its last picture.
      this._problem = this._current.hasEnded ? '' : problem;
      this._picture = picture ?? this._picture;
      this._changed.emit();
    } else {
      this._stale = true;
    }
    if (this._stale) {
      this._stale = false;
      this._request();
    }
  }

  private _current: CurrentRun;
  private _picture: ITimeline | null = null;
  private _problem = '';
  private _window: IWindow | null = null;
  private _area: IArea | null = null;
  private _colourBy: ColourBy = 'state';
  private _pixels = 0;
  private _rows = 1;
  private _active = false;
  private _generation = 0;
  private _loading = false;
  /** Whether something changed while a picture was on its way. */
  private _stale = false;
  private _last = -Infinity;
  private _pause = REFRESH;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;
  private _changed = new Signal<TimelineModel, void>(this);
}

/** The same window, not shorter than the shortest, and not longer than the whole run with some room around it. */
function limited({ since, until }: IWindow, picture: ITimeline | null): IWindow {
  const middle = (since + until) / 2;
  const whole = picture ? picture.last - picture.first : Infinity;
  const length = Math.min(Math.max(until - since, SHORTEST), whole * 1.5);
  let from = length === until - since ? since : middle - length / 2;
  if (picture) {
    from = Math.min(Math.max(from, picture.first - length / 2), picture.last - length / 2);
  }
  return { since: from, until: from + length };
}
