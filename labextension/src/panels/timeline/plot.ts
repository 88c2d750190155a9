/**
 * Draws the bars and the utilisation with Bokeh.
 *
 * Only the parts of Bokeh that draw are used. Pointer and keys belong to the chart, as in the graph. Nothing here needs
 * `eval`, a font or a file of another server.
 */
import { add_document_standalone } from '@bokeh/bokehjs/build/js/lib/embed/standalone';
import { Document } from '@bokeh/bokehjs/build/js/lib/document';
import { set_log_level } from '@bokeh/bokehjs/build/js/lib/core/logging';
import { BoxAnnotation } from '@bokeh/bokehjs/build/js/lib/models/annotations/box_annotation';
import { LinearAxis } from '@bokeh/bokehjs/build/js/lib/models/axes/linear_axis';
import { TickFormatter } from '@bokeh/bokehjs/build/js/lib/models/formatters/tick_formatter';
import { Quad } from '@bokeh/bokehjs/build/js/lib/models/glyphs/quad';
import { Step } from '@bokeh/bokehjs/build/js/lib/models/glyphs/step';
import { Text } from '@bokeh/bokehjs/build/js/lib/models/glyphs/text';
import { Grid } from '@bokeh/bokehjs/build/js/lib/models/grids/grid';
import { Plot } from '@bokeh/bokehjs/build/js/lib/models/plots/plot';
import type { PlotView } from '@bokeh/bokehjs/build/js/lib/models/plots/plot_canvas';
import { Range1d } from '@bokeh/bokehjs/build/js/lib/models/ranges/range1d';
import type { Glyph } from '@bokeh/bokehjs/build/js/lib/models/glyphs/glyph';
import { GlyphRenderer } from '@bokeh/bokehjs/build/js/lib/models/renderers/glyph_renderer';
import { LinearScale } from '@bokeh/bokehjs/build/js/lib/models/scales/linear_scale';
import { ColumnDataSource } from '@bokeh/bokehjs/build/js/lib/models/sources/column_data_source';
import { BasicTicker } from '@bokeh/bokehjs/build/js/lib/models/tickers/basic_ticker';
import { FixedTicker } from '@bokeh/bokehjs/build/js/lib/models/tickers/fixed_ticker';
import type { ViewManager } from '@bokeh/bokehjs/build/js/lib/core/view_manager';

import type { IArea, IWindow } from '../../model/timeline';
import type { UtilisationPoint } from '../../protocol';
import type { IRowPlaces } from './geometry';
import { roundTimes, shortCount, timeLabel } from './geometry';
import type { ILook } from './look';

/** Pixels beside the plots: for the numbers of workers on the left, and of tasks on the right. */
const LEFT = 34;
const RIGHT = 36;
/** Pixels above the frame of the bars. */
const EDGE = 1;
/** Pixels that the label of a time needs. */
const LABEL = 62;

/** Rectangles, in columns as Bokeh wants them. */
export interface IBoxes {
  left: number[];
  right: number[];
  top: number[];
  bottom: number[];
  colour: string[];
  alpha: number[];
}

export function noBoxes(): IBoxes {
  return { left: [], right: [], top: [], bottom: [], colour: [], alpha: [] };
}

export interface IScene {
  readonly places: IRowPlaces;
  readonly idle: IBoxes;
  readonly bars: IBoxes;
  /** Bars with failed tasks: they are hatched, because colour must not be the only difference. */
  readonly failed: IBoxes;
  readonly headings: readonly string[];
  readonly utilisation: readonly UtilisationPoint[];
}

class TimeFormatter extends TickFormatter {
  step = 1;

  doFormat(ticks: number[]): string[] {
    const longest = Math.max(0, ...ticks.map(Math.abs));
    return ticks.map(tick => timeLabel(tick, this.step, longest));
  }
}

class CountFormatter extends TickFormatter {
  doFormat(ticks: number[]): string[] {
    return ticks.map(shortCount);
  }
}

export class TimelinePlot {
  constructor(
    private _barsHost: HTMLElement,
    private _curvesHost: HTMLElement
  ) {
    this._assemble();
  }

  /** Builds the plots; resolves when they are on the page. */
  async build(): Promise<void> {
    set_log_level('error');
    this.resize();
    const document = new Document();
    [this._bars, this._curves].forEach(plot => document.add_root(plot));
    this._views = await add_document_standalone(document, this._barsHost, [this._barsHost, this._curvesHost]);
    this._document = document;
    for (const plot of [this._bars, this._curves]) {
      // The chart above the plots has the focus.
      this._view(plot).canvas_view.events_el.tabIndex = -1;
    }
  }

