/** Where the rows of the timeline are: pure arithmetic between rows and pixels from the top of the picture. */
import type { ITimeline, ITimelineRow } from '../../protocol';

/** Heights in pixels. */
const HEADING = 17;
const TALLEST = 18;
export const SMALLEST = 4;
/** Largest share of the height for headings; a picture with more of them has none. */
const HEADINGS = 0.4;
/** Pixels between two groups of rows without headings. */
const GAP = 2;

export interface IHeading {
  /** Its first row. */
  readonly row: number;
  readonly top: number;
  readonly height: number;
}

export interface IRowPlaces {
  readonly tops: readonly number[];
  readonly height: number;
  readonly headings: readonly IHeading[];
  /** The height of all rows. */
  readonly total: number;
}

/** What rows below one heading have in common. */
export function groupOf(row: ITimelineRow, by: ITimeline['by']): string {
  const parts = { worker: [row.block, row.node], node: [row.block], block: [], executor: [] }[by];
  return JSON.stringify([row.executor, ...parts]);
}

/** Places the rows, with a heading above each group if there is room. */
export function placeRows(picture: ITimeline, room: number): IRowPlaces {
  const { rows, by } = picture;
  const starts = rows.map((row, i) => i === 0 || groupOf(row, by) !== groupOf(rows[i - 1], by));
  const groups = starts.filter(start => start).length;
  const headed =
    groups * HEADING <= room * HEADINGS && (room - groups * HEADING) / Math.max(1, rows.length) >= SMALLEST;
  const above = headed ? HEADING : GAP;
  const height = Math.max(1, Math.min(TALLEST, (room - groups * above) / Math.max(1, rows.length)));
  const tops: number[] = [];
  const headings: IHeading[] = [];
  let y = 0;
  rows.forEach((_, row) => {
    if (starts[row]) {
      if (headed) {
        headings.push({ row, top: y, height: above });
      }
      y += above;
    }
    tops.push(y);
    y += height;
  });
  return { tops, height, headings, total: Math.max(1, y) };
}

/** The row at this height, or the nearest one; -1 without rows. */
export function rowAt({ tops, height }: IRowPlaces, y: number): number {
  let best = -1;
  let distance = Infinity;
  tops.forEach((top, row) => {
    const away = Math.max(top - y, y - top - height, 0);
    if (away < distance) {
      [best, distance] = [row, away];
    }
  });
  return best;
}

/** Round times between two times, few enough that their labels have room. */
export function roundTimes(since: number, until: number, most: number): number[] {
  const least = (until - since) / Math.max(1, most);
  const step = (least > STEPS[0] && STEPS.find(one => one >= least)) || decimal(least);
  const first = Math.ceil(since / step - 1e-9);
  const last = Math.floor(until / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) =>
    Number(((first + i) * step).toPrecision(12))
  );
}

/** Steps in seconds: decimal below ten seconds, then parts of minutes, hours and days. */
const STEPS = [
  ...[-3, -2, -1, 0].flatMap(power => [1, 2, 5].map(digit => digit * 10 ** power)),
  ...[10, 20, 30, 60, 120, 300, 600, 1200, 1800],
  ...[1, 2, 4, 6, 12, 24, 48, 120, 240].map(hours => hours * 3600)
];

function decimal(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-9)));
  return power * ([1, 2, 5, 10].find(digit => digit * power >= least) ?? 10);
}

/**
 * A time since the run began as a short label, with as many digits as the step needs: `0.2 s`, `1:30`, `2:00:00`.
 * `longest` is the largest time on the same axis.
 */
export function timeLabel(time: number, step: number, longest = time): string {
  if (Math.abs(longest) < 60) {
    const digits = step >= 1 ? 0 : Math.ceil(-Math.log10(step) - 1e-9);
    return `${time.toFixed(Math.max(0, digits))} s`;
  }
  const sign = time < 0 ? '-' : '';
  const whole = Math.abs(time);
  const rest =
    step < 1 ? (whole % 60).toFixed(Math.ceil(-Math.log10(step) - 1e-9)) : String(Math.round(whole % 60));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  const seconds = rest.padStart(step < 1 ? 3 + Math.ceil(-Math.log10(step) - 1e-9) : 2, '0');
  const minute = hours ? String(minutes).padStart(2, '0') : String(minutes);
  return `${sign}${hours ? `${hours}:` : ''}${minute}:${seconds}`;
}

/** A number of workers or tasks as a short label: `12`, `1.5k`, `100k`, `2M`. */
export function shortCount(value: number): string {
  for (const [unit, size] of [
    ['M', 1e6],
    ['k', 1e3]
  ] as const) {
    if (value >= size) {
      return `${Number((value / size).toPrecision(2))}${unit}`;
    }
  }
  return String(Number(value.toPrecision(3)));
}
