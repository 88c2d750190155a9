// @vitest-environment jsdom
import { nullTranslator } from '@jupyterlab/translation';
import { Widget } from '@lumino/widgets';
import * as React from 'react';
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

import { Sparkline, Steps } from '../src/components/bars';
import { OpenBlocks } from '../src/model/blocks';
import { BlocksBody } from '../src/panels/blocks/body';
import { ParslPanel } from '../src/panels/frame';
import type { IRun } from '../src/tokens';
import { Rendered } from './render';
import { liveRuns, settle } from './runs';
import { block, blockText, delta, endedBlock, INFO, manager, overview } from './samples';

const trans = nullTranslator.load('parslab');
let view: Rendered | undefined;

afterEach(() => view?.close());

function body(part: Parameters<typeof liveRuns>[0]) {
  const all = liveRuns(part);
  const open = new OpenBlocks(all.runs);
  open.active = true;
  const actions = { command: vi.fn(), scale: vi.fn(), copy: vi.fn() };
  const element = () => <BlocksBody run={all.run} open={open} trans={trans} actions={actions} />;
  view = new Rendered(element());
  return { ...all, seen: view, actions, again: () => view!.again(element()) };
}

describe('an executor that is stopped', () => {
  it('says why, and offers no blocks', () => {
    const stopped = { htex: 'no block has started three times in a row: sbatch is missing.\nCheck the PATH.' };
    const { seen, actions } = body({ run: { ...INFO, stopped }, blocks: [endedBlock(0, 'failed', 'no sbatch')] });
    expect(seen.text).toContain('Stopped: no block has started three times in a row: sbatch is missing.');
    const more = seen.button('One block more for htex');
    expect(more.disabled).toBe(true);
    expect(more.title).toBe(stopped.htex);
    seen.click(more);
    expect(actions.scale).not.toHaveBeenCalled();
  });
});

describe('the blocks', () => {
  it('are listed with what they do', () => {
    const { seen } = body({
      blocks: [block(0, { nodes: 2 }), block(1, { held: true }), block(2, { state: 'queued' })]
    });
    const rows = seen.all('[data-block]').map(row => [row.dataset.block, row.dataset.state]);
    expect(rows).toEqual([
      ['htex/0', 'running'],
      ['htex/1', 'held'],
      ['htex/2', 'queued']
    ]);
    const [first] = seen.all('[data-block]');
    expect([...first.querySelectorAll('td')].map(cell => cell.textContent)).toEqual([
      '0Running',
      '470',
      '1 / 2',
      '3 / 4',
      expect.stringMatching(/^0:0\d$/)
    ]);
    expect(first.querySelector('[role="meter"]')?.getAttribute('aria-valuetext')).toBe('3 of 4');
  });

  it('say why one failed, first in short, then in full with its last lines', async () => {
    const reason = 'sbatch: error: Invalid account\nsbatch: error: Batch job submission failed';
    const { seen, connection, again } = body({ blocks: [endedBlock(0, 'failed', reason)] });
    expect(seen.one('.parslab-Blocks-reason').textContent).toBe('sbatch: error: Invalid account');
    seen.click(seen.one('[aria-expanded="false"]'));
    connection.receive(
      blockText(0, {
        request_id: connection.last('BlockOutputRequest').request_id,
        stderr: 'module: command not found\n',
        stdout: 'hi\n'
      })
    );
    await settle();
    again();
    expect(seen.one('.parslab-Block-reason').textContent).toBe(reason);
    expect(seen.one('[data-text="stderr"]').textContent).toBe('module: command not found\n');
    expect(seen.one('[data-text="stdout"]').textContent).toBe('hi\n');
    expect(seen.all('.parslab-Blocks-reason, [data-action]')).toHaveLength(0);
  });

  it('that went as they should say nothing of it', () => {
    const { seen } = body({
      blocks: [block(0, { state: 'draining', reason: 'it was idle' }), endedBlock(1, 'scaled_in', 'exit status 0')]
    });
    expect(seen.all('[data-block]')).toHaveLength(2);
    expect(seen.all('.parslab-Blocks-reason')).toHaveLength(0);
  });

  it('say what they cost per hour, where their provider says it', () => {
    const priced = [block(0, { price: 0.25 }), block(1, { price: 0.5 }), endedBlock(2, 'finished', '')];
    const { seen, again } = body({ blocks: priced });
    expect(seen.text).toContain('These blocks cost 0.75 per hour.');
    expect(seen.text).not.toContain('Price per hour');
    seen.click(seen.one('[aria-expanded="false"]'));
    again();
    expect(seen.text).toContain('Price per hour0.25');
  });

  it('say nothing of a price that nobody says', () => {
    const { seen } = body({ blocks: [block(0)] });
    expect(seen.text).not.toContain('per hour');
  });

  it('can be held, drained and cancelled as their state allows', () => {
    const { seen, actions, connection, again } = body({ blocks: [block(0)] });
    const offered = () => seen.all('[data-action]').map(button => button.dataset.action);
    seen.click(seen.one('[data-block]'));
    again();
    expect(offered()).toEqual(['hold', 'drain', 'cancel']);
    seen.click(seen.button('Hold'));
    expect(actions.command).toHaveBeenCalledWith(expect.objectContaining({ block: '0' }), 'hold');
    connection.receive(delta(6, { blocks: [block(0, { held: true })] }));
    again();
    expect(offered()).toEqual(['release', 'drain', 'cancel']);
    connection.receive(delta(7, { blocks: [block(0, { state: 'queued', started: null })] }));
    again();
    expect(offered()).toEqual(['cancel']);
    connection.setLink('lost', 'offline');
    again();
    expect(seen.button('Cancel block').disabled).toBe(true);
  });

  it('can be made more and fewer, also quickly', () => {
    const { seen, actions, connection, again } = body({ blocks: [block(0), endedBlock(1, 'finished', '')] });
    seen.click(seen.button('One block more for htex'));
    seen.click(seen.button('One block more for htex'));
    expect(actions.scale.mock.calls).toEqual([
      ['htex', 2],
      ['htex', 3]
    ]);
    connection.receive(delta(6, { blocks: [block(0), block(2, { state: 'queued' })] }));
    again();
    seen.click(seen.button('One block less for htex'));
    expect(actions.scale).toHaveBeenLastCalledWith('htex', 1);
  });

  it('that have ended are listed shortly', () => {
    const over = Array.from({ length: 9 }, (_, n) => endedBlock(n, 'finished', '', 2000 + n));
    const { seen } = body({ blocks: over });
    expect(seen.all('[data-block]').map(row => row.dataset.block)).toEqual([8, 7, 6, 5, 4].map(n => `htex/${n}`));
    expect(seen.text).toContain('No blocks.');
    seen.click(seen.button('Show all 9 that have ended'));
    expect(seen.all('[data-block]')).toHaveLength(9);
    seen.click(seen.button('Show fewer'));
    expect(seen.all('[data-block]')).toHaveLength(5);
  });

  it('of several executors stand apart', () => {
    const { seen } = body({
      blocks: [block(0), block(0, { executor: 'gpu' })],
      managers: [manager('a'), manager('b', { executor: 'gpu', host: 'node2' })]
    });
    expect(seen.all('[data-executor]').map(part => part.dataset.executor)).toEqual(['htex', 'gpu']);
    expect(seen.one('[data-manager="b"]').textContent).toContain('gpu, block 0');
  });
});

