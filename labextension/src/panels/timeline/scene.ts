/** Turns a picture of the run into rectangles and texts. */
import type { TranslationBundle } from '@jupyterlab/translation';

import type { ColourBy, IBar } from '../../model/timeline';
import { barOf } from '../../model/timeline';
import type { ITimeline, ITimelineRow } from '../../protocol';
import type { IRowPlaces } from './geometry';
import type { ILook } from './look';
import type { IBoxes, IScene } from './plot';
import { noBoxes } from './plot';
import { headingOf } from './words';

/** Opacity of a bar of several tasks between which the worker was idle nearly all the time. */
const FAINTEST = 0.3;
/** From this height on, rows have a gap between them. */
const TALL = 6;

/** The scene of a picture; `now` is the time until which connected workers are drawn as idle. */
export function sceneOf(
  picture: ITimeline,
  places: IRowPlaces,
  look: ILook,
  by: ColourBy,
  trans: TranslationBundle
): IScene {
  const [idle, bars, failed] = [noBoxes(), noBoxes(), noBoxes()];
  picture.rows.forEach((row, i) => {
    if (row.names.some(name => name)) {
      const since = Math.max(row.since ?? picture.first, picture.since);
      const until = Math.min(row.until ?? picture.last, picture.until);
      if (until > since) {
        push(idle, { start: since, end: until }, edges(places, i), look.idle, 1);
      }
    }
    for (const fields of row.bars) {
      const bar = barOf(fields);
      push(
        bar.failed || bar.state === 'failed' ? failed : bars,
        bar,
        barEdges(bar, row, places, i),
        ...paint(bar, row, look, by)
      );
    }
  });
  return {
    places,
    idle,
    bars,
    failed,
    headings: places.headings.map(heading => headingOf(picture.rows[heading.row], trans)),
    utilisation: picture.utilisation
  };
}

/** The rectangle around one bar, for a mark. */
export function markOf(picture: ITimeline, places: IRowPlaces, row: number, bar: IBar): IBoxes {
  const boxes = noBoxes();
  push(boxes, bar, barEdges(bar, picture.rows[row], places, row), '#000000', 0);
  return boxes;
}

/** Where a task is alone in its bar: row and place of the bar. */
export function placeOf(picture: ITimeline, task: number): readonly [number, number] | null {
  for (let row = 0; row < picture.rows.length; row++) {
    const at = picture.rows[row].bars.findIndex(bar => bar[3] === task && bar[2] === 1);
    if (at >= 0) {
      return [row, at];
    }
  }
  return null;
}

function paint(bar: IBar, row: ITimelineRow, look: ILook, by: ColourBy): [string, number] {
  const colour =
    by === 'app' && bar.app >= 0
      ? (look.apps[bar.app] ?? look.others)
      : by === 'app'
        ? look.others
        : (look.states.get(bar.state) ?? look.others);
  const share = bar.tasks > 1 && row.workers === 1 ? bar.busy / Math.max(bar.end - bar.start, 1e-9) : 1;
  return [colour, FAINTEST + (1 - FAINTEST) * Math.min(1, share)];
}

function edges(places: IRowPlaces, row: number): [number, number] {
  const gap = places.height >= TALL ? 1 : 0;
  return [places.tops[row] + gap, places.tops[row] + places.height - gap];
}

/** Top and bottom of a bar: in a row of several workers, its height says how many of them were busy. */
function barEdges(bar: IBar, row: ITimelineRow, places: IRowPlaces, index: number): [number, number] {
  const [top, bottom] = edges(places, index);
  const share = row.workers > 1 ? bar.busy / Math.max((bar.end - bar.start) * row.workers, 1e-9) : 1;
  return [bottom - (bottom - top) * Math.min(1, share), bottom];
}

function push(
  boxes: IBoxes,
  { start, end }: { start: number; end: number },
  [top, bottom]: [number, number],
  colour: string,
  alpha: number
): void {
  boxes.left.push(start);
  boxes.right.push(end);
  boxes.top.push(top);
  boxes.bottom.push(bottom);
  boxes.colour.push(colour);
  boxes.alpha.push(alpha);
}
