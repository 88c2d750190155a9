/**
 * The connection through the kernel's own channels.
 *
 * Kernel to panel: the kernel opens a comm and sends `{"feed": [text, ...]}`. The messages are taken from the iopub
 * signal rather than from a comm object, because that works the same after a reload (when this page never saw the comm
 * being opened) and on a connection that does not handle comms (a console was opened on the kernel before the
 * notebook). The target is registered nevertheless: a page that does not know a target closes the comm for everybody.
 *
 * Panel to kernel: a request of our own type on the control channel, which is served while a cell runs. The reply only
 * says that the request was accepted; the result comes over the comm.
 */
import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type { Reply, Request } from '../protocol';
import type { IConnection, Link } from '../tokens';

export const TARGET = 'parslab.monitor';
export const REQUEST = 'parslab_request';

/**
 * How long a kernel may take to accept a request before we conclude that its control channel has no handler. Much more than
 * the three seconds for which a page that connects to a busy kernel holds all messages back, waiting for kernel_info.
 */
export const REQUEST_TIMEOUT = 8000;

/** How long an idle kernel may take to list its comms before we conclude that it is busy. */
export const COMM_INFO_TIMEOUT = 1500;

/** The kernel's immediate reply to a request. */
export interface IControlReply {
  status: string;
  comm_id: string | null;
  run: string | null;
  text: string;
}

