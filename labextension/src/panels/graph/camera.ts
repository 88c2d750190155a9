/** Which part of the graph is seen: pure arithmetic between the units of the layout and the pixels of the canvas. */

export interface IBox {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

/** Pixels between two neighbours: never further apart when fitted, never closer at all. */
const LARGEST_FIT = 44;
const LARGEST = 160;
const SMALLEST = 1.5;
/** A picture that is too tall for the canvas is cut rather than drawn with nodes closer than this. */
const LEGIBLE = 5;
/** Pixels around a fitted picture. */
const MARGIN = 18;

export class Camera {
  /** Pixels per unit. */
  scale = LARGEST_FIT;
  /** Where the origin of the layout is, in pixels. */
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

  /** Zooms while the point under (px, py) stays where it is. */
  zoom(factor: number, px: number = this.width / 2, py: number = this.height / 2): void {
    const scale = clamp(this.scale * factor, SMALLEST, LARGEST);
    const ratio = scale / this.scale;
    this.originX = px - (px - this.originX) * ratio;
    this.originY = py - (py - this.originY) * ratio;
    this.scale = scale;
  }

  /** Shows the whole box; one that would become too small shows its lower end, where the newest tasks are. */
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

  /** Moves as little as needed to have this point in sight. */
  reveal(x: number, y: number): void {
    const [px, py] = [this.toX(x), this.toY(y)];
    const edge = Math.min(30, this.width / 4, this.height / 4);
    this.pan(clamp(px, edge, this.width - edge) - px, clamp(py, edge, this.height - edge) - py);
  }
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}
