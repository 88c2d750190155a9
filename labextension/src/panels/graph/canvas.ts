/**
 * The canvas of the graph. Pointer, wheel and keys move the camera and select tasks.
 *
 * The canvas draws at most once a frame, only while it is visible, and only after a change.
 */
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import { Widget } from '@lumino/widgets';

import { countsInWords } from '../../components/bars';
import { taskLabel } from '../../components/format';
import { labelOf } from '../../components/states';
import type { ISelection } from '../../tokens';
import { Camera } from './camera';
import type { GraphModel } from './model';
import type { Arrow } from './navigate';
import { nearest, step } from './navigate';
import { Painter } from './painter';

/** Pixels that the pointer may move during a click. */
const CLICK_RADIUS = 4;
/** Milliseconds without movement after which the painter redraws slow edges. */
const REST = 140;
/** Zoom factor of one key press or click on a button. */
const ZOOM_STEP = 1.35;

export class GraphCanvas extends Widget {
  constructor(
    private _model: GraphModel,
    private _selection: ISelection,
    private _trans: TranslationBundle
  ) {
    super();
    this.addClass('parslab-GraphCanvas');
    this._edges.setAttribute('aria-hidden', 'true');
    this._nodes.tabIndex = 0;
    this._nodes.setAttribute('role', 'application');
    this._tooltip.className = 'parslab-Tooltip';
    this._tooltip.hidden = true;
    this._spoken.className = 'parslab-Spoken';
    this._spoken.setAttribute('role', 'status');
    this.node.append(this._edges, this._nodes, this._tooltip, this._spoken);
    this._painter = new Painter(this._edges, this._nodes);
    this._listen();
    _model.changed.connect(this._onModel, this);
    _selection.changed.connect(this._onSelection, this);
  }

  /** Shows the whole graph, and fits it again each time it grows. */
  fit(): void {
    this._following = true;
    this._camera.fit(this._model.placement);
    this._invalidate();
  }

  zoomIn(): void {
    this._zoom(ZOOM_STEP);
  }

  zoomOut(): void {
    this._zoom(1 / ZOOM_STEP);
  }

  /** Draws in the colours of the current theme. */
  restyle(): void {
    this._painter.dropLook();
    this._invalidate();
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._model.dispose();
    this._cancelFrame();
    this._resized.disconnect();
    super.dispose();
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this._start();
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this._resized.observe(this.node);
    if (this.isVisible) {
      this._start();
    }
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this._model.active = false;
    this._cancelFrame();
  }

  protected onBeforeDetach(message: Message): void {
    this._resized.disconnect();
    this._model.active = false;
    this._cancelFrame();
    super.onBeforeDetach(message);
  }

  private _start(): void {
    this._onSize();
    this._model.active = true;
    this._invalidate();
  }

  // ----- drawing

  private _onModel(): void {
    if (this._model.version !== this._seen) {
      this._seen = this._model.version;
      this._hovered = -1;
      if (this._following) {
        this._camera.fit(this._model.placement);
      }
    }
    this._invalidate();
  }

  private _onSize(): void {
    const { clientWidth: width, clientHeight: height } = this.node;
    const ratio = window.devicePixelRatio || 1;
    if (
      !width ||
      !height ||
      (width === this._camera.width && height === this._camera.height && ratio === this._ratio)
    ) {
      return;
    }
    this._camera.width = width;
    this._camera.height = height;
    this._ratio = ratio;
    this._painter.resize(width, height, ratio);
    this._model.aspect = width / height;
    if (this._following) {
      this._camera.fit(this._model.placement);
    }
    // A new size clears a canvas. Drawing at once, before the browser paints the page, avoids an empty frame.
    this._draw(false);
  }

  private _invalidate(): void {
    if (this._frame === 0 && this.isVisible) {
      this._frame = requestAnimationFrame(() => {
        this._frame = 0;
        this._draw(false);
      });
    }
  }

  private _cancelFrame(): void {
    cancelAnimationFrame(this._frame);
    this._frame = 0;
    clearTimeout(this._rest);
  }

  private _draw(sharp: boolean): void {
    const model = this._model;
    this._painter.draw(
      {
        nodes: model.nodes,
        deps: model.deps,
        dependents: model.dependents,
        placement: model.placement,
        version: model.version,
        camera: this._camera,
        selected: model.indexOf(this._selection.task),
        hovered: this._hovered,
        focused: this._keyboard ? model.indexOf(this._focused) : -1
      },
      sharp
    );
    this._showTooltip(this._hovered >= 0 ? this._hovered : this._keyboard ? model.indexOf(this._focused) : -1);
    if (this._painter.blurred) {
      clearTimeout(this._rest);
      this._rest = setTimeout(() => this._draw(true), REST);
    }
    this._describe(String(model.nodes.length), this._summary());
  }

  /** Writes only changed attributes, because each frame calls this method. */
  private _describe(nodes: string, summary: string): void {
    if (this._nodes.dataset.nodes !== nodes) {
      this._nodes.dataset.nodes = nodes;
    }
    if (this._nodes.getAttribute('aria-label') !== summary) {
      this._nodes.setAttribute('aria-label', summary);
    }
  }

  private _summary(): string {
    const counts = this._model.run?.overview?.counts ?? {};
    const words = countsInWords(counts, this._trans);
    return this._trans.__('Task graph: %1. Arrow keys move between tasks, Enter opens one.', words);
  }

  // ----- pointers

