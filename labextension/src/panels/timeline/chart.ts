/**
 * The chart of the timeline: Bokeh draws, and the pane above its canvases takes pointer, wheel and keys.
 *
 * This module and Bokeh are loaded when the view is first shown.
 */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { IBar, TimelineModel } from '../../model/timeline';
import { barAt, barOf } from '../../model/timeline';
import type { ITimeline } from '../../protocol';
import type { ISelection } from '../../tokens';
import type { IRowPlaces } from './geometry';
import { placeRows, rowAt, SMALLEST } from './geometry';
import type { ILook } from './look';
import { readLook } from './look';
import { noBoxes, TimelinePlot } from './plot';
import { markOf, placeOf, sceneOf } from './scene';
import { barWords, rowName, summary } from './words';

/** Pixels that the pointer may move during a click. */
const CLICK_RADIUS = 4;
/** Pixels beside a bar that still hit it. */
const REACH = 4;
const ZOOM_STEP = 1.5;
/** Pixels of the frame above and below the bars, and the least height of the bars. */
const EDGES = 4;
const LOWEST = 40;
/** Share of the window that a key press moves it by. */
const MOVE_STEP = 0.25;

type Cursor = readonly [row: number, bar: number];

export class TimelineChart {
  constructor(
    private _node: HTMLElement,
    private _model: TimelineModel,
    private _selection: ISelection,
    private _trans: TranslationBundle
  ) {
    this._bars.className = 'parslab-TimelineBars';
    this._curves.className = 'parslab-TimelineCurves';
    for (const host of [this._bars, this._curves]) {
      host.setAttribute('aria-hidden', 'true');
    }
    this._pane.className = 'parslab-TimelinePane';
    this._pane.tabIndex = 0;
    this._pane.setAttribute('role', 'application');
    this._tooltip.className = 'parslab-Tooltip';
    this._tooltip.hidden = true;
    this._spoken.className = 'parslab-Spoken';
    this._spoken.setAttribute('role', 'status');
    this._node.append(this._bars, this._curves, this._pane, this._tooltip, this._spoken);
    this._plot = new TimelinePlot(this._bars, this._curves);
  }

  /** Builds the plots; resolves when the chart can be used. */
  async build(): Promise<void> {
    await this._plot.build();
    this._ready = true;
    this._listen();
    this._resized.observe(this._node.parentElement!);
    [...this._node.parentElement!.children].forEach(child => this._resized.observe(child));
    this._model.changed.connect(this._onModel, this);
    this._selection.changed.connect(this._onModel, this);
    this.restyle();
    this._onSize();
  }

  /** Draws in the colours of the current theme. */
  restyle(): void {
    if (this._ready) {
      this._look = readLook(this._node);
      this._plot.restyle(this._look);
      this._drawn = null;
      this._draw();
    }
  }

  dispose(): void {
    this._resized.disconnect();
    this._model.changed.disconnect(this._onModel, this);
    this._selection.changed.disconnect(this._onModel, this);
    cancelAnimationFrame(this._frame);
    this._plot.dispose();
  }

  // ----- drawing

  private _onModel(): void {
    if (this._frame === 0) {
      this._frame = requestAnimationFrame(() => {
        this._frame = 0;
        this._draw();
      });
    }
  }

  private _onSize(): void {
    // The node grows with the number of workers; the column around it says how far it may.
    const column = this._node.parentElement!;
    const others = [...column.children].filter(child => child !== this._node);
    const used = others.reduce((sum, child) => sum + (child as HTMLElement).offsetHeight, 0);
    const room = Math.max(LOWEST, column.clientHeight - used - this._curves.offsetHeight);
    const width = this._bars.clientWidth;
    if (width && (room !== this._room || width !== this._width)) {
      [this._room, this._width] = [room, width];
      this._model.resize(this._plot.frame.width, Math.max(1, Math.floor(room / SMALLEST)));
      this._drawn = null;
      this._onModel();
    }
  }