export class KernelComm implements IConnection {
  /** `askServer` returns the kernel's status as the Jupyter server knows it. */
  constructor(
    private _kernel: Kernel.IKernelConnection,
    private _askServer: (kernel: Kernel.IKernelConnection) => Promise<string | undefined>
  ) {
    if (_kernel.handleComms) {
      _kernel.registerCommTarget(TARGET, this._target);
    }
    this._link = _kernel.connectionStatus === 'connected' ? 'absent' : 'connecting';
    _kernel.iopubMessage.connect(this._onIopub, this);
    _kernel.statusChanged.connect(this._onStatus, this);
    _kernel.connectionStatusChanged.connect(this._onConnectionStatus, this);
    _kernel.disposed.connect(this._onKernelDisposed, this);
  }

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

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    if (this._kernel.handleComms && !this._kernel.isDisposed) {
      this._kernel.removeCommTarget(TARGET, this._target);
    }
    this._waiting.forEach(future => future.dispose());
    Signal.clearData(this);
  }

  /**
   * An idle kernel is asked for its comms: kernels without parslab need not hear of our request type. A busy one
   * cannot reply to that, so the request itself has to find out. "Idle" may be wrong: the kernel also says so after
   * a request on the control channel, in the middle of a cell.
   */
  async find(): Promise<boolean> {
    if (this._comm) {
      return true;
    }
    if (!this._reachable || !(await this._isPython())) {
      return false;
    }
    if ((await this._settledStatus()) !== 'idle') {
      return !this._noControlHandler && this._reachable;
    }
    const reply = await orNull(this._kernel.requestCommInfo({ target_name: TARGET }));
    if (!reply) {
      return !this._noControlHandler && this._reachable;
    }
    const comms = reply.content.status === 'ok' ? Object.entries(reply.content.comms) : [];
    const found = comms.filter(([, comm]) => comm.target_name === TARGET).pop();
    if (found && !this._comm) {
      this._useComm(found[0]);
    }
    return found !== undefined;
  }

  async send(request: Request): Promise<void> {
    if (!this._reachable) {
      throw new Error('The kernel is not connected.');
    }
    const text = JSON.stringify(request);
    const reply = this._noControlHandler ? null : await this._request(text);
    if (reply) {
      this._hasReplied = true;
      if (reply.status !== 'ok') {
        throw new Error(reply.text || 'The kernel refused.');
      }
      if (reply.comm_id) {
        this._useComm(reply.comm_id);
      }
    } else if (this._comm && !this._hasReplied) {
      this._post(text);
    } else {
      throw new Error('The kernel did not answer.');
    }
  }

  private get _reachable(): boolean {
    return !this._isDisposed && !this._kernel.isDisposed && this._kernel.connectionStatus === 'connected';
  }

  private async _isPython(): Promise<boolean> {
    const spec = await this._kernel.spec;
    return spec === undefined || spec.language.toLowerCase() === 'python';
  }

  /** Whether the kernel is idle or busy; a page that has just connected may have to ask the server, or to wait. */
  private async _settledStatus(): Promise<string> {
    const vague = (status: string | undefined) => !status || status === 'unknown' || status === 'starting';
    if (!vague(this._kernel.status)) {
      return this._kernel.status;
    }
    const status = await this._askServer(this._kernel).catch(() => undefined);
    if (status && !vague(status)) {
      return status;
    }
    return new Promise(resolve => {
      const look = (_: unknown, status: Kernel.Status) => {
        if (!vague(status)) {
          this._kernel.statusChanged.disconnect(look);
          resolve(status);
        }
      };
      this._kernel.statusChanged.connect(look);
    });
  }

  /** The reply to a control request, or null when none came in time. */
  private _request(text: string): Promise<IControlReply | null> {
    const message = this._message('control', REQUEST, { request: text });
    return new Promise(resolve => {
      const future = this._kernel.sendControlMessage(
        message as unknown as KernelMessage.IControlMessage,
        true,
        true
      );
      this._waiting.add(future);
      const timer = setTimeout(() => {
        // A kernel that has answered before is only slow; one that never did has no handler.
        this._noControlHandler = !this._hasReplied;
        this._retryWhenIdle = !this._hasReplied;
        finish(null);
      }, REQUEST_TIMEOUT);
      const finish = (reply: IControlReply | null) => {
        clearTimeout(timer);
        this._waiting.delete(future);
        resolve(reply);
        future.dispose();
      };
      future.onReply = reply => {
        clearTimeout(timer);
        this._waiting.delete(future);
        resolve(reply.content as unknown as IControlReply);
      };
      future.done.catch(() => finish(null));
    });
  }

  private _post(text: string): void {
    const content = { comm_id: this._comm, data: { request: text } };
    const message = this._message('shell', 'comm_msg', content);
    this._kernel.sendShellMessage(message as unknown as KernelMessage.IShellMessage, false, true);
  }

  private _message(channel: string, type: string, content: object): object {
    return {
      channel,
      header: {
        date: new Date().toISOString(),
        msg_id: UUID.uuid4(),
        msg_type: type,
        session: this._kernel.clientId,
        username: this._kernel.username,
        version: '5.4'
      },
      parent_header: {},
      metadata: {},
      content,
      buffers: []
    };
  }

  private _onIopub(_: unknown, message: KernelMessage.IIOPubMessage): void {
    const type: string = message.header.msg_type;
    if (type === 'comm_msg') {
      const content = message.content as KernelMessage.ICommMsgMsg['content'];
      if (content.comm_id === this._comm) {
        this._process = message.header.session;
        this._onFeed(content.data.feed);
      }
    } else if (type === 'status') {
      // A restart from another page is status by nothing but messages of another process.
      if (this._comm && this._process && message.header.session !== this._process) {
        this._onProcessGone('restarted');
      }
    } else if (type === 'comm_open') {
      const content = message.content as KernelMessage.ICommOpenMsg['content'];
      if (content.target_name === TARGET) {
        this._comm = null;
        this._process = message.header.session;
        this._useComm(content.comm_id);
      }
    } else if (type === 'comm_close') {
      const content = message.content as KernelMessage.ICommCloseMsg['content'];
      if (content.comm_id === this._comm) {
        this._comm = null;
        const reason = content.data?.reason;
        this._setLink('closed', typeof reason === 'string' ? reason : '');
      }
    }
  }

  private _onFeed(feed: unknown): void {
    for (const text of Array.isArray(feed) ? feed : []) {
      let reply: Reply;
      try {
        reply = JSON.parse(String(text)) as Reply;
      } catch {
        // A message that cannot be read is a message lost: the model sees the gap in the numbers and repairs it.
        continue;
      }
      this._received.emit(reply);
    }
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this._onProcessGone(status === 'dead' ? 'dead' : 'restarted');
    } else if (status === 'idle' && this._retryWhenIdle && !this._comm) {
      // What took so long has ended: now it can say whether there is a run after all.
      this._retryWhenIdle = false;
      void this.find();
    }
  }

  /** Nobody closes the comms of a process that is gone, so they are dropped here. */
  private _onProcessGone(reason: string): void {
    const known = this._comm !== null || this._link === 'lost';
    this._comm = null;
    this._process = '';
    this._hasReplied = false;
    this._noControlHandler = false;
    this._retryWhenIdle = false;
    if (known) {
      this._setLink('lost', reason);
    }
  }

  private _onConnectionStatus(_: unknown, status: Kernel.ConnectionStatus): void {
    if (status !== 'connected') {
      if (this._link === 'live') {
        this._setLink('lost', 'offline');
      }
    } else if (this._comm) {
      this._setLink('live', '');
    } else if (this._link === 'connecting') {
      this._setLink('absent', '');
    }
  }

  private _onKernelDisposed(): void {
    this._onProcessGone('dead');
  }

  private _useComm(comm: string): void {
    if (comm === this._comm) {
      return;
    }
    this._comm = comm;
    this._noControlHandler = false;
    if (this._kernel.handleComms && !this._kernel.hasComm(comm)) {
      // Not used to receive; but a comm that the page does not know makes it complain at each message.
      this._kernel.createComm(TARGET, comm);
    }
    this._setLink('live', '', true);
  }

  private _setLink(link: Link, reason: string, fresh = false): void {
    if (this._isDisposed || (link === this._link && reason === this._reason && !fresh)) {
      return;
    }
    this._link = link;
    this._reason = reason;
    this._linkChanged.emit(link);
  }

  private _target = (): void => undefined;
  private _link: Link;
  private _reason = '';
  /** The comm that carries the feed. */
  private _comm: string | null = null;
  /** The session of the kernel process that speaks on it. */
  private _process = '';
  /** This kernel process has answered a request. */
  private _hasReplied = false;
  /** A request to this kernel process was not answered. */
  private _noControlHandler = false;
  /** A run may exist that could not reply to a request. */
  private _retryWhenIdle = false;
  private _waiting = new Set<IDisposable>();
  private _isDisposed = false;
  private _linkChanged = new Signal<IConnection, Link>(this);
  private _received = new Signal<IConnection, Reply>(this);
}

/** What a promise resolves with, or null if it rejects or takes too long. */
function orNull<T>(promise: Promise<T>): Promise<T | null> {
  return new Promise(resolve => {
    const timer = setTimeout(() => resolve(null), COMM_INFO_TIMEOUT);
    const done = (value: T | null) => {
      clearTimeout(timer);
      resolve(value);
    };
    promise.then(done, () => done(null));
  });
}
