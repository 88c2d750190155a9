/**
 * The connection through the Jupyter server, which passes messages between this page and the socket of the run.
 *
 * It works while the kernel holds Python's interpreter lock, restarts, or is dead. The server finds the run by the
 * kernel of its notebook. It reports about the route with RelayStatus messages; all other messages are those of the run.
 */
import { PageConfig, URLExt } from '@jupyterlab/coreutils';
import type { ServerConnection } from '@jupyterlab/services';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { IRelayStatus, Reply, Request } from '../protocol';
import { RELAY } from '../protocol';
import type { IConnection, IInspection, IMissingHalf, Link } from '../tokens';

/** How long a page waits for the first word of the server before it asks the kernel, in milliseconds. */
export const FIRST_WORD = 2000;

/** The shortest and the longest pause before the page connects again, in milliseconds. */
export const RETRY = 1000;
export const LONGEST_RETRY = 30000;

/** What the server's extension says in each page; empty if the server has none. */
export function relayOption(): string {
  return PageConfig.getOption('parslabRelay');
}

export class ServerRelay implements IConnection {
  /** `query` names the run, such as `kernel=ID`; `option` is what the server's extension says in the page. */
  constructor(
    private _settings: ServerConnection.ISettings,
    private _query: string,
    private _option = relayOption()
  ) {}

  get link(): Link {
    return this._link;
  }

  get reason(): string {
    return this._reason;
  }

  get linkChanged(): ISignal<IConnection, Link> {
    return this._linkChanged;
  }

  get received(): ISignal<IConnection, Reply> {
    return this._received;
  }

  readonly route = 'server';
  readonly inspection: IInspection | null = null;
  readonly kernelGone = '';

  get inspected(): ISignal<IConnection, void> {
    return this._inspected;
  }

  get missing(): IMissingHalf | null {
    if (this._option === '') {
      return { half: 'server', text: '' };
    }
    if (this._option !== String(RELAY)) {
      return { half: Number(this._option) > RELAY ? 'page' : 'old-server', text: '' };
    }
    if (this._hasLost) {
      return { half: 'process', text: '' };
    }
    return this._refusal ? { half: 'run', text: this._refusal } : null;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (!this._isDisposed) {
      this._isDisposed = true;
      clearTimeout(this._timer);
      this._forget();
      Signal.clearData(this);
    }
  }

  /** Opens the route if it is not open. Resolves with whether the server has a run; a slow server counts as none. */
  async find(): Promise<boolean> {
    if (this._isDisposed || this._option !== String(RELAY)) {
      return false;
    }
    if (!this._socket && this._timer === undefined) {
      this._open();
    }
    if (!this._hasSpoken) {
      await new Promise<void>(resolve => {
        const timer = setTimeout(() => this._speak(), FIRST_WORD);
        this._waiting.push(() => {
          clearTimeout(timer);
          resolve();
        });
      });
    }
    return this._link === 'live';
  }

  async send(request: Request): Promise<void> {
    if (this._link !== 'live' || !this._socket) {
      throw new Error('The Jupyter server is not connected with the run.');
    }
    this._socket.send(JSON.stringify(request));
  }

  private _open(): void {
    this._timer = undefined;
    const settings = this._settings;
    // The version, because the server may have been restarted with another one since it sent this page.
    let url = `${URLExt.join(settings.wsUrl, 'parslab', 'panel')}?${this._query}&relay=${RELAY}`;
    if (settings.appendToken && settings.token !== '') {
      url += `&token=${encodeURIComponent(settings.token)}`;
    }
    try {
      const socket = new settings.WebSocket(url);
      this._socket = socket;
      socket.onmessage = event => this._onText(String(event.data));
      socket.onclose = () => this._onClose();
    } catch {
      // Some browsers throw where the page's Content-Security-Policy forbids the address.
      this._onClose();
    }
  }

  private _onText(text: string): void {
    let message: Reply | IRelayStatus;
    try {
      message = JSON.parse(text) as Reply | IRelayStatus;
    } catch {
      // The model sees an unreadable message as a gap in the numbers, and requests a new Snapshot.
      return;
    }
    if (message.type === 'RelayStatus') {
      this._onStatus(message);
    } else {
      this._received.emit(message);
    }
  }

  private _onStatus(status: IRelayStatus): void {
    this._pause = RETRY;
    this._refusal = status.state === 'refused' ? status.text : '';
    this._hasLost = status.state === 'lost';
    switch (status.state) {
      case 'live':
      case 'skipped':
        // The model requests a new Snapshot whenever a link is reported as live.
        this._setLink('live', '', true);
        break;
      case 'ended':
        this._setLink('closed', status.text);
        break;
      case 'lost':
      case 'absent':
      case 'refused':
        this._setLink('absent', '');
    }
    this._speak();
  }

  private _onClose(): void {
    this._forget();
    this._hasLost = false;
    this._setLink('absent', '');
    this._speak();
    this._timer = setTimeout(() => this._open(), this._pause);
    this._pause = Math.min(2 * this._pause, LONGEST_RETRY);
  }

  private _forget(): void {
    const socket = this._socket;
    this._socket = null;
    if (socket) {
      socket.onmessage = socket.onclose = null;
      // Browsers complain about a websocket that is closed while it connects.
      if (socket.readyState === socket.CONNECTING) {
        socket.onopen = () => socket.close();
      } else {
        socket.close();
      }
    }
  }

  /** The server has said something, cannot, or is slow: nobody waits for its first word any longer. */
  private _speak(): void {
    this._hasSpoken = true;
    this._waiting.splice(0).forEach(resolve => resolve());
  }

  private _setLink(link: Link, reason: string, fresh = false): void {
    if (this._isDisposed || (link === this._link && reason === this._reason && !fresh)) {
      return;
    }
    this._link = link;
    this._reason = reason;
    this._linkChanged.emit(link);
  }

  private _link: Link = 'absent';
  private _reason = '';
  private _refusal = '';
  /** Whether the last word of the server was that the process of the run has gone. */
  private _hasLost = false;
  private _socket: WebSocket | null = null;
  private _hasSpoken = false;
  private _waiting: (() => void)[] = [];
  private _pause = RETRY;
  private _timer: ReturnType<typeof setTimeout> | undefined;
  private _isDisposed = false;
  private _linkChanged = new Signal<IConnection, Link>(this);
  private _inspected = new Signal<IConnection, void>(this);
  private _received = new Signal<IConnection, Reply>(this);
}