  private _draw(): void {
    const { picture, colourBy, area, shown } = this._model;
    const { _look: look } = this;
    this._node.dataset.rows = String(picture?.rows.length ?? '');
    if (!picture || !look) {
      return;
    }
    const key = [picture, colourBy];
    if (!this._drawn || key.some((part, i) => part !== this._drawn![i])) {
      this._drawn = key;
      this._places = placeRows(picture, this._room - EDGES);
      this._bars.style.flexBasis = `${Math.ceil(this._places.total) + EDGES}px`;
      this._plot.resize();
      this._plot.draw(sceneOf(picture, this._places, look, colourBy, this._trans));
      this._keepCursor(picture);
    }
    this._plot.show(shown);
    this._plot.choose(this._dragged ?? area);
    this._mark(picture);
    const words = this._trans.__(
      '%1. Arrow keys move between tasks, Enter opens one.',
      summary(picture, this._trans)
    );
    if (this._pane.getAttribute('aria-label') !== words) {
      this._pane.setAttribute('aria-label', words);
    }
    this._node.dataset.since = String(shown.since);
    this._node.dataset.until = String(shown.until);
  }

  private _mark(picture: ITimeline): void {
    const { task } = this._selection;
    const place = task === null ? null : placeOf(picture, task);
    const box = (at: Cursor | null) =>
      at && this._places ? markOf(picture, this._places, at[0], this._bar(picture, at)) : noBoxes();
    this._plot.mark(box(place), box(this._keyboard ? this._cursor : null));
    this._showTooltip(picture, this._hovered ?? (this._keyboard ? this._cursor : null));
  }

  private _bar(picture: ITimeline, [row, bar]: Cursor): IBar {
    return barOf(picture.rows[row].bars[bar]);
  }

  /** The bars of a new picture are others: the cursor stays at its time. */
  private _keepCursor(picture: ITimeline): void {
    this._hovered = null;
    if (this._cursor) {
      const row = Math.min(this._cursor[0], picture.rows.length - 1);
      const bar = barAt(picture.rows[row]?.bars ?? [], this._cursorTime, Infinity);
      this._cursor = bar < 0 ? null : [row, bar];
    }
  }

  // ----- pointer

  private _listen(): void {
    const pane = this._pane;
    pane.addEventListener('pointerdown', event => this._onDown(event));
    pane.addEventListener('pointermove', event => this._onMove(event));
    pane.addEventListener('pointerup', event => this._onUp(event));
    pane.addEventListener('pointercancel', () => this._endDrag());
    pane.addEventListener('pointerleave', () => this._hover(null));
    pane.addEventListener('dblclick', () => this._model.show(null));
    pane.addEventListener('wheel', event => this._onWheel(event), { passive: false });
    pane.addEventListener('keydown', event => this._onKey(event));
    pane.addEventListener('blur', () => this._setKeyboard(false));
  }

  private _timeAt(x: number): number {
    const { since, until } = this._model.shown;
    const { left, width } = this._plot.frame;
    return since + ((x - left) / width) * (until - since);
  }

  private _cursorAt(x: number, y: number): Cursor | null {
    const { picture, shown } = this._model;
    if (!picture || !this._places || y > this._bars.clientHeight) {
      return null;
    }
    const row = rowAt(this._places, y);
    const top = this._places.tops[row];
    if (row < 0 || y < top || y > top + this._places.height) {
      return null;
    }
    const reach = ((shown.until - shown.since) / this._plot.frame.width) * REACH;
    const bar = barAt(picture.rows[row].bars, this._timeAt(x), reach);
    return bar < 0 ? null : [row, bar];
  }

  private _onDown(event: PointerEvent): void {
    if (event.button === 0 && this._model.picture) {
      this._start = { x: event.offsetX, y: event.offsetY };
      this._pane.setPointerCapture(event.pointerId);
      this._setKeyboard(false);
    }
  }

  private _onMove(event: PointerEvent): void {
    const start = this._start;
    if (!start) {
      this._hover(this._cursorAt(event.offsetX, event.offsetY));
      return;
    }
    if (this._dragged || Math.hypot(event.offsetX - start.x, event.offsetY - start.y) > CLICK_RADIUS) {
      this._hover(null);
      const times = [this._timeAt(start.x), this._timeAt(event.offsetX)].sort((a, b) => a - b);
      const { since, until } = this._model.shown;
      this._dragged = {
        since: Math.max(since, times[0]),
        until: Math.min(until, times[1]),
        rows: this._rowsBetween(start.y, event.offsetY)
      };
      this._onModel();
    }
  }

