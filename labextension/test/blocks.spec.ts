import { describe, expect, it } from 'vitest';

import { connectedManagers, groupByExecutor, OpenBlocks } from '../src/model/blocks';
import { withPoint, dropOldest, POINTS } from '../src/model/bounded';
import type { ScalePoint } from '../src/protocol';
import { liveRuns, settle } from './runs';
import { block, blockText, delta, endedBlock, INFO, manager, overview, snapshot } from './samples';

describe('the order of blocks', () => {
  it('lists live blocks first, and the newest ended block before the others', () => {
    const rows = [
      block(10, { requested: 5 }),
      endedBlock(1, 'failed', '', 50),
      block(9, { requested: 5 }),
      endedBlock(2, 'finished', '', 60),
      block(0, { executor: 'gpu', state: 'queued' })
    ];
    const ids = groupByExecutor(rows).map(({ executor, live, ended }) => [
      executor,
      live.map(row => row.block),
      ended.map(row => row.block)
    ]);
    expect(ids).toEqual([
      ['htex', ['9', '10'], ['2', '1']],
      ['gpu', ['0'], []]
    ]);
  });

  it('shows the nodes that are connected, block by block', () => {
    const rows = [manager('a', { block: '10' }), manager('b', { state: 'lost' }), manager('c', { block: '9' })];
    expect(connectedManagers(rows).map(row => row.manager)).toEqual(['c', 'a']);
  });
});

describe('what is kept', () => {
  it('drops the oldest that have ended', () => {
    const map = new Map([1, 2, 3, 4, 5, 6].map(n => [n, n]));
    dropOldest(map, n => n % 2 === 1, 1);
    expect([...map.keys()]).toEqual([2, 4, 5, 6]);
  });

  it('adds a point only where something changed', () => {
    const one: ScalePoint[] = [[1, 1, 4, 0]];
    expect(withPoint(one, null)).toBe(one);
    expect(withPoint(one, [2, 1, 4, 0])).toBe(one);
    expect(withPoint(one, [2, 2, 4, 0])).toEqual([
      [1, 1, 4, 0],
      [2, 2, 4, 0]
    ]);
  });

  it('thins old points out and keeps the first and the last', () => {
    let points: readonly ScalePoint[] = [];
    for (let n = 0; n < 5 * POINTS; n++) {
      points = withPoint(points, [n, n, 0, 0]);
      expect(points.length).toBeLessThanOrEqual(POINTS);
    }
    expect(points[0][0]).toBe(0);
    expect(points[points.length - 1][0]).toBe(5 * POINTS - 1);
  });
});

describe('a run with blocks', () => {
  it('applies what changed to the picture', () => {
    const { run, connection } = liveRuns({
      blocks: [block(0)],
      managers: [manager('m0')],
      scaling: [[1000, 0, 0, 5]],
      overview: overview({ scale: [1010, 1, 4, 3] })
    });
    connection.receive(
      delta(6, {
        blocks: [block(0, { busy: 0 }), block(1, { state: 'queued' })],
        managers: [manager('m0', { cpu: 2 })],
        overview: overview({ now: 1020, scale: [1020, 1, 4, 3] })
      }),
      delta(7, { overview: overview({ now: 1030, scale: [1030, 2, 8, 0] }) })
    );
    expect([...run.blocks.keys()]).toEqual(['htex/0', 'htex/1']);
    expect(run.blocks.get('htex/0')?.busy).toBe(0);
    expect(run.managers.get('m0')?.cpu).toBe(2);
    expect(run.scaling).toEqual([
      [1000, 0, 0, 5],
      [1010, 1, 4, 3],
      [1030, 2, 8, 0]
    ]);
  });

  it('sends commands and answers with what was done', async () => {
    const { run, connection } = liveRuns({ blocks: [block(0)] });
    const held = run.commandBlock('htex', '0', 'hold');
    expect(connection.last('BlockActionRequest')).toMatchObject({ executor: 'htex', block: '0', action: 'hold' });
    connection.receive({
      type: 'CommandReply',
      request_id: connection.last('BlockActionRequest').request_id,
      text: 'Block 0 is held.'
    });
    expect(await held).toBe('Block 0 is held.');
    const scaled = run.scale('htex', 3);
    expect(connection.last('ScaleRequest')).toMatchObject({ executor: 'htex', blocks: 3 });
    connection.receive({
      type: 'ErrorReply',
      request_id: connection.last('ScaleRequest').request_id,
      text: 'At most 2 blocks.'
    });
    await expect(scaled).rejects.toThrow('At most 2 blocks.');
  });
});

describe('open blocks', () => {
  function opened() {
    const all = liveRuns({ blocks: [block(0)] });
    const open = new OpenBlocks(all.runs);
    open.active = true;
    const answer = async (part: Parameters<typeof blockText>[1]) => {
      all.connection.receive(
        blockText(0, { request_id: all.connection.last('BlockOutputRequest').request_id, ...part })
      );
      await settle();
    };
    const asked = () => all.connection.sent.filter(ask => ask.type === 'BlockOutputRequest').length;
    return { ...all, open, answer, asked };
  }

  it('shows what the job printed last', async () => {
    const { open, answer, asked } = opened();
    expect(open.isOpen('htex/0')).toBe(false);
    open.toggle(block(0));
    expect(open.isOpen('htex/0')).toBe(true);
    expect(open.output('htex/0')).toBeNull();
    await answer({ stderr: 'srun: error' });
    expect(open.output('htex/0')?.stderr).toBe('srun: error');
    open.toggle(block(0));
    expect(open.isOpen('htex/0')).toBe(false);
    expect(asked()).toBe(1);
  });

  it('asks again when the block has moved, and only then', async () => {
    const { open, connection, answer, asked } = opened();
    open.toggle(block(0));
    await answer({});
    connection.receive(delta(6, { blocks: [block(0, { busy: 1 })] }));
    expect(asked()).toBe(1);
    connection.receive(delta(7, { blocks: [endedBlock(0, 'failed', 'TIMEOUT')] }));
    expect(asked()).toBe(2);
    await answer({ problem: 'There is no file.' });
    expect(open.problem('htex/0')).toBe('There is no file.');
  });

  it('asks for nothing while it is not seen, and catches up', async () => {
    const { open, connection, answer, asked } = opened();
    open.toggle(block(0));
    await answer({});
    open.active = false;
    connection.receive(delta(6, { blocks: [endedBlock(0, 'failed', 'TIMEOUT')] }));
    expect(asked()).toBe(1);
    open.active = true;
    expect(asked()).toBe(2);
  });

  it('forgets them when another run begins', async () => {
    const { open, connection } = opened();
    open.toggle(block(0));
    connection.receive(snapshot({ seq: 1, run: { ...INFO, run: '008' }, blocks: [block(0)] }));
    expect(open.isOpen('htex/0')).toBe(false);
  });
});
