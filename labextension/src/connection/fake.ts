/** A connection for tests: what is sent piles up in `sent`, and `receive` plays the kernel. */
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { Reply, Request } from '../protocol';
import type { IConnection, IInspection, IMissingHalf, Link, Route } from '../tokens';

export class FakeConnection implements IConnection {
  link: Link = 'live';
  reason = '';
  /** What `find` finds. */
  findable = true;
  /** How often `find` was called. */
  finds = 0;
  /** The sentence that `send` refuses with, if any. */
  refusal = '';
  isDisposed = false;
  route: Route = 'kernel';
  missing: IMissingHalf | null = null;
  /** How the kernel has gone while the link is live. */
  gone = '';
  readonly sent: Request[] = [];

  get kernelGone(): string {
    return this.gone || (this.link === 'lost' && this.reason !== 'offline' ? this.reason : '');
  }

  get linkChanged(): ISignal<IConnection, Link> {
    return this._linkChanged;
  }

  get received(): ISignal<IConnection, Reply> {
    return this._received;
  }

  inspection: IInspection | null = null;

  get inspected(): ISignal<IConnection, void> {
    return this._inspected;
  }

  inspect(inspection: IInspection): void {
    this.inspection = inspection;
    this._inspected.emit();
  }

  async find(): Promise<boolean> {
    this.finds += 1;
    return this.findable;
  }

  async send(request: Request): Promise<void> {
    this.sent.push(request);
    if (this.refusal) {
      throw new Error(this.refusal);
    }
  }

  /** The last request of this type. */
  last<T extends Request['type']>(type: T): Extract<Request, { type: T }> {
    const found = this.sent.filter(request => request.type === type).pop();
    if (!found) {
      throw new Error(`no ${type} was sent`);
    }
    return found as Extract<Request, { type: T }>;
  }

  receive(...replies: Reply[]): void {
    replies.forEach(reply => this._received.emit(reply));
  }

  setLink(link: Link, reason = ''): void {
    this.link = link;
    this.reason = reason;
    this._linkChanged.emit(link);
  }

  dispose(): void {
    this.isDisposed = true;
    Signal.clearData(this);
  }

  private _linkChanged = new Signal<IConnection, Link>(this);
  private _inspected = new Signal<IConnection, void>(this);
  private _received = new Signal<IConnection, Reply>(this);
}