  /** The rows between two heights; below the bars, a brush selects all rows. */
  private _rowsBetween(from: number, to: number): [number, number] {
    const last = (this._model.picture?.rows.length ?? 1) - 1;
    if (from > this._bars.clientHeight || !this._places) {
      return [0, last];
    }
    const rows = [from, to].map(y => rowAt(this._places!, y)).sort((a, b) => a - b);
    return [Math.max(0, rows[0]), Math.max(0, rows[1])];
  }

  private _onUp(event: PointerEvent): void {
    const [start, dragged] = [this._start, this._dragged];
    this._endDrag();
    if (dragged) {
      this._model.choose(dragged);
    } else if (start) {
      const cursor = this._cursorAt(event.offsetX, event.offsetY);
      this._model.choose(null);
      this._open(cursor);
    }
  }

  private _endDrag(): void {
    this._start = this._dragged = null;
    this._onModel();
  }

  /** Opens the task of a bar; a bar of several tasks is shown larger, until its tasks can be told apart. */
  private _open(cursor: Cursor | null): void {
    const { picture } = this._model;
    if (!cursor || !picture) {
      this._selection.select(null);
      return;
    }
    this._setCursor(cursor);
    const bar = this._bar(picture, cursor);
    if (bar.tasks === 1) {
      this._selection.select(bar.task);
    } else {
      const length = bar.end - bar.start;
      this._model.show({ since: bar.start - length / 2, until: bar.end + length / 2 });
    }
  }

  private _onWheel(event: WheelEvent): void {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const [dx, dy] = [event.deltaX * lines, event.deltaY * lines];
    const sideways = event.shiftKey ? dx || dy : Math.abs(dx) > Math.abs(dy) ? dx : 0;
    if (sideways) {
      this._model.move(sideways / this._plot.frame.width);
    } else {
      this._model.zoom(Math.exp(-dy * 0.0016), this._timeAt(event.offsetX));
    }
  }

  private _hover(cursor: Cursor | null): void {
    if (cursor?.[0] !== this._hovered?.[0] || cursor?.[1] !== this._hovered?.[1]) {
      this._hovered = cursor;
      this._pane.classList.toggle('parslab-mod-over', cursor !== null);
      this._onModel();
    }
  }

  private _showTooltip(picture: ITimeline, cursor: Cursor | null): void {
    this._tooltip.hidden = !cursor || !this._places;
    if (!cursor || !this._places) {
      return;
    }
    const bar = this._bar(picture, cursor);
    this._tooltip.textContent = this._words(picture, cursor);
    const { left, width } = this._plot.frame;
    const { since, until } = this._model.shown;
    const middle = left + (((bar.start + bar.end) / 2 - since) / (until - since)) * width;
    const { offsetWidth, offsetHeight } = this._tooltip;
    const x = Math.max(2, Math.min(middle - offsetWidth / 2, this._node.clientWidth - offsetWidth - 2));
    const top = this._places.tops[cursor[0]];
    const above = top - offsetHeight - 4;
    const y = above > 0 ? above : top + this._places.height + 4;
    this._tooltip.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
  }

  private _words(picture: ITimeline, cursor: Cursor): string {
    return barWords(this._bar(picture, cursor), picture.rows[cursor[0]], picture.apps, this._trans);
  }

  // ----- keys

