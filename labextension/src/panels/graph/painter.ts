/**
 * Draws the graph on two canvases: edges on the lower one, nodes on the upper one.
 *
 * A change of state redraws only the nodes. Each node is a small picture that the painter makes once for each state and
 * size. When the view moves, the painter redraws the edges. If that takes too long for one frame, it moves and scales
 * the old edges, and redraws them when the movement ends.
 */
import { colourOf, symbolOf } from '../../components/states';
import { STATES } from '../../model/states';
import type { INode } from '../../tokens';
import type { Camera } from './camera';
import type { IPlacement } from './layout';

export interface IScene {
  readonly nodes: readonly INode[];
  readonly deps: readonly (readonly number[])[];
  readonly dependents: readonly (readonly number[])[];
  readonly placement: IPlacement;
  readonly version: number;
  readonly camera: Camera;
  /** The indices of marked nodes; -1 for none. */
  readonly selected: number;
  readonly hovered: number;
  readonly focused: number;
}

/** A graph with at most this number of edges has curved ones. */
const MAX_CURVES = 1500;
/** Edges in one path, because browsers draw long paths slowly. */
const BATCH = 400;
/** Longest time for the edges, in milliseconds, that still allows a smooth movement. */
const SMOOTH = 7;
/** Radius of a node as a share of the distance between neighbours, and its bounds in pixels. */
const RADIUS = 0.4;
const SMALLEST = 1;
const LARGEST = 11;
/** Below this radius, a node is a plain dot in the colour of its state. */
const DOT = 2.4;
/** From this distance between neighbours on, each node shows the name of its app. */
const NAMED = 54;

interface ILook {
  readonly colours: ReadonlyMap<string, string>;
  readonly background: string;
  readonly edge: string;
  readonly mark: string;
  readonly text: string;
  readonly font: string;
}

export class Painter {
  constructor(
    private _edges: HTMLCanvasElement,
    private _nodes: HTMLCanvasElement
  ) {}

  /** Whether the edges on screen are scaled and must be redrawn. */
  get blurred(): boolean {
    return this._blurred;
  }

  /** Makes the next drawing read the colours of the theme again. */
  dropLook(): void {
    this._look = null;
    this._sprites.clear();
    this._drawnEdges = '';
  }

