/**
 * The layout of the graph: layers by longest path and one barycentre sweep, in about linear time.
 *
 * The layout is a pure function from arrays of dependency indices to coordinates. One unit is the distance between two
 * neighbours. A layer that is wider than the picture is folded into rows, so that a thousand independent tasks become a
 * block and not a line. The width is chosen so that the picture has the requested aspect ratio. Nodes of a narrow layer
 * are as close below their dependencies as their neighbours allow.
 */

export interface IPlacement {
  readonly x: Float32Array;
  readonly y: Float32Array;
  /** The row number of each node, counted from the top. */
  readonly row: Int32Array;
  /** Nodes by row, from left to right. */
  readonly rows: readonly (readonly number[])[];
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** Allowed widths of the picture, in nodes. A few fixed widths keep the nodes in place while the graph grows. */
const WIDTHS = [12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192];

/** Distance between two rows of one layer, and between two layers. */
const ROW_GAP = 1;
const LAYER_GAP = 1.7;
/** Extra distance for each node of a layer, because a wide layer has more edges. */
const GAP_PER_NODE = 0.05;
const LARGEST_GAP = 4;
/** Largest factor by which the layout stretches the gaps to fill the height of the canvas. */
const LARGEST_STRETCH = 2.5;

/** Places nodes whose dependencies are given by index. `aspect` is the width of the picture divided by its height. */
export function place(deps: readonly (readonly number[])[], aspect: number): IPlacement {
  const layers = byLayer(layerOf(deps));
  const { width, stretch } = shape(layers, aspect);
  const x = new Float32Array(deps.length);
  const y = new Float32Array(deps.length);
  const row = new Int32Array(deps.length);
  const rank = new Float32Array(deps.length);
  const rows: number[][] = [];
  let below = 0;
  layers.forEach((layer, depth) => {
    if (depth > 0) {
      sortByDependencies(layer, deps, rank);
      below += gap(layers[depth - 1].length, layer.length, width) * stretch;
    }
    layer.forEach((node, i) => (rank[node] = (i + 0.5) / layer.length));
    const xs = layer.length <= width ? line(layer, deps, x, width) : block(layer, width);
    layer.forEach((node, i) => {
      const line = Math.floor(i / width);
      if (i % width === 0) {
        rows.push([]);
      }
      x[node] = xs[i];
      y[node] = below + line * ROW_GAP;
      row[node] = rows.length - 1;
      rows[rows.length - 1].push(node);
    });
    below += (Math.ceil(layer.length / width) - 1) * ROW_GAP;
  });
  let left = Infinity;
  let right = -Infinity;
  for (const value of x) {
    left = Math.min(left, value);
    right = Math.max(right, value);
  }
  const empty = deps.length === 0;
  return { x, y, row, rows, left: empty ? 0 : left, right: empty ? 0 : right, top: 0, bottom: below };
}

/** The length of the longest path from a node without dependencies to each node. */
export function layerOf(deps: readonly (readonly number[])[]): Int32Array {
  const layer = new Int32Array(deps.length);
  const missing = new Int32Array(deps.length);
  const needed: number[][] = deps.map(() => []);
  const free: number[] = [];
  deps.forEach((list, node) => {
    missing[node] = list.length;
    list.forEach(dep => needed[dep].push(node));
    if (list.length === 0) {
      free.push(node);
    }
  });
  // A graph of futures has no cycle. If one had, its nodes would stay in the first layer.
  for (let i = 0; i < free.length; i++) {
    const node = free[i];
    for (const next of needed[node]) {
      layer[next] = Math.max(layer[next], layer[node] + 1);
      missing[next] -= 1;
      if (missing[next] === 0) {
        free.push(next);
      }
    }
  }
  return layer;
}

function byLayer(layer: Int32Array): number[][] {
  const layers: number[][] = [];
  layer.forEach((depth, node) => {
    while (layers.length <= depth) {
      layers.push([]);
    }
    layers[depth].push(node);
  });
  return layers;
}

/** The width at which the picture is largest on the canvas, and the factor for the gaps between its layers. */
function shape(layers: readonly number[][], aspect: number): { width: number; stretch: number } {
  const widest = Math.max(...layers.map(layer => layer.length), 1);
  let best = { width: WIDTHS[0], stretch: 1 };
  let largest = 0;
  for (const width of WIDTHS) {
    let rows = 0;
    let gaps = 0;
    layers.forEach((layer, i) => {
      rows += Math.ceil(layer.length / width) - 1;
      gaps += i > 0 ? gap(layers[i - 1].length, layer.length, width) : 0;
    });
    const wide = Math.min(width, widest);
    const high = rows * ROW_GAP + gaps + 1;
    const scale = Math.min(aspect / wide, 1 / high);
    if (scale > largest * 1.05) {
      largest = scale;
      const stretch = gaps ? 1 + (wide / aspect - high) / gaps : 1;
      best = { width, stretch: Math.max(1, Math.min(LARGEST_STRETCH, stretch)) };
    }
    if (width >= widest) {
      break;
    }
  }
  return best;
}

function gap(above: number, below: number, width: number): number {
  const nodes = Math.min(Math.max(above, below), width);
  return Math.min(LARGEST_GAP, LAYER_GAP + nodes * GAP_PER_NODE);
}

/** Sorts a layer by the mean rank of the dependencies of each node; equal nodes keep the order of their tasks. */
function sortByDependencies(layer: number[], deps: readonly (readonly number[])[], rank: Float32Array): void {
  const key = new Map<number, number>();
  for (const node of layer) {
    key.set(node, mean(deps[node], rank));
  }
  layer.sort((a, b) => key.get(a)! - key.get(b)! || a - b);
}

function mean(nodes: readonly number[], values: Float32Array): number {
  let sum = 0;
  for (const node of nodes) {
    sum += values[node];
  }
  return nodes.length ? sum / nodes.length : 0;
}

/** Coordinates of centred rows of `width` nodes. */
function block(layer: readonly number[], width: number): number[] {
  return layer.map((_, i) => (i % width) - (width - 1) / 2);
}

/**
 * Coordinates of one row. Each node is as close below its dependencies as possible; the nodes keep their order and are at
 * least one unit apart. This is isotonic regression (pool adjacent violators) on the wished coordinates, each less the
 * index of its node.
 */
function line(
  layer: readonly number[],
  deps: readonly (readonly number[])[],
  x: Float32Array,
  width: number
): number[] {
  const middle = (layer.length - 1) / 2;
  const pools: { sum: number; size: number }[] = [];
  layer.forEach((node, i) => {
    const wish = deps[node].length ? mean(deps[node], x) : i - middle;
    let pool = { sum: wish - i, size: 1 };
    while (pools.length && pools[pools.length - 1].sum / pools[pools.length - 1].size > pool.sum / pool.size) {
      const last = pools.pop()!;
      pool = { sum: last.sum + pool.sum, size: last.size + pool.size };
    }
    pools.push(pool);
  });
  const xs: number[] = [];
  for (const { sum, size } of pools) {
    for (let i = 0; i < size; i++) {
      xs.push(sum / size + xs.length);
    }
  }
  // Move the nodes at both ends back into the picture.
  const edge = (width - 1) / 2;
  return xs.map((at, i) => Math.min(Math.max(at, i - edge), edge - (xs.length - 1 - i)));
}
