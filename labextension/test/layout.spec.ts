import { describe, expect, it } from 'vitest';

import { Camera } from '../src/panels/graph/camera';
import { layerOf, place } from '../src/panels/graph/layout';
import { nearest, step } from '../src/panels/graph/navigate';

const DIAMOND = [[], [0], [0], [1, 2]];

/** A layered graph with `n` nodes and about two dependencies each, always the same. */
function many(n: number): number[][] {
  let seed = 7;
  const random = () => (seed = (seed * 1103515245 + 12345) % 2147483648) / 2147483648;
  return Array.from({ length: n }, (_, i) =>
    i < 20 ? [] : Array.from({ length: 2 }, () => Math.max(0, i - 1 - Math.floor(random() * n * 0.1)))
  ).map(deps => [...new Set(deps)]);
}

describe('layers', () => {
  it('are the longest ways', () => {
    expect([...layerOf([[], [0], [1], [0, 2]])]).toEqual([0, 1, 2, 3]);
  });

  it('do not need the order of submission', () => {
    expect([...layerOf([[2], [], [1]])]).toEqual([2, 0, 1]);
  });
});

describe('places', () => {
  it('put a node below all that it needs', () => {
    const deps = many(500);
    const { y } = place(deps, 1);
    deps.forEach((list, node) => list.forEach(dep => expect(y[node]).toBeGreaterThan(y[dep])));
  });

  it('never put two nodes on one spot', () => {
    const { rows, x } = place(many(2000), 0.6);
    for (const row of rows) {
      for (let i = 1; i < row.length; i++) {
        expect(x[row[i]] - x[row[i - 1]]).toBeGreaterThan(0.999);
      }
    }
  });

  it('are symmetrical for a diamond', () => {
    const { x } = place(DIAMOND, 1);
    expect(x[0]).toBeCloseTo(0);
    expect(x[3]).toBeCloseTo(0);
    expect(x[1]).toBeCloseTo(-x[2]);
  });

  it('keep chains straight', () => {
    const chains = [[], [], [], [0], [1], [2], [3], [4], [5]];
    const { x } = place(chains, 1);
    for (let i = 3; i < 9; i++) {
      expect(x[i]).toBeCloseTo(x[i - 3]);
    }
  });

  it('fold a bag of tasks into a block of the asked shape', () => {
    const bag = Array.from({ length: 1000 }, () => []);
    for (const aspect of [0.4, 1, 2.5]) {
      const { left, right, top, bottom } = place(bag, aspect);
      const shape = (right - left + 1) / (bottom - top + 1);
      expect(shape / aspect).toBeGreaterThan(0.6);
      expect(shape / aspect).toBeLessThan(1.7);
    }
  });

  it('survive an empty graph and a circle', () => {
    expect(place([], 1).rows).toEqual([]);
    expect(place([[1], [0]], 1).x).toHaveLength(2);
  });

  it('take about linear time', () => {
    const time = (n: number) => {
      const deps = many(n);
      place(deps, 1);
      const begin = performance.now();
      place(deps, 1);
      return performance.now() - begin;
    };
    // 5,000 nodes take some 10 ms on a slow core; the bound is for machines that do much else.
    expect(time(5000)).toBeLessThan(500);
  });
});

describe('arrows', () => {
  const graph = { deps: DIAMOND, dependents: [[1, 2], [3], [3], []], placement: place(DIAMOND, 1) };

  it('go along the edges', () => {
    expect(step(graph, -1, 'ArrowDown')).toBe(0);
    expect(step(graph, 0, 'ArrowDown')).toBe(1);
    expect(step(graph, 1, 'ArrowRight')).toBe(2);
    expect(step(graph, 2, 'ArrowRight')).toBe(2);
    expect(step(graph, 2, 'ArrowDown')).toBe(3);
    expect(step(graph, 3, 'ArrowDown')).toBe(3);
    expect(step(graph, 2, 'ArrowUp')).toBe(0);
  });

  it('and pointers find nodes within reach', () => {
    const { placement } = graph;
    expect(nearest(placement, placement.x[2] + 0.2, placement.y[2], 0.5)).toBe(2);
    expect(nearest(placement, placement.x[2] + 3, placement.y[2], 0.5)).toBe(-1);
  });
});

describe('the camera', () => {
  function camera(): Camera {
    const made = new Camera();
    made.width = 300;
    made.height = 400;
    return made;
  }

  it('fits the picture into the canvas', () => {
    const seen = camera();
    const box = { left: -20, right: 20, top: 0, bottom: 30 };
    seen.fit(box);
    expect(seen.toX(box.left)).toBeGreaterThan(0);
    expect(seen.toX(box.right)).toBeLessThan(300);
    expect(seen.toY(box.top)).toBeGreaterThan(0);
    expect(seen.toY(box.bottom)).toBeLessThan(400);
  });

  it('shows the end of what is too tall', () => {
    const seen = camera();
    seen.fit({ left: 0, right: 0, top: 0, bottom: 2000 });
    expect(seen.toY(2000)).toBeLessThan(400);
    expect(seen.toY(2000)).toBeGreaterThan(350);
  });

  it('keeps the point under the pointer while it zooms', () => {
    const seen = camera();
    const [x, y] = [(70 - seen.originX) / seen.scale, (90 - seen.originY) / seen.scale];
    seen.zoom(1.7, 70, 90);
    expect(seen.toX(x)).toBeCloseTo(70);
    expect(seen.toY(y)).toBeCloseTo(90);
  });

  it('reveals a point with the smallest movement', () => {
    const seen = camera();
    seen.reveal(0, 0);
    expect(seen.toX(0)).toBe(30);
    expect(seen.toY(0)).toBe(30);
  });
});