describe('the nodes', () => {
  it('show how busy they are', () => {
    const { seen } = body({
      blocks: [block(0)],
      managers: [
        manager('a'),
        manager('b', { cpu: null, used: null, load: null, host: 'node2' }),
        manager('c', { state: 'lost' }),
        manager('d', { host: 'node3', used: 15.9 * 2 ** 30 })
      ]
    });
    expect(seen.all('[data-manager]').map(node => node.dataset.manager)).toEqual(['a', 'b', 'd']);
    expect(seen.all('[data-manager="a"] [data-figure]').map(figure => figure.textContent)).toEqual([
      '51 %',
      '3.2 GiB / 16 GiB'
    ]);
    expect(seen.one('[data-manager="b"]').textContent).toContain('Not measured yet');
    expect(seen.one('[data-manager="d"] [data-high="true"]').getAttribute('aria-label')).toBe('Memory of node3');
  });

  it('that left are told with their block', () => {
    const { seen, again } = body({
      blocks: [block(0)],
      managers: [manager('c', { state: 'lost', reason: 'silent for 20 s' })]
    });
    seen.click(seen.one('[data-block]'));
    again();
    expect(seen.one('.parslab-Departed').textContent).toBe('node1 lost: silent for 20 s');
  });
});

describe('the charts', () => {
  it('draw the scaling in steps', () => {
    const { seen } = body({
      blocks: [block(0)],
      scaling: [
        [1000, 0, 0, 40],
        [1005, 1, 4, 20]
      ],
      overview: overview({ now: 1010, scale: [1010, 2, 8, 0] })
    });
    const words = seen.all('.parslab-Steps').map(chart => chart.getAttribute('aria-label'));
    expect(words).toEqual([
      'Blocks running: 2 now, 2 at most',
      'Workers: 8 now, 8 at most',
      'Tasks waiting: 0 now, 40 at most'
    ]);
  });

  it('keep a value until the next', () => {
    const points = [[0, 0] as const, [5, 2] as const];
    view = new Rendered(<Steps points={points} from={0} to={10} label="workers" />);
    expect(view.one('.parslab-Steps-line').getAttribute('d')).toBe('M0.00 23.0H50.00V1.0H100');
  });

  it('give few values no more room than many', () => {
    view = new Rendered(<Sparkline values={[0, 2]} label="rate" />);
    expect(view.one('polyline').getAttribute('points')).toBe('98.3,19.0 100.0,1.0');
  });
});

describe('the tab of the blocks', () => {
  beforeAll(() => {
    globalThis.ResizeObserver ??= class {
      observe() {}
      unobserve() {}
      disconnect() {}
    };
  });

  it('is there only when the run has blocks, and comes back when it was chosen', () => {
    const { runs, connection } = liveRuns({});
    const panel = new ParslPanel(runs, trans);
    const fits = (run: IRun | null) => (run?.blocks.size ?? 0) > 0;
    const [first, blocks] = [new Widget(), new Widget()];
    panel.addView({ id: 'blocks', label: 'Blocks', rank: 40, content: blocks, fits });
    panel.addView({ id: 'overview', label: 'Overview', rank: 10, content: first });
    panel.open('blocks');
    expect([first.isHidden, blocks.isHidden]).toEqual([false, true]);
    connection.receive(delta(6, { blocks: [block(0)] }));
    expect([first.isHidden, blocks.isHidden]).toEqual([false, true]);
    panel.open('blocks');
    expect([first.isHidden, blocks.isHidden]).toEqual([true, false]);
    runs.show(null);
    expect([first.isHidden, blocks.isHidden]).toEqual([false, true]);
    runs.show('kernel');
    expect([first.isHidden, blocks.isHidden]).toEqual([true, false]);
    panel.dispose();
  });
});
