/** The node to which an arrow key moves: up to a dependency, down to a dependent, sideways along the row. */
import type { IPlacement } from './layout';

export type Arrow = 'ArrowUp' | 'ArrowDown' | 'ArrowLeft' | 'ArrowRight';

export interface IGraph {
  readonly deps: readonly (readonly number[])[];
  readonly dependents: readonly (readonly number[])[];
  readonly placement: IPlacement;
}

/** The next node; `from` if there is none; the first node if `from` is -1. */
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
  const candidates = linked.length ? linked : (rows[row[from] + (up ? -1 : 1)] ?? [from]);
  return candidates.reduce((best, node) =>
    Math.abs(x[node] - x[from]) < Math.abs(x[best] - x[from]) ? node : best
  );
}

/** The node nearest to a point within the distance `reach`; -1 if there is none. */
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
