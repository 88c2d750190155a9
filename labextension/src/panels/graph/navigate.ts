/** Which node an arrow key leads to: up to what a task needs, down to what needs it, sideways along its row. */
import type { IPlacement } from './layout';

export type Arrow = 'ArrowUp' | 'ArrowDown' | 'ArrowLeft' | 'ArrowRight';

export interface IGraph {
  readonly deps: readonly (readonly number[])[];
  readonly dependents: readonly (readonly number[])[];
  readonly placement: IPlacement;
}

/** The next node; the same one where there is none, the first one from nowhere (-1). */
export function step(graph: IGraph, from: number, arrow: Arrow): number {
  const { deps, dependents, placement } = graph;
  const { rows, row, x } = placement;
  if (from < 0 || from >= row.length) {
    return rows.length ? rows[0][0] : -1;
  }
  if (arrow === 'ArrowLeft' || arrow === 'ArrowRight') {
    const line = rows[row[from]];
    return line[line.indexOf(from) + (arrow === 'ArrowLeft' ? -1 : 1)] ?? from;
  }
  const up = arrow === 'ArrowUp';
  const linked = up ? deps[from] : dependents[from];
  const near = linked.length ? linked : (rows[row[from] + (up ? -1 : 1)] ?? [from]);
  return near.reduce((best, node) => (Math.abs(x[node] - x[from]) < Math.abs(x[best] - x[from]) ? node : best));
}

/** The node at a point, within this distance; -1 when there is none. */
export function nearest(placement: IPlacement, x: number, y: number, reach: number): number {
  let best = -1;
  let distance = reach * reach;
  for (let i = 0; i < placement.x.length; i++) {
    const [dx, dy] = [placement.x[i] - x, placement.y[i] - y];
    const square = dx * dx + dy * dy;
    if (square <= distance) {
      best = i;
      distance = square;
    }
  }
  return best;
}
