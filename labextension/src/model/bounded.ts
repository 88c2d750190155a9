/** Bounds for collections that grow during a run; the run bounds its own in the same way. */
import type { ScalePoint } from '../protocol';

/** Most points of the scaling history; the run keeps about half as many. */
export const POINTS = 800;

/** Drops the oldest entries that have ended until at most `limit` of them are left. */
export function dropOldest<K, V>(map: Map<K, V>, hasEnded: (value: V) => boolean, limit: number): void {
  let spare = -limit;
  for (const value of map.values()) {
    spare += hasEnded(value) ? 1 : 0;
  }
  for (const [key, value] of map) {
    if (spare <= 0) {
      return;
    }
    if (hasEnded(value)) {
      map.delete(key);
      spare -= 1;
    }
  }
}

/** Adds a point if its numbers changed. If there are too many points, it first thins out the older half. */
export function withPoint(points: readonly ScalePoint[], point: ScalePoint | null): readonly ScalePoint[] {
  const last: ScalePoint | undefined = points[points.length - 1];
  if (!point || (last && last.slice(1).every((value, i) => value === point[i + 1]))) {
    return points;
  }
  const kept = points.length < POINTS ? points : points.filter((_, i) => i % 2 === 0 || i > POINTS / 2);
  return [...kept, point];
}