  private _listen(): void {
    const canvas = this._nodes;
    canvas.addEventListener('pointerdown', event => this._onDown(event));
    canvas.addEventListener('pointermove', event => this._onMove(event));
    canvas.addEventListener('pointerup', event => this._onUp(event));
    canvas.addEventListener('pointerleave', () => this._hover(-1));
    canvas.addEventListener('pointercancel', () => (this._drag = null));
    canvas.addEventListener('wheel', event => this._onWheel(event), { passive: false });
    canvas.addEventListener('keydown', event => this._onKey(event));
    canvas.addEventListener('blur', () => this._setKeyboard(false));
    this._resized = new ResizeObserver(() => this._onSize());
  }

  private _onDown(event: PointerEvent): void {
    if (event.button === 0) {
      this._drag = { x: event.offsetX, y: event.offsetY, dragged: false };
      this._nodes.setPointerCapture(event.pointerId);
    }
  }

  private _onMove(event: PointerEvent): void {
    const drag = this._drag;
    if (!drag) {
      this._hover(this._nodeAt(event.offsetX, event.offsetY));
      return;
    }
    const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
    if (drag.dragged || Math.hypot(dx, dy) > CLICK_RADIUS) {
      this._drag = { x: event.offsetX, y: event.offsetY, dragged: true };
      this._following = false;
      this._nodes.classList.add('parslab-mod-dragged');
      this._hover(-1);
      this._camera.pan(dx, dy);
      this._invalidate();
    }
  }

  private _onUp(event: PointerEvent): void {
    const drag = this._drag;
    this._drag = null;
    this._nodes.classList.remove('parslab-mod-dragged');
    if (drag && !drag.dragged) {
      const node = this._nodeAt(event.offsetX, event.offsetY);
      const task = node < 0 ? null : this._model.nodes[node].id;
      this._focused = task ?? this._focused;
      this._setKeyboard(false);
      this._selection.select(task);
    }
  }

  private _onWheel(event: WheelEvent): void {
    event.preventDefault();
    const pixels = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * 16 : event.deltaY;
    this._zoom(Math.exp(-pixels * 0.0016), event.offsetX, event.offsetY);
  }

  private _zoom(factor: number, x?: number, y?: number): void {
    this._following = false;
    this._camera.zoom(factor, x, y);
    this._hover(-1);
    this._invalidate();
  }

  private _nodeAt(px: number, py: number): number {
    const { scale, originX, originY } = this._camera;
    const reach = Math.max(0.45, 5 / scale);
    return nearest(this._model.placement, (px - originX) / scale, (py - originY) / scale, reach);
  }

  private _hover(index: number): void {
    if (index === this._hovered) {
      return;
    }
    this._hovered = index;
    this._nodes.classList.toggle('parslab-mod-over', index >= 0);
    this._invalidate();
  }

  private _showTooltip(index: number): void {
    const node = this._model.nodes[index];
    this._tooltip.hidden = !node;
    if (!node) {
      return;
    }
    this._tooltip.textContent = this._words(index);
    this._tooltip.dataset.state = node.state;
    const { placement } = this._model;
    const [x, y] = [this._camera.toX(placement.x[index]), this._camera.toY(placement.y[index])];
    const { offsetWidth: width, offsetHeight: height } = this._tooltip;
    const left = Math.max(2, Math.min(x - width / 2, this._camera.width - width - 2));
    const above = y - Painter.radius(this._camera) - height - 8;
    const top = above > 0 ? above : y + Painter.radius(this._camera) + 8;
    this._tooltip.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
  }

  private _words(index: number): string {
    const { id, app, state } = this._model.nodes[index];
    return `#${taskLabel(id)} ${app}: ${labelOf(state, this._trans).toLowerCase()}`;
  }

  // ----- keys

  private _onKey(event: KeyboardEvent): void {
    const from = this._model.indexOf(this._focused ?? this._selection.task);
    if (event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    if (event.key.startsWith('Arrow')) {
      this._focus(step(this._model, from, event.key as Arrow));
    } else if ((event.key === 'Enter' || event.key === ' ') && from >= 0) {
      this._selection.select(this._model.nodes[from].id);
    } else if (event.key === '+' || event.key === '=') {
      this.zoomIn();
    } else if (event.key === '-') {
      this.zoomOut();
    } else if (event.key === '0') {
      this.fit();
    } else if (event.key === 'Escape') {
      this._selection.select(null);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  private _focus(index: number): void {
    if (index < 0) {
      return;
    }
    const { placement, nodes } = this._model;
    this._focused = nodes[index].id;
    this._keyboard = true;
    this._camera.reveal(placement.x[index], placement.y[index]);
    this._spoken.textContent = this._words(index);
    this._invalidate();
  }

  private _setKeyboard(keyboard: boolean): void {
    this._keyboard = keyboard;
    this._invalidate();
  }

  private _onSelection(_: ISelection, task: number | null): void {
    const index = this._model.indexOf(task);
    if (index >= 0) {
      this._focused = task;
      const { placement } = this._model;
      if (!this._following) {
        this._camera.reveal(placement.x[index], placement.y[index]);
      }
    }
    this._invalidate();
  }

  private _camera = new Camera();
  private _painter: Painter;
  private _edges = document.createElement('canvas');
  private _nodes = document.createElement('canvas');
  private _tooltip = document.createElement('div');
  private _spoken = document.createElement('div');
  private _resized!: ResizeObserver;
  private _ratio = 0;
  private _seen = -1;
  private _following = true;
  private _hovered = -1;
  /** The task that the keyboard moves from. */
  private _focused: number | null = null;
  /** Whether the last input was a key, so that the canvas marks the focused task. */
  private _keyboard = false;
  private _drag: { x: number; y: number; dragged: boolean } | null = null;
  private _frame = 0;
  private _rest: ReturnType<typeof setTimeout> | undefined;
}
