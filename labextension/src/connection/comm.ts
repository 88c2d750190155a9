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
import type { IConnection, IInspection, IMissingHalf, Link } from '../tokens';
import { inspect, NO_PYTHON } from './inspect';

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

  readonly route = 'kernel';
  readonly missing: IMissingHalf | null = null;

  get kernelGone(): string {
    return this._link === 'lost' && this._reason !== 'offline' ? this._reason : '';
  }

  get inspection(): IInspection | null {
    return this._inspection;
  }

  get inspected(): ISignal<IConnection, void> {
    return this._inspected;
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
   * Whether the kernel may have a run. An idle kernel lists its comms, so a kernel without parslab never receives our
   * request type. A busy kernel cannot list them, so the caller has to send the request itself. The status "idle" may be
   * wrong: a kernel also reports it after a request on the control channel, while it runs a cell.
   */
  async find(): Promise<boolean> {
    if (this._comm) {
      return true;
    }
    if (!this._reachable) {
      return false;
    }
    if (!(await this._isPython())) {
      this._setInspection(NO_PYTHON);
      return false;
    }
    if ((await this._settledStatus()) !== 'idle') {
      return !this._noControlHandler && this._reachable;
    }
    const reply = await orNull(this._kernel.requestCommInfo({ target_name: TARGET }));
    if (!reply) {
      return !this._noControlHandler && this._reachable;
    }
    this._findWhenIdle = false;
    const comms = reply.content.status === 'ok' ? Object.entries(reply.content.comms) : [];
    const found = comms.filter(([, comm]) => comm.target_name === TARGET).pop();
    if (found && !this._comm) {
      this._useComm(found[0]);
    } else if (!found) {
      void this._inspect();
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

  private async _inspect(): Promise<void> {
    this._hasInspected = true;
    const inspection = await inspect(this._kernel).catch(() => null);
    if (!this._comm && this._reachable) {
      this._setInspection(inspection);
    }
  }

  private _setInspection(inspection: IInspection | null): void {
    this._inspection = inspection;
    this._inspected.emit();
  }

  private async _isPython(): Promise<boolean> {
    const spec = await this._kernel.spec;
    return spec === undefined || spec.language.toLowerCase() === 'python';
  }

  /** The status of the kernel; right after a page connects, the server knows it, or the page waits for it. */
  private async _settledStatus(): Promise<string> {
    const isUnsettled = (status: string | undefined) => !status || status === 'unknown' || status === 'starting';
    if (!isUnsettled(this._kernel.status)) {
      return this._kernel.status;
    }
    const status = await this._askServer(this._kernel).catch(() => undefined);
    if (status && !isUnsettled(status)) {
      return status;
    }
    return new Promise(resolve => {
      const onStatus = (_: unknown, status: Kernel.Status) => {
        if (!isUnsettled(status)) {
          this._kernel.statusChanged.disconnect(onStatus);
          resolve(status);
        }
      };
      this._kernel.statusChanged.connect(onStatus);
    });
  }

  /** The reply to a control request; null if it does not arrive in time. */
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
        // A kernel that has replied before is only slow; a kernel that never replied has no handler.
        this._noControlHandler = !this._hasReplied;
        this._findWhenIdle = !this._hasReplied;
        finish(null);
        if (this._findWhenIdle && this._kernel.status === 'idle') {
          // The cell that kept the kernel busy may have ended meanwhile: no other change to idle is to come.
          void this.find();
        }
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
    } else if (type === 'execute_input') {
      // The cell may install parslab, or end the run that the panel offers. Our own expressions send no such message.
      // A reply that is still on its way says what was true before the cell.
      this._inspectWhenIdle = this._link === 'absent' && this._hasInspected;
    } else if (type === 'status') {
      // After a restart from another page, the only sign is a message from another process of the kernel.
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
        const { reason, left } = content.data ?? {};
        if (left === true) {
          this._setLink('lost', 'left');
        } else {
          this._setLink('closed', typeof reason === 'string' ? reason : '');
        }
      }
    }
  }

  private _onFeed(feed: unknown): void {
    for (const text of Array.isArray(feed) ? feed : []) {
      let reply: Reply;
      try {
        reply = JSON.parse(String(text)) as Reply;
      } catch {
        // The model sees an unreadable message as a gap in the numbers, and requests a new Snapshot.
        continue;
      }
      this._received.emit(reply);
    }
  }

  private _onStatus(_: unknown, status: Kernel.Status): void {
    if (status === 'restarting' || status === 'autorestarting' || status === 'dead') {
      this._onProcessGone(status === 'dead' ? 'dead' : 'restarted');
    } else if (status === 'idle' && this._findWhenIdle && !this._comm) {
      // The kernel has finished its cell, so now it can list its comms.
      this._findWhenIdle = false;
      void this.find();
    } else if (status === 'idle' && this._inspectWhenIdle && !this._comm) {
      this._inspectWhenIdle = false;
      void this._inspect();
    }
  }

  /** Drops the comm, because nobody closes the comms of a process that has ended. */
  private _onProcessGone(reason: string): void {
    const known = this._comm !== null || this._link === 'lost';
    this._comm = null;
    this._process = '';
    this._hasReplied = false;
    this._noControlHandler = false;
    this._findWhenIdle = false;
    this._hasInspected = false;
    this._inspectWhenIdle = false;
    this._inspection = null;
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
      // The page logs an error for each message of a comm that it does not know. This comm object receives nothing.
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
  /** The session of the kernel process that sends on this comm. */
  private _process = '';
  /** Whether this kernel process has replied to a request. */
  private _hasReplied = false;
  /** Whether a request to this kernel process got no reply in time. */
  private _noControlHandler = false;
  /** Whether a run may exist although the kernel did not reply. */
  private _findWhenIdle = false;
  /** What the kernel said when it had no run; null if it was not asked, or did not say. */
  private _inspection: IInspection | null = null;
  /** Whether this kernel process was asked why it has no run. */
  private _hasInspected = false;
  /** Whether a cell has begun since then. */
  private _inspectWhenIdle = false;
  private _waiting = new Set<IDisposable>();
  private _isDisposed = false;
  private _linkChanged = new Signal<IConnection, Link>(this);
  private _inspected = new Signal<IConnection, void>(this);
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
