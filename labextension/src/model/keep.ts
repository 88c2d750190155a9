/** What is kept of things that come without end: bounded the way the kernel bounds them. */
import type { ScalePoint } from '../protocol';

/** Points of the scaling that are kept; the kernel keeps about half as many. */
export const POINTS = 800;

/** Drops the oldest entries that are over until at most `limit` of them are left. */
export function keepLast<K, V>(map: Map<K, V>, over: (value: V) => boolean, limit: number): void {
  let spare = -limit;
  for (const value of map.values()) {
    spare += over(value) ? 1 : 0;
  }
  for (const [key, value] of map) {
    if (spare <= 0) {
      return;
    }
    if (over(value)) {
      map.delete(key);
      spare -= 1;
    }
  }
}

/** The points with one more, unless nothing changed; old ones are thinned out when there are too many. */
export function grown(points: readonly ScalePoint[], point: ScalePoint | null): readonly ScalePoint[] {
  const last: ScalePoint | undefined = points[points.length - 1];
  if (!point || (last && last.slice(1).every((value, i) => value === point[i + 1]))) {
    return points;
  }
  const kept = points.length < POINTS ? points : points.filter((_, i) => i % 2 === 0 || i > POINTS / 2);
  return [...kept, point];
}
