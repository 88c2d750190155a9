/** Calls a function soon, but at most once per interval; the last request is never lost. */
import type { IDisposable } from '@lumino/disposable';

export class RateLimiter implements IDisposable {
  /** `_interval` is in milliseconds. */
  constructor(
    private _call: () => void,
    private _interval: number
  ) {}

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Calls at once if the last call was long enough ago, else when the interval has passed. */
  request(): void {
    if (this._timer !== null || this._isDisposed) {
      return;
    }
    const wait = this._last + this._interval - Date.now();
    if (wait <= 0) {
      this._run();
    } else {
      this._timer = setTimeout(() => this._run(), wait);
    }
  }

  /** Drops a requested call. */
  cancel(): void {
    if (this._timer !== null) {
      clearTimeout(this._timer);
      this._timer = null;
    }
  }

  dispose(): void {
    this.cancel();
    this._isDisposed = true;
  }

  private _run(): void {
    this._timer = null;
    this._last = Date.now();
    this._call();
  }

  private _timer: ReturnType<typeof setTimeout> | null = null;
  private _last = 0;
  private _isDisposed = false;
}
