/** Requests that wait for their replies, by an id that no other page uses. */
import { UUID } from '@lumino/coreutils';

import type {
  IBlockOutput,
  ICellCounts,
  ICommandReply,
  IErrorReply,
  ITaskDetail,
  ITaskPage,
  ITimeline,
  Reply,
  Request
} from '../protocol';
import type { IConnection } from '../tokens';

/** How long the panel waits for a reply, in milliseconds. */
export const REPLY_TIMEOUT = 15000;

/** The same for commands that wait for a notebook or for running workers. */
export const LONG_REPLY_TIMEOUT = 60000;

/** Replies that carry the id of a request. Snapshots carry one too, but belong to the stream. */
export type RequestReply = ITaskPage | ICellCounts | ITaskDetail | ITimeline | IBlockOutput | ICommandReply;

interface IPendingRequest {
  resolve: (reply: RequestReply) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class PendingRequests {
  constructor(private _connection: IConnection) {}

  /** A new id, unique among all pages of all kernels. */
  newId(): string {
    this._count += 1;
    return `${this._page}-${this._count}`;
  }

  /** Sends the request; resolves with its reply and rejects with the sentence of an ErrorReply. */
  send<T extends RequestReply>(request: Request & { request_id: string }, timeout = REPLY_TIMEOUT): Promise<T> {
    const id = request.request_id;
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => this._fail(id, this._silence), timeout);
      this._pending.set(id, { resolve: resolve as (reply: RequestReply) => void, reject, timer });
      this._connection.send(request).catch((error: Error) => this._fail(id, error.message));
    });
  }

  /** Resolves or rejects the request that this reply belongs to, if this page sent it. */
  settle(reply: RequestReply | IErrorReply): void {
    const pending = this._take(reply.request_id);
    if (reply.type === 'ErrorReply') {
      pending?.reject(new Error(reply.text));
    } else {
      pending?.resolve(reply);
    }
  }

  /** Rejects all pending requests. */
  failAll(text: string): void {
    [...this._pending.keys()].forEach(id => this._fail(id, text));
  }

  private get _silence(): string {
    return this._connection.route === 'server' ? 'The run did not answer.' : 'The kernel did not answer.';
  }

  private _fail(id: string, text: string): void {
    this._take(id)?.reject(new Error(text));
  }

  private _take(id: string): IPendingRequest | undefined {
    const pending = this._pending.get(id);
    if (pending) {
      clearTimeout(pending.timer);
      this._pending.delete(id);
    }
    return pending;
  }

  private _page = UUID.uuid4().slice(0, 8);
  private _count = 0;
  private _pending = new Map<string, IPendingRequest>();
}

/** Whether this message is the reply to one request, and not part of the stream. */
export function isRequestReply(reply: Reply): reply is RequestReply | IErrorReply {
  return [
    'TaskPage',
    'CellCounts',
    'TaskDetail',
    'Timeline',
    'BlockOutput',
    'CommandReply',
    'ErrorReply'
  ].includes(reply.type);
}
