// @vitest-environment jsdom
import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { barAt, LONGEST_PAUSE, REFRESH, TimelineModel } from '../src/model/timeline';
import { placeRows, rowAt, roundTimes, shortCount, timeLabel } from '../src/panels/timeline/geometry';
import { Foot, Head } from '../src/panels/timeline/head';
import { plain } from '../src/panels/timeline/look';
import { barWords, headingOf, rowName, summary } from '../src/panels/timeline/words';
import type { ITimelineRequest, TimelineBar } from '../src/protocol';
import { Rendered } from './render';
import { liveRuns } from './runs';
import { delta, INFO, timeline, timelineRow } from './samples';

const trans = nullTranslator.load('parslab');
const BARS: TimelineBar[] = [
  [1, 2, 1, 7, 0, 'exec_done', 0, 1],
  [4, 5, 30, 8, 1, 'failed', 2, 0.5]
];

let view: Rendered | undefined;

beforeEach(() => void vi.useFakeTimers());
afterEach(() => {
  view?.close();
  view = undefined;
  vi.useRealTimers();
});

function model() {
  const all = liveRuns();
  const shown = new TimelineModel(all.runs);
  shown.active = true;
  shown.resize(400, 50);
  const asked = () => all.connection.sent.filter((one): one is ITimelineRequest => one.type === 'TimelineRequest');
  const answer = async (part: Parameters<typeof timeline>[0] = {}) => {
    const requests = asked();
    all.connection.receive(timeline({ request_id: requests[requests.length - 1].request_id, ...part }));
    await vi.advanceTimersByTimeAsync(0);
  };
  return { ...all, model: shown, asked, answer };
}

describe('the model of the timeline', () => {
  it('asks for the whole run, as wide as the view', async () => {
    const { model: shown, asked, answer } = model();
    expect(asked()).toMatchObject([{ since: null, until: null, pixels: 400, rows: 50 }]);
    await answer();
    expect(shown.picture?.rows).toHaveLength(1);
    expect(shown.shown).toMatchObject({ since: 0, until: 10 });
  });

  it('asks again while the run goes on, but not more often than it should', async () => {
    const { asked, answer, connection } = model();
    await answer();
    for (let seq = 6; seq < 16; seq++) {
      connection.receive(delta(seq));
      await vi.advanceTimersByTimeAsync(REFRESH / 10);
    }
    expect(asked()).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(10 * REFRESH);
    // The second request has no answer yet.
    connection.receive(delta(16));
    expect(asked()).toHaveLength(2);
    await answer();
    await vi.advanceTimersByTimeAsync(LONGEST_PAUSE);
    expect(asked()).toHaveLength(3);
  });

  it('asks nothing while it is hidden', async () => {
    const { model: shown, asked, answer, connection } = model();
    await answer();
    shown.active = false;
    connection.receive(delta(6));
    await vi.advanceTimersByTimeAsync(10 * REFRESH);
    expect(asked()).toHaveLength(1);
    shown.active = true;
    await vi.advanceTimersByTimeAsync(0);
    expect(asked()).toHaveLength(2);
  });

  it('asks for the window that the user has zoomed to, when it has come to rest', async () => {
    const { model: shown, asked, answer } = model();
    await answer();
    shown.zoom(2, 4);
    shown.zoom(2, 4);
    expect(shown.shown).toEqual({ since: 3, until: 5.5 });
    await vi.advanceTimersByTimeAsync(REFRESH);
    expect(asked()).toHaveLength(2);
    expect(asked()[1]).toMatchObject({ since: 3, until: 5.5 });
    shown.show(null);
    expect(shown.shown).toMatchObject({ since: 0, until: 10 });
  });

  it('keeps the window near the run', async () => {
    const { model: shown, answer } = model();
    await answer();
    shown.zoom(1e-6);
    expect(shown.shown.until - shown.shown.since).toBeCloseTo(15);
    shown.zoom(1e9);
    expect(shown.shown.until - shown.shown.since).toBeCloseTo(0.002);
    shown.move(1e9);
    expect(shown.shown.since).toBeLessThan(10);
  });

  it('keeps the last picture when the run ends, and says why one cannot be made', async () => {
    const { model: shown, asked, answer, connection } = model();
    const { request_id } = asked()[0];
    connection.receive({ type: 'ErrorReply', request_id, text: 'The database could not be read.' });
    await vi.advanceTimersByTimeAsync(0);
    expect(shown.problem).toBe('The database could not be read.');
    connection.receive(delta(6));
    await vi.advanceTimersByTimeAsync(REFRESH);
    await answer();
    expect(shown.problem).toBe('');
    connection.receive(delta(7, { run: { ...INFO, ended: 1010 } }));
    await vi.advanceTimersByTimeAsync(10 * REFRESH);
    expect(asked()).toHaveLength(2);
    expect(shown.picture).not.toBeNull();
  });
});

describe('the places of rows', () => {
  const rows = [0, 1].flatMap(node =>
    [0, 1, 2].map(() => timelineRow({ executor: 'htex', block: '0', node: `m${node}`, names: [`m${node}`] }))
  );

  it('have a heading for each node if there is room', () => {
    const places = placeRows(timeline({ rows }), 400);
    expect(places.headings.map(heading => heading.row)).toEqual([0, 3]);
    expect(places.height).toBe(18);
    expect(places.total).toBeLessThan(400);
    expect(rowAt(places, places.tops[4] + 5)).toBe(4);
    expect(rowAt(places, 1e6)).toBe(5);
  });

  it('have none if the rows would become too low', () => {
    const places = placeRows(timeline({ rows }), 40);
    expect(places.headings).toEqual([]);
    expect(places.total).toBeLessThanOrEqual(40.001);
  });

  it('find the bar at a time', () => {
    expect([0.5, 1.5, 3, 4.5, 6].map(time => barAt(BARS, time))).toEqual([-1, 0, -1, 1, -1]);
    expect([0.5, 2.9, 3.1, 6].map(time => barAt(BARS, time, 1))).toEqual([0, 0, 1, 1]);
  });
});

