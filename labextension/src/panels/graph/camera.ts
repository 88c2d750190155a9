/** The visible part of the graph: pure arithmetic between units of the layout and pixels of the canvas. */

export interface IBox {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** Bounds for the pixels between two neighbours: the largest after `fit`, the largest, and the smallest. */
const LARGEST_FIT = 44;
const LARGEST = 160;
const SMALLEST = 1.5;
/** Fewest pixels between two neighbours of a tall picture: `fit` cuts the picture instead of shrinking it further. */
const LEGIBLE = 5;
/** Pixels around a picture after `fit`. */
const MARGIN = 18;

export class Camera {
  /** Pixels per unit. */
  scale = LARGEST_FIT;
  /** The position of the origin of the layout, in pixels. */
  originX = 0;
  originY = 0;
  width = 0;
  height = 0;

  toX(x: number): number {
    return this.originX + x * this.scale;
  }

  toY(y: number): number {
    return this.originY + y * this.scale;
  }

  pan(dx: number, dy: number): void {
    this.originX += dx;
    this.originY += dy;
  }

  /** Zooms around the pixel (px, py), which keeps its point of the graph. */
  zoom(factor: number, px: number = this.width / 2, py: number = this.height / 2): void {
    const scale = clamp(this.scale * factor, SMALLEST, LARGEST);
    const ratio = scale / this.scale;
    this.originX = px - (px - this.originX) * ratio;
    this.originY = py - (py - this.originY) * ratio;
    this.scale = scale;
  }

  /** Shows the whole box, or the lower end of a box that is too tall: the newest tasks are there. */
  fit(box: IBox): void {
    const wide = box.right - box.left + 1;
    const high = box.bottom - box.top + 1;
    const room = Math.min((this.width - 2 * MARGIN) / wide, Math.max((this.height - 2 * MARGIN) / high, LEGIBLE));
    this.scale = clamp(room, SMALLEST, LARGEST_FIT);
    this.originX = this.width / 2 - ((box.left + box.right) / 2) * this.scale;
    const tall = high * this.scale > this.height - MARGIN;
    const slack = this.height - high * this.scale;
    const top = tall ? this.height - MARGIN - (high - 0.5) * this.scale : Math.min(slack / 2, MARGIN * 2);
    this.originY = top + (tall ? 0 : this.scale / 2) - box.top * this.scale;
  }

  /** Moves the view by the smallest distance that makes this point visible. */
  reveal(x: number, y: number): void {
    const [px, py] = [this.toX(x), this.toY(y)];
    const edge = Math.min(30, this.width / 4, this.height / 4);
    this.pan(clamp(px, edge, this.width - edge) - px, clamp(py, edge, this.height - edge) - py);
  }
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}