  resize(width: number, height: number, ratio: number): void {
    this._ratio = ratio;
    for (const canvas of [this._edges, this._nodes]) {
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    this._drawnEdges = '';
  }

  /** The radius of a node in pixels. */
  static radius(camera: Camera): number {
    return Math.max(SMALLEST, Math.min(LARGEST, camera.scale * RADIUS));
  }

  /** Draws the scene; with `sharp`, it redraws the edges even if they are slow. */
  draw(scene: IScene, sharp: boolean): void {
    const look = (this._look ??= readLook(this._nodes));
    this._placeEdges(scene, look, sharp);
    const context = this._nodes.getContext('2d');
    if (!context) {
      return;
    }
    context.setTransform(this._ratio, 0, 0, this._ratio, 0, 0);
    context.clearRect(0, 0, scene.camera.width, scene.camera.height);
    for (const node of new Set([scene.selected, scene.hovered, scene.focused])) {
      if (node >= 0) {
        this._drawNeighbours(context, scene, look, node);
      }
    }
    this._drawNodes(context, scene, look);
    this._drawMarks(context, scene, look);
    if (scene.camera.scale >= NAMED) {
      this._drawNames(context, scene, look);
    }
  }

  private _placeEdges(scene: IScene, look: ILook, sharp: boolean): void {
    const { camera, version } = scene;
    const view = `${camera.scale} ${camera.originX} ${camera.originY}`;
    const wanted = `${version} ${view}`;
    if (wanted === this._drawnEdges) {
      return;
    }
    const moved = this._drawnEdges.startsWith(`${version} `);
    if (moved && !sharp && this._edgeTime > SMOOTH) {
      const ratio = camera.scale / this._drawnScale;
      const dx = camera.originX - this._drawnX * ratio;
      const dy = camera.originY - this._drawnY * ratio;
      this._edges.style.transform = `matrix(${ratio}, 0, 0, ${ratio}, ${dx}, ${dy})`;
      this._blurred = true;
      return;
    }
    const begin = performance.now();
    this._drawEdges(scene, look);
    this._edgeTime = performance.now() - begin;
    this._edges.style.transform = '';
    this._blurred = false;
    this._drawnEdges = wanted;
    this._drawnScale = camera.scale;
    this._drawnX = camera.originX;
    this._drawnY = camera.originY;
  }

  private _drawEdges(scene: IScene, look: ILook): void {
    const context = this._edges.getContext('2d');
    if (!context) {
      return;
    }
    const { deps, placement, camera } = scene;
    context.setTransform(this._ratio, 0, 0, this._ratio, 0, 0);
    context.clearRect(0, 0, camera.width, camera.height);
    const total = deps.reduce((sum, list) => sum + list.length, 0);
    context.strokeStyle = look.edge;
    context.lineWidth = Math.max(0.4, Math.min(1.2, camera.scale / 16));
    context.globalAlpha = total > MAX_CURVES ? 0.55 : 0.9;
    let batch = 0;
    context.beginPath();
    deps.forEach((list, node) => {
      const [x, y] = [camera.toX(placement.x[node]), camera.toY(placement.y[node])];
      for (const dep of list) {
        const [fromX, fromY] = [camera.toX(placement.x[dep]), camera.toY(placement.y[dep])];
        if (outside(fromX, fromY, x, y, camera)) {
          continue;
        }
        edge(context, fromX, fromY, x, y, total <= MAX_CURVES);
        batch += 1;
        if (batch % BATCH === 0) {
          context.stroke();
          context.beginPath();
        }
      }
    });
    context.stroke();
    context.globalAlpha = 1;
  }

  /** Highlights the edges of one node. */
  private _drawNeighbours(context: CanvasRenderingContext2D, scene: IScene, look: ILook, node: number): void {
    const { deps, dependents, placement, camera } = scene;
    const total = deps.length <= MAX_CURVES;
    context.strokeStyle = look.mark;
    context.lineWidth = Math.max(1, Math.min(1.8, camera.scale / 12));
    context.beginPath();
    const [x, y] = [camera.toX(placement.x[node]), camera.toY(placement.y[node])];
    for (const dep of deps[node]) {
      edge(context, camera.toX(placement.x[dep]), camera.toY(placement.y[dep]), x, y, total);
    }
    for (const next of dependents[node]) {
      edge(context, x, y, camera.toX(placement.x[next]), camera.toY(placement.y[next]), total);
    }
    context.stroke();
  }

  private _drawNodes(context: CanvasRenderingContext2D, scene: IScene, look: ILook): void {
    const { nodes, placement, camera } = scene;
    const radius = Painter.radius(camera);
    const ratio = this._ratio;
    const sprites = radius < DOT ? null : this._spritesFor(radius, look);
    const half = sprites ? sprites.half / ratio : radius;
    const edge = half + 1;
    for (let i = 0; i < nodes.length; i++) {
      const x = camera.toX(placement.x[i]);
      const y = camera.toY(placement.y[i]);
      if (x < -edge || y < -edge || x > camera.width + edge || y > camera.height + edge) {
        continue;
      }
      const state = nodes[i].state;
      if (sprites) {
        // A small picture stays sharp when it starts on a whole device pixel.
        const left = Math.round((x - half) * ratio) / ratio;
        const top = Math.round((y - half) * ratio) / ratio;
        const picture = sprites.pictures.get(state) ?? sprites.pictures.get('pending')!;
        context.drawImage(picture, left, top, 2 * half, 2 * half);
      } else {
        context.fillStyle = look.colours.get(state) ?? look.edge;
        context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
      }
    }
  }

  private _drawMarks(context: CanvasRenderingContext2D, scene: IScene, look: ILook): void {
    const { placement, camera, selected, hovered, focused } = scene;
    const radius = Painter.radius(camera) + 3.5;
    context.strokeStyle = look.mark;
    for (const node of new Set([selected, hovered, focused])) {
      if (node < 0) {
        continue;
      }
      context.lineWidth = node === selected ? 2 : 1.2;
      context.setLineDash(node === focused && node !== selected ? [3, 2] : []);
      context.beginPath();
      context.arc(camera.toX(placement.x[node]), camera.toY(placement.y[node]), radius, 0, 2 * Math.PI);
      context.stroke();
    }
    context.setLineDash([]);
  }

  private _drawNames(context: CanvasRenderingContext2D, scene: IScene, look: ILook): void {
    const { nodes, placement, camera } = scene;
    const below = Painter.radius(camera) + 12;
    const letters = Math.max(3, Math.floor(camera.scale / 6.2));
    context.font = look.font;
    context.textAlign = 'center';
    context.lineJoin = 'round';
    context.lineWidth = 3;
    context.strokeStyle = look.background;
    context.fillStyle = look.text;
    nodes.forEach((node, i) => {
      const x = camera.toX(placement.x[i]);
      const y = camera.toY(placement.y[i]) + below;
      if (x > -camera.scale && x < camera.width + camera.scale && y > 0 && y < camera.height + below) {
        const name = node.app.length > letters ? `${node.app.slice(0, letters - 1)}…` : node.app;
        context.strokeText(name, x, y);
        context.fillText(name, x, y);
      }
    });
  }

  private _spritesFor(radius: number, look: ILook): ISprites {
    // Nobody sees a difference of less than half a device pixel, so few sizes are enough.
    const size = Math.round(radius * this._ratio * 2) / 2;
    let sprites = this._sprites.get(size);
    if (!sprites) {
      if (this._sprites.size > 40) {
        this._sprites.clear();
      }
      sprites = drawSprites(size, look);
      this._sprites.set(size, sprites);
    }
    return sprites;
  }

  private _ratio = 1;
  private _look: ILook | null = null;
  private _sprites = new Map<number, ISprites>();
  /** The layout version and view that the edge canvas shows. */
  private _drawnEdges = '';
  private _drawnScale = 1;
  private _drawnX = 0;
  private _drawnY = 0;
  private _edgeTime = 0;
  private _blurred = false;
}

interface ISprites {
  readonly half: number;
  readonly pictures: ReadonlyMap<string, HTMLCanvasElement>;
}

/** Draws one small picture for each state; `radius` is in device pixels. */
function drawSprites(radius: number, look: ILook): ISprites {
  const half = Math.ceil(radius * 1.2) + 1;
  const pictures = new Map<string, HTMLCanvasElement>();
  for (const state of STATES) {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 2 * half;
    const context = canvas.getContext('2d')!;
    const { path, solid } = symbolOf(state);
    const shape = new Path2D(path);
    context.translate(half, half);
    context.scale(radius, radius);
    // A rim in the colour of the background separates the node from the edges.
    context.strokeStyle = look.background;
    context.lineWidth = solid ? 0.3 : 0.6;
    context.lineJoin = 'round';
    context.stroke(shape);
    context.fillStyle = solid ? look.colours.get(state)! : look.background;
    context.fill(shape);
    if (!solid) {
      context.strokeStyle = look.colours.get(state)!;
      context.lineWidth = Math.max(0.3, 1.2 / radius);
      context.stroke(shape);
    }
    pictures.set(state, canvas);
  }
  return { half, pictures };
}

function readLook(element: HTMLElement): ILook {
  const style = getComputedStyle(element);
  const read = (name: string) => style.getPropertyValue(name).trim();
  return {
    colours: new Map(STATES.map(state => [state, read(colourOf(state))])),
    background: read('--jp-layout-color1'),
    edge: read('--parslab-edge'),
    mark: read('--parslab-mark'),
    text: read('--jp-ui-font-color1'),
    font: `${read('--jp-ui-font-size0')} ${read('--jp-ui-font-family')}`
  };
}

function edge(
  context: CanvasRenderingContext2D,
  fromX: number,
  fromY: number,
  x: number,
  y: number,
  curved: boolean
): void {
  context.moveTo(fromX, fromY);
  if (curved && fromX !== x) {
    const middle = (fromY + y) / 2;
    context.bezierCurveTo(fromX, middle, x, middle, x, y);
  } else {
    context.lineTo(x, y);
  }
}

function outside(fromX: number, fromY: number, x: number, y: number, { width, height }: Camera): boolean {
  return (
    Math.max(fromX, x) < 0 || Math.min(fromX, x) > width || Math.max(fromY, y) < 0 || Math.min(fromY, y) > height
  );
}
