/**
 * A React view of the current run. It draws only while it is visible, and at most ten times a second.
 *
 * Subclasses implement `render`, and subscribe to other models with `follow`.
 */
import { ReactWidget } from '@jupyterlab/ui-components';
import type { ISignal } from '@lumino/signaling';
import type { Message } from '@lumino/messaging';

import { RateLimiter } from '../model/limiter';
import type { IRun, IRuns } from '../tokens';

/** Fewest milliseconds between two drawings. */
const INTERVAL = 100;

export abstract class RunView extends ReactWidget {
  constructor(protected runs: IRuns) {
    super();
    runs.currentChanged.connect(this._onRun, this);
    this._onRun();
  }

  get run(): IRun | null {
    return this.runs.current;
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._limiter.dispose();
    this._stopTicking();
    super.dispose();
  }

  /** Draws again when this signal fires. */
  protected follow(signal: ISignal<unknown, unknown>): void {
    signal.connect(this.redraw, this);
  }

  /** Draws again soon. */
  protected redraw(): void {
    if (this.isVisible) {
      this._limiter.request();
    }
  }

  /** Whether the view changes with time, without a message from the kernel (a running clock). */
  protected get ticking(): boolean {
    return false;
  }

  protected onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
    this._startTicking();
  }

  protected onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    if (this.isVisible) {
      this._startTicking();
    }
  }

  protected onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this._stopTicking();
  }

  protected onBeforeDetach(message: Message): void {
    this._stopTicking();
    super.onBeforeDetach(message);
  }

  private _onRun(): void {
    this._followed?.changed.disconnect(this.redraw, this);
    this._followed = this.runs.current;
    this._followed?.changed.connect(this.redraw, this);
    this.redraw();
  }

  private _startTicking(): void {
    this._stopTicking();
    this._ticker = setInterval(() => {
      if (this.ticking) {
        this.redraw();
      }
    }, 1000);
  }

  private _stopTicking(): void {
    if (this._ticker !== null) {
      clearInterval(this._ticker);
      this._ticker = null;
    }
  }

  private _followed: IRun | null = null;
  private _ticker: ReturnType<typeof setInterval> | null = null;
  private _limiter = new RateLimiter(() => this.update(), INTERVAL);
}