describe('labels', () => {
  it('of times are round and as short as they can be', () => {
    expect(roundTimes(0, 10, 5)).toEqual([0, 2, 4, 6, 8, 10]);
    expect(roundTimes(0, 100, 5)).toEqual([0, 20, 40, 60, 80, 100]);
    expect(roundTimes(1.0001, 1.0008, 4)).toEqual([1.0002, 1.0004, 1.0006, 1.0008]);
    expect(roundTimes(0, 4e6, 4)).toEqual([0, 1e6, 2e6, 3e6, 4e6]);
    expect([timeLabel(0.25, 0.05), timeLabel(20, 20), timeLabel(20, 20, 80), timeLabel(3700, 60)]).toEqual([
      '0.25 s',
      '20 s',
      '0:20',
      '1:01:40'
    ]);
    expect(timeLabel(61.5, 0.5)).toBe('1:01.5');
    expect([0, 7.5, 1500, 100000, 2e6].map(shortCount)).toEqual(['0', '7.5', '1.5k', '100k', '2M']);
  });

  it('of rows name what their workers have in common', () => {
    const node = timelineRow({ executor: 'htex', block: '3', node: 'm0', host: 'n0', worker: '', names: ['m0'] });
    expect(headingOf(node, trans)).toBe('htex · block 3 · n0');
    expect(rowName(timelineRow(), trans)).toBe('local-0');
    expect(rowName(timelineRow({ executor: '', worker: '', names: [''] }), trans)).toBe('In the notebook process');
  });

  it('of bars say what cannot be seen', () => {
    const words = BARS.map(([start, end, tasks, task, app, state, failed, busy]) =>
      barWords({ start, end, tasks, task, app, state, failed, busy }, timelineRow(), ['fit', 'load'], trans)
    );
    expect(words).toEqual(['#7 fit: done, 1.0 s', '30 tasks, 2 failed, load: busy for 50 % of 1.0 s']);
  });

  it('of the whole picture are a sentence', () => {
    expect(summary(timeline(), trans)).toBe('1 worker, busy for 20 % of 10 s, at most 3 tasks waiting');
  });

  it('of colours are hexadecimal, also for mixed ones', () => {
    expect(plain('rgb(255, 0, 16)')).toBe('#ff0010');
    expect(plain('rgba(0, 0, 0, 0.5)')).toBe('#00000080');
    expect(plain('color(srgb 1 0.5 0)')).toBe('#ff8000');
  });
});

describe('the head and the foot', () => {
  async function shown() {
    const all = model();
    await all.answer({ apps: ['fit', 'load'], rows: [timelineRow({ bars: BARS })] });
    const onList = vi.fn();
    const element = () => (
      <>
        <Head model={all.model} trans={trans} />
        <Foot model={all.model} trans={trans} onList={onList} />
      </>
    );
    view = new Rendered(element());
    return { ...all, seen: view, again: () => view!.again(element()), onList };
  }

  it('say what the colours mean', async () => {
    const { seen, model: timelines, again } = await shown();
    expect(seen.all('[data-state]').map(item => item.dataset.state)).toEqual(['exec_done', 'failed']);
    seen.choose(seen.one('select') as HTMLSelectElement, 'app');
    expect(timelines.colourBy).toBe('app');
    again();
    expect(seen.all('[data-app]').map(item => item.textContent)).toEqual(['fit', 'load']);
  });

  it('zoom and move', async () => {
    const { seen, model: timelines, again } = await shown();
    expect(seen.button('Earlier').disabled).toBe(true);
    seen.click(seen.button('Zoom in'));
    again();
    expect(timelines.window).not.toBeNull();
    seen.click(seen.button('Later'));
    seen.click(seen.button('Show the whole run'));
    expect(timelines.window).toBeNull();
  });

  it('offer what can be done with an area', async () => {
    const { seen, model: timelines, again, onList } = await shown();
    expect(seen.all('[aria-label="Selection"]')).toEqual([]);
    timelines.choose({ since: 2, until: 4, rows: [0, 2] });
    again();
    expect(seen.one('[aria-label="Selection"] [role="status"]').textContent).toBe('2.0 s on 3 rows');
    seen.click(seen.button('List tasks'));
    expect(onList).toHaveBeenCalled();
    seen.click(seen.button('Zoom in'));
    const zooms = seen.all('button').filter(button => button.textContent === 'Zoom in');
    seen.click(zooms[0]);
    expect(timelines.area).toBeNull();
    expect(timelines.window).toEqual({ since: 2, until: 4 });
  });

  it('say what a row is where workers share rows', async () => {
    const { seen, again, answer, connection } = await shown();
    expect(seen.text).not.toContain('A row shows');
    connection.receive(delta(6));
    await vi.advanceTimersByTimeAsync(REFRESH);
    await answer({ by: 'node', hidden: 4 });
    again();
    expect(seen.text).toContain('A row shows all workers of a node');
    expect(seen.text).toContain('4 rows more have no room.');
  });
});