  /** The part of the width that shows the window, in pixels. */
  get frame(): { left: number; width: number } {
    return { left: LEFT, width: Math.max(1, this._barsHost.clientWidth - LEFT - RIGHT) };
  }

  /** Gives the plots the size of their hosts. */
  resize(): void {
    for (const [plot, host] of [
      [this._bars, this._barsHost],
      [this._curves, this._curvesHost]
    ] as const) {
      plot.setv({ width: host.clientWidth, height: host.clientHeight });
    }
  }

  restyle(look: ILook): void {
    const font = { text_font: look.font, text_font_size: look.fontSize, text_color: look.quiet };
    for (const plot of [this._bars, this._curves]) {
      plot.setv({ background_fill_alpha: 0, border_fill_alpha: 0, outline_line_color: look.grid });
    }
    for (const axis of [this._times, this._workersAxis, this._tasksAxis]) {
      axis.setv({
        axis_line_color: null,
        major_tick_line_color: look.grid,
        minor_tick_line_color: null,
        major_label_text_font: look.font,
        major_label_text_font_size: look.fontSize,
        major_label_text_color: look.quiet
      });
    }
    this._tasksAxis.major_label_text_color = look.waiting;
    this._grids.forEach(grid => grid.setv({ grid_line_color: look.grid, grid_line_alpha: 0.6 }));
    this._headings.setv({ ...font, text_baseline: 'middle' });
    this._hatched.setv({ hatch_pattern: 'right_diagonal_line', hatch_color: look.text, hatch_alpha: 0.55 });
    this._busy.setv({ fill_color: look.busy, fill_alpha: 0.35, line_color: null });
    this._connected.setv({ line_color: look.connected, line_width: 1.5 });
    this._waiting.setv({ line_color: look.waiting, line_width: 1.5, line_dash: [4, 2] });
    this._mark.setv({ line_color: look.mark, line_width: 2, fill_alpha: 0 });
    this._focus.setv({ line_color: look.mark, line_width: 1.2, line_dash: [3, 2], fill_alpha: 0 });
    for (const area of [this._area, this._areaBelow]) {
      area.setv({
        fill_color: look.mark,
        fill_alpha: 0.08,
        line_color: look.mark,
        line_alpha: 0.8,
        line_width: 1
      });
    }
  }

  draw(scene: IScene): void {
    const { places, utilisation } = scene;
    this._places = places;
    this._rows.setv({ start: this._barsHost.clientHeight - EDGE, end: 0 });
    this._idleSource.data = { ...scene.idle };
    this._barSource.data = { ...scene.bars };
    this._failedSource.data = { ...scene.failed };
    this._headingSource.data = {
      y: places.headings.map(heading => heading.top + heading.height / 2 + 1),
      text: [...scene.headings],
      x: places.headings.map(() => this._x.start)
    };
    const [time, connected, busy, waiting] = [0, 1, 2, 3].map(i => utilisation.map(point => point[i]));
    this._curveSource.data = { time, connected, waiting };
    this._busySource.data = { left: time.slice(0, -1), right: time.slice(1), top: busy.slice(0, -1) };
    this._workers.setv({ start: 0, end: Math.max(1, ...connected, ...busy) * 1.12 });
    this._tasks.setv({ start: 0, end: Math.max(1, ...waiting) * 1.12 });
  }

  show({ since, until }: IWindow): void {
    const ticks = roundTimes(since, until, Math.max(2, this.frame.width / LABEL));
    this._timeFormatter.step = ticks.length > 1 ? ticks[1] - ticks[0] : until - since;
    this._ticker.ticks = ticks;
    this._x.setv({ start: since, end: until });
    if (this._headingSource.length) {
      const { y, text } = this._headingSource.data as { y: number[]; text: string[] };
      this._headingSource.data = { y, text, x: y.map(() => since) };
    }
  }

  /** Marks the selected and the focused bars. */
  mark(selected: IBoxes, focused: IBoxes): void {
    this._markSource.data = { ...selected };
    this._focusSource.data = { ...focused };
  }

  /** Draws the chosen area. */
  choose(area: IArea | null): void {
    const visible = area !== null && this._places !== null;
    this._area.visible = this._areaBelow.visible = visible;
    if (visible) {
      const { tops, height } = this._places!;
      const [first, last] = area.rows.map(row => Math.min(row, tops.length - 1));
      this._area.setv({
        left: area.since,
        right: area.until,
        top: tops[first] ?? 0,
        bottom: (tops[last] ?? 0) + height
      });
      this._areaBelow.setv({ left: area.since, right: area.until });
    }
  }