  private _onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    const { picture } = this._model;
    if (event.key.startsWith('Arrow') && picture) {
      this._step(picture, event.key, event.shiftKey);
    } else if ((event.key === 'Enter' || event.key === ' ') && this._cursor) {
      this._open(this._cursor);
    } else if (event.key === '+' || event.key === '=') {
      this._model.zoom(ZOOM_STEP, this._cursor ? this._cursorTime : undefined);
    } else if (event.key === '-') {
      this._model.zoom(1 / ZOOM_STEP, this._cursor ? this._cursorTime : undefined);
    } else if (event.key === '0') {
      this._model.show(null);
    } else if (event.key === 'PageUp' || event.key === 'PageDown') {
      this._model.move(event.key === 'PageUp' ? -MOVE_STEP : MOVE_STEP);
    } else if (event.key === 'Escape' && (this._model.area || this._selection.task !== null)) {
      this._model.choose(null);
      this._selection.select(null);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  /** Moves the cursor to the next bar; with Shift, the area from where the cursor was grows to it. */
  private _step(picture: ITimeline, key: string, extend: boolean): void {
    const from = this._cursor;
    const to = from ? next(picture, from, key, this._cursorTime) : first(picture);
    if (!to) {
      return;
    }
    if (!extend) {
      this._anchor = null;
    } else if (from) {
      this._anchor ??= { row: from[0], bar: this._bar(picture, from) };
    }
    const time = this._cursorTime;
    this._setCursor(to);
    if (key === 'ArrowUp' || key === 'ArrowDown') {
      this._cursorTime = from ? time : this._cursorTime;
    }
    this._keyboard = true;
    const bar = this._bar(picture, to);
    this._reveal(bar);
    this._spoken.textContent = `${rowName(picture.rows[to[0]], this._trans)}: ${this._words(picture, to)}`;
    if (this._anchor) {
      const { row, bar: other } = this._anchor;
      this._model.choose({
        since: Math.min(bar.start, other.start),
        until: Math.max(bar.end, other.end),
        rows: [Math.min(row, to[0]), Math.max(row, to[0])]
      });
    }
    this._onModel();
  }

  private _setCursor(cursor: Cursor): void {
    this._cursor = cursor;
    const bar = this._bar(this._model.picture!, cursor);
    this._cursorTime = (bar.start + bar.end) / 2;
  }

  /** Moves the window so far that the middle of a bar is in it. */
  private _reveal(bar: IBar): void {
    const { since, until } = this._model.shown;
    const middle = (bar.start + bar.end) / 2;
    if (middle < since || middle > until) {
      this._model.move((middle - (since + until) / 2) / (until - since));
    }
  }

  private _setKeyboard(keyboard: boolean): void {
    this._keyboard = keyboard;
    this._onModel();
  }

  private _plot: TimelinePlot;
  private _bars = document.createElement('div');
  private _curves = document.createElement('div');
  private _pane = document.createElement('div');
  private _tooltip = document.createElement('div');
  private _spoken = document.createElement('div');
  private _resized = new ResizeObserver(() => this._onSize());
  private _ready = false;
  private _look: ILook | null = null;
  private _places: IRowPlaces | null = null;
  /** What the drawn scene was made from. */
  private _drawn: readonly unknown[] | null = null;
  /** The height that there is for the bars, and the width of the chart. */
  private _room = 0;
  private _width = 0;
  private _frame = 0;
  private _hovered: Cursor | null = null;
  /** The bar that the keys move from, and its time. */
  private _cursor: Cursor | null = null;
  private _cursorTime = 0;
  /** Where an area began that grows with the keys. */
  private _anchor: { row: number; bar: IBar } | null = null;
  /** Whether the last input was a key, so that the chart marks the cursor. */
  private _keyboard = false;
  private _start: { x: number; y: number } | null = null;
  private _dragged: TimelineModel['area'] = null;
}

/** The first bar of the picture. */
function first(picture: ITimeline): Cursor | null {
  const row = picture.rows.findIndex(one => one.bars.length > 0);
  return row < 0 ? null : [row, 0];
}

/** The bar beside another one in its row, or at the same time in the next row that has any; null for none. */
function next(picture: ITimeline, [row, bar]: Cursor, key: string, time: number): Cursor | null {
  if (key === 'ArrowLeft' || key === 'ArrowRight') {
    const to = bar + (key === 'ArrowRight' ? 1 : -1);
    return picture.rows[row].bars[to] ? [row, to] : null;
  }
  const step = key === 'ArrowDown' ? 1 : -1;
  for (let to = row + step; picture.rows[to]; to += step) {
    const near = barAt(picture.rows[to].bars, time, Infinity);
    if (near >= 0) {
      return [to, near];
    }
  }
  return null;
}
