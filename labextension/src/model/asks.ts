/** Asks that wait for their answers, by an id that no other page uses. */
import { UUID } from '@lumino/coreutils';

import type { Answer, Ask, IBlockText, IDone, IProblem, ITaskDetail, ITaskPage } from '../protocol';
import type { IConnection } from '../tokens';

/** How long an answer may take. */
export const ANSWER_TIME = 15000;

/** How long it may take when notebooks have to be asked first, and workers to let go of what they do. */
export const LONG_ANSWER_TIME = 60000;

type Reply = ITaskPage | ITaskDetail | IBlockText | IDone;

interface IWaiting {
  resolve: (answer: Reply) => void;
  reject: (error: Error) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class Asks {
  constructor(private _connection: IConnection) {}

  /** A new id, unique among all pages of all kernels. */
  id(): string {
    this._count += 1;
    return `${this._page}-${this._count}`;
  }

  /** Sends the ask; resolves with its answer and rejects with the kernel's sentence. */
  send<T extends Reply>(ask: Ask & { ask: string }, patience = ANSWER_TIME): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const timer = setTimeout(() => this._fail(ask.ask, 'The kernel did not answer.'), patience);
      this._waiting.set(ask.ask, { resolve: resolve as (answer: Reply) => void, reject, timer });
      this._connection.send(ask).catch((error: Error) => this._fail(ask.ask, error.message));
    });
  }

  /** Hands an answer to whoever waits for it. */
  settle(answer: Reply | IProblem): void {
    const waiting = this._take(answer.ask);
    if (answer.type === 'Problem') {
      waiting?.reject(new Error(answer.text));
    } else {
      waiting?.resolve(answer);
    }
  }

  /** Nobody will answer any more. */
  failAll(text: string): void {
    [...this._waiting.keys()].forEach(id => this._fail(id, text));
  }

  private _fail(id: string, text: string): void {
    this._take(id)?.reject(new Error(text));
  }

  private _take(id: string): IWaiting | undefined {
    const waiting = this._waiting.get(id);
    if (waiting) {
      clearTimeout(waiting.timer);
      this._waiting.delete(id);
    }
    return waiting;
  }

  private _page = UUID.uuid4().slice(0, 8);
  private _count = 0;
  private _waiting = new Map<string, IWaiting>();
}

/** Whether this is an answer to one ask (and not part of the stream). */
export function isReply(answer: Answer): answer is Reply | IProblem {
  return ['TaskPage', 'TaskDetail', 'BlockText', 'Done', 'Problem'].includes(answer.type);
}