  dispose(): void {
    this._document?.clear();
    this._views = null;
  }

  private _view(plot: Plot): PlotView {
    return this._views!.get(plot) as PlotView;
  }

  private _add(plot: Plot, source: ColumnDataSource, glyph: Glyph, ranges: { y_range_name?: string } = {}): void {
    plot.add_renderers(new GlyphRenderer({ data_source: source, glyph, ...ranges }));
  }

  private _plot(y: Range1d): Plot {
    return new Plot({
      x_range: this._x,
      y_range: y,
      x_scale: new LinearScale(),
      y_scale: new LinearScale(),
      sizing_mode: 'fixed',
      min_border: 0,
      min_border_left: LEFT,
      min_border_right: RIGHT,
      min_border_top: EDGE,
      toolbar_location: null,
      title: null,
      // The chart draws in one go: there is nothing to draw with fewer points while it moves.
      lod_threshold: null
    });
  }

  private _assemble(): void {
    const { _bars: bars, _curves: curves } = this;
    bars.add_layout(this._grids[0], 'center');
    this._add(bars, this._idleSource, boxes());
    this._add(bars, this._barSource, boxes());
    this._add(bars, this._failedSource, this._hatched);
    this._add(bars, this._headingSource, this._headings);
    this._add(bars, this._markSource, this._mark);
    this._add(bars, this._focusSource, this._focus);
    bars.add_layout(this._area);
    curves.extra_y_ranges = { tasks: this._tasks };
    curves.extra_y_scales = { tasks: new LinearScale() };
    curves.add_layout(this._grids[1], 'center');
    curves.add_layout(this._times, 'below');
    curves.add_layout(this._workersAxis, 'left');
    curves.add_layout(this._tasksAxis, 'right');
    this._add(curves, this._busySource, this._busy);
    this._add(curves, this._curveSource, this._connected);
    this._add(curves, this._curveSource, this._waiting, { y_range_name: 'tasks' });
    curves.add_layout(this._areaBelow);
  }

  private _document: Document | null = null;
  private _views: ViewManager | null = null;
  private _places: IRowPlaces | null = null;

  private _x = new Range1d({ start: 0, end: 1 });
  private _rows = new Range1d({ start: 1, end: 0 });
  private _workers = new Range1d({ start: 0, end: 1 });
  private _tasks = new Range1d({ start: 0, end: 1 });
  private _bars = this._plot(this._rows);
  private _curves = this._plot(this._workers);

  private _ticker = new FixedTicker({ ticks: [] });
  private _timeFormatter = new TimeFormatter();
  private _times = new LinearAxis({ ticker: this._ticker, formatter: this._timeFormatter });
  private _workersAxis = counts();
  private _tasksAxis = counts('tasks');
  private _grids = [
    new Grid({ dimension: 0, ticker: this._ticker }),
    new Grid({ dimension: 0, ticker: this._ticker })
  ];

  private _idleSource = source(noBoxes());
  private _barSource = source(noBoxes());
  private _failedSource = source(noBoxes());
  private _headingSource = source({ x: [], y: [], text: [] });
  private _curveSource = source({ time: [], connected: [], waiting: [] });
  private _busySource = source({ left: [], right: [], top: [] });
  private _markSource = source(noBoxes());
  private _focusSource = source(noBoxes());

  private _hatched = boxes();
  private _headings = new Text({ x: field('x'), y: field('y'), text: field('text'), x_offset: 4 });
  private _busy = new Quad({
    left: field('left'),
    right: field('right'),
    top: field('top'),
    bottom: { value: 0 }
  });
  private _connected = new Step({ x: field('time'), y: field('connected'), mode: 'after' });
  private _waiting = new Step({ x: field('time'), y: field('waiting'), mode: 'after' });
  private _mark = boxes();
  private _focus = boxes();
  private _area = new BoxAnnotation({ visible: false, level: 'overlay' });
  private _areaBelow = new BoxAnnotation({ visible: false, level: 'overlay' });
}

function field(name: string): { field: string } {
  return { field: name };
}

function source(data: object): ColumnDataSource {
  return new ColumnDataSource({ data: { ...data } });
}

function boxes(): Quad {
  return new Quad({
    left: field('left'),
    right: field('right'),
    top: field('top'),
    bottom: field('bottom'),
    fill_color: field('colour'),
    fill_alpha: field('alpha'),
    line_color: null
  });
}

function counts(range?: string): LinearAxis {
  return new LinearAxis({
    ticker: new BasicTicker({ desired_num_ticks: 3, num_minor_ticks: 0 }),
    formatter: new CountFormatter(),
    ...(range ? { y_range_name: range } : {})
  });
}
