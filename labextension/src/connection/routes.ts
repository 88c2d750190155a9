/**
 * Chooses between two routes to the run of a kernel: through the Jupyter server, and through the kernel.
 *
 * The server's route is preferred, because it works whatever the kernel does. While it has no run, everything is as if
 * the kernel's route was the only one. A change of the route is reported like a new link, so that the model requests a
 * new Snapshot. Late replies to requests are taken from either route; the stream is taken from the chosen one only. A
 * request whose route breaks before the reply is refused with a sentence, and is never sent again by itself.
 */
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import { isRequestReply } from '../model/requests';
import type { Reply, Request } from '../protocol';
import type { IConnection, IInspection, IMissingHalf, Link, Route } from '../tokens';

/** Why a request has no reply: the run may have carried out a command whose reply was lost. */
export const BROKEN =
  'The connection to the run broke before the reply came: check whether a command was carried out, and try again.';

export class Routes implements IConnection {
  /** Owns both connections from now on. */
  constructor(
    private _kernel: IConnection,
    private _server: IConnection
  ) {
    this._chosen = this._choice;
    for (const connection of [_kernel, _server]) {
      connection.received.connect((_, reply) => this._onReply(connection, reply), this);
      connection.linkChanged.connect(() => this._onLink(connection), this);
    }
    _kernel.inspected.connect(() => this._inspected.emit(), this);
  }

  get link(): Link {
    return this._choice.link;
  }

  get reason(): string {
    return this._choice.reason;
  }

  get route(): Route {
    return this._choice.route;
  }

  get missing(): IMissingHalf | null {
    return this._server.missing;
  }

  get kernelGone(): string {
    return this._kernel.kernelGone;
  }

  get linkChanged(): ISignal<IConnection, Link> {
    return this._linkChanged;
  }

  get received(): ISignal<IConnection, Reply> {
    return this._received;
  }

  get inspection(): IInspection | null {
    return this._kernel.inspection;
  }

  get inspected(): ISignal<IConnection, void> {
    return this._inspected;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      this._kernel.dispose();
      this._server.dispose();
      Signal.clearData(this);
    }
  }

  async find(): Promise<boolean> {
    // A kernel that holds the interpreter lock would not answer, so the server is asked first.
    return (await this._server.find()) || (await this._kernel.find());
  }

  async send(request: Request): Promise<void> {
    if (this._choice === this._kernel) {
      // The kernel may hold the interpreter lock later, so the route through the server is opened now.
      const opening = this._server.find();
      // The change of the route has made the model request a Snapshot, and the kernel need not send one as well.
      if (request.type === 'SnapshotRequest' && (await opening)) {
        return;
      }
    }
    const route = this._choice;
    const id = 'request_id' in request && request.type !== 'SnapshotRequest' ? request.request_id : '';
    if (id) {
      this._unanswered.set(id, route);
    }
    try {
      await route.send(request);
    } catch (error) {
      this._unanswered.delete(id);
      throw error;
    }
  }

  private get _choice(): IConnection {
    // A kernel that this page has never heard from cannot say why its run has ended.
    const byServer =
      this._server.link === 'live' || (this._server.link === 'closed' && this._kernel.link === 'absent');
    return byServer ? this._server : this._kernel;
  }

  private _onReply(from: IConnection, reply: Reply): void {
    const isAnswer = isRequestReply(reply);
    if (isAnswer) {
      this._unanswered.delete(reply.request_id);
    }
    if (from === this._choice || isAnswer) {
      this._received.emit(reply);
    }
  }

  /** Refuses the requests that were sent by a route, because their replies will not come. */
  private _refuse(route: IConnection): void {
    const text =
      route.link === 'closed' ? 'The run has ended.' : route === this._kernel ? 'The kernel went away.' : BROKEN;
    for (const [request_id, sentBy] of [...this._unanswered]) {
      if (sentBy === route) {
        this._unanswered.delete(request_id);
        this._received.emit({ type: 'ErrorReply', request_id, text });
      }
    }
  }

  private _onLink(from: IConnection): void {
    // The server's route is reported as live again when messages were left out, and replies may be among them.
    if (from === this._server || from.link !== 'live') {
      this._refuse(from);
    }
    const chosen = this._choice;
    // What happens on the other route matters, too: a kernel that has gone changes what the panel offers.
    if (from === chosen || chosen !== this._chosen) {
      this._chosen = chosen;
      this._linkChanged.emit(this.link);
    } else {
      this._inspected.emit();
    }
  }

  private _chosen: IConnection;
  /** The requests without a reply, by their id, and the route by which each was sent. */
  private _unanswered = new Map<string, IConnection>();
  private _isDisposed = false;
  private _linkChanged = new Signal<IConnection, Link>(this);
  private _inspected = new Signal<IConnection, void>(this);
  private _received = new Signal<IConnection, Reply>(this);
}
