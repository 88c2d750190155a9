/**
 * One run as it has been told: a Snapshot, then Deltas whose `seq` counts up by one.
 *
 * Invariants: while not in step with the stream nothing but a Snapshot is applied; a missing number asks for a new one,
 * once. Nothing is asked for while nobody watches. Whoever comes back after more than a lease attaches again.
 */
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type {
  Reply,
  Request,
  IBlockActionRequest,
  IBlockRow,
  IBlockOutput,
  IDelta,
  ICommandReply,
  IManagerRow,
  INotice,
  IOverview,
  ITaskPageRequest,
  IRunInfo,
  ISnapshot,
  ITaskDetail,
  ITaskPage,
  IWorkerRow,
  GraphNode,
  ScalePoint
} from '../protocol';
import { LEASE } from '../protocol';
import type { IConnection, INode, IRun, IRunChange, RunStatus } from '../tokens';
import type { RequestReply } from './requests';
import { isRequestReply, LONG_REPLY_TIMEOUT, PendingRequests } from './requests';
import { blockKey, isOver } from './blocks';
import { grown, keepLast } from './keep';

/** Milliseconds between two signs of life to the kernel. */
export const HEARTBEAT = 10000;

/** Milliseconds after which a Snapshot that was asked for counts as lost. */
const REPAIR = 5000;

/** Notices that are kept. */
const NOTICES = 50;

/** Blocks and managers that are over, and dead workers, of each of which so many are kept. */
const OVER = 200;

/** Samples of the rate that are kept, at most one a second. */
const RATES = 60;

const NOTHING: IRunChange = { reset: false, added: [], moved: [] };
const EVERYTHING: IRunChange = { reset: true, added: [], moved: [] };

export class Run implements IRun {
  constructor(private _connection: IConnection) {
    this._requests = new PendingRequests(_connection);
    _connection.received.connect((_, answer) => this._onAnswer(answer), this);
    _connection.linkChanged.connect(() => this._onLink(), this);
  }

  get status(): RunStatus {
    const link = this._connection.link;
    if (link === 'connecting') {
      return 'connecting';
    }
    if (this.info?.ended || (link === 'closed' && this.info)) {
      return 'ended';
    }
    if (link === 'lost') {
      return 'lost';
    }
    if (link === 'absent' || link === 'closed') {
      return 'none';
    }
    return this.info ? 'live' : 'waiting';
  }

  get reason(): string {
    return this.info?.ended ? this.info.reason : this._problem || this._connection.reason;
  }

  get id(): string | undefined {
    return this.info ? `${this.info.run} ${this.info.started}` : undefined;
  }

  get now(): number {
    if (this.info?.ended) {
      return this.info.ended;
    }
    return this.overview ? this.overview.now + (Date.now() - this._heardAt) / 1000 : Date.now() / 1000;
  }

  get stays(): number | null {
    return this._stays;
  }

  get nodes(): ReadonlyMap<number, INode> {
    return this._nodes;
  }

  get workers(): ReadonlyMap<string, IWorkerRow> {
    return this._workers;
  }

  get blocks(): ReadonlyMap<string, IBlockRow> {
    return this._blocks;
  }

  get managers(): ReadonlyMap<string, IManagerRow> {
    return this._managers;
  }

  get scaling(): readonly ScalePoint[] {
    return this._scaling;
  }

  get notices(): readonly INotice[] {
    return this._notices;
  }

  get rates(): readonly number[] {
    return this._rates;
  }

  get changed(): ISignal<IRun, IRunChange> {
    return this._changed;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._stopBeating();
    this._requests.failAll('The notebook was closed.');
    this._connection.dispose();
    Signal.clearData(this);
  }

  /** Whether somebody looks at this run. */
  set watched(watched: boolean) {
    if (watched === this._watched) {
      return;
    }
    this._watched = watched;
    if (watched) {
      const quiet = Date.now() - this._lastSent > (LEASE * 1000) / 2;
      if (quiet || !this._inStep) {
        this._attach();
      }
      this._startBeating();
    } else {
      this._stopBeating();
    }
  }

  page(query: Omit<ITaskPageRequest, 'type' | 'request_id'>): Promise<ITaskPage> {
    return this._request<ITaskPage>({ type: 'TaskPageRequest', request_id: this._requests.newId(), ...query });
  }

  detail(task: number): Promise<ITaskDetail> {
    return this._request<ITaskDetail>({ type: 'TaskDetailRequest', request_id: this._requests.newId(), task });
  }

  cancel(tasks: readonly number[] | 'all'): Promise<string> {
    const which = tasks === 'all' ? { everything: true } : { tasks: [...tasks] };
    return this._command({ type: 'CancelRequest', request_id: this._requests.newId(), ...which });
  }

  cancelCell(cell: string, client = -1): Promise<string> {
    return this._command({ type: 'CancelRequest', request_id: this._requests.newId(), cell, client });
  }

  retry(tasks: readonly number[] | 'failed', app = ''): Promise<string> {
    const which = tasks === 'failed' ? { everything: true, app } : { tasks: [...tasks], app };
    const request = { type: 'RetryRequest', request_id: this._requests.newId(), ...which } as const;
    return this._command(request, LONG_REPLY_TIMEOUT);
  }

  explain(task: number): Promise<string> {
    return this._command({ type: 'ExplainRequest', request_id: this._requests.newId(), task });
  }

  keep(seconds: number): Promise<string> {
    return this._command({ type: 'LingerRequest', request_id: this._requests.newId(), seconds });
  }

  blockOutput(executor: string, block: string): Promise<IBlockOutput> {
    const request_id = this._requests.newId();
    return this._request<IBlockOutput>({ type: 'BlockOutputRequest', request_id, executor, block });
  }

  commandBlock(executor: string, block: string, action: IBlockActionRequest['action']): Promise<string> {
    const request_id = this._requests.newId();
    return this._command({ type: 'BlockActionRequest', request_id, executor, block, action });
  }

  scale(executor: string, blocks: number): Promise<string> {
    return this._command({ type: 'ScaleRequest', request_id: this._requests.newId(), executor, blocks });
  }

  private async _command(request: Request & { request_id: string }, timeout?: number): Promise<string> {
    return (await this._request<ICommandReply>(request, timeout)).text;
  }

  private async _request<T extends RequestReply>(
    request: Request & { request_id: string },
    timeout?: number
  ): Promise<T> {
    if (this.status === 'ended') {
      throw new Error('The run has ended.');
    }
    return this._requests.send<T>(request, timeout);
  }

  // ----- keeping up with the stream

  private _attach(): void {
    const ended = this.info?.ended && this._connection.link !== 'live';
    if (!this._watched || ended || this._connection.link === 'lost' || this._connection.link === 'connecting') {
      return;
    }
    const id = this._requests.newId();
    this._snapshotId = id;
    this._inStep = false;
    void this._requestSnapshot(id);
  }

  private async _requestSnapshot(id: string): Promise<void> {
    const blind = this._connection.link !== 'live';
    try {
      if (blind && !(await this._connection.find())) {
        return;
      }
      if (!this._watched || this._snapshotId !== id) {
        return;
      }
      this._lastSent = Date.now();
      await this._connection.send({ type: 'SnapshotRequest', request_id: id });
    } catch (error) {
      // Asked in the blind, no answer is an answer: there is no run.
      if (!blind && this._snapshotId === id) {
        this._problem = (error as Error).message;
        this._changed.emit(NOTHING);
      }
    }
  }

  private _onLink(): void {
    const link = this._connection.link;
    this._problem = '';
    if (link !== 'live') {
      this._inStep = false;
      this._requests.failAll('The kernel went away.');
    }
    if (link !== 'lost') {
      this._stays = null;
    } else if (this._connection.reason !== 'offline' && this.info?.linger) {
      this._stays ??= Date.now() / 1000 + this.info.linger;
    }
    if (link === 'live' || link === 'absent') {
      this._attach();
    }
    this._changed.emit(NOTHING);
  }

  private _onAnswer(answer: Reply): void {
    if (isRequestReply(answer)) {
      this._requests.settle(answer);
    } else if (answer.type === 'Snapshot') {
      // Snapshots that other pages asked for pass by here too; one that tells nothing new is left alone.
      const moved = answer.seq !== this._seq || answer.run.pid !== this.info?.pid;
      if (!this._inStep || answer.request_id === this._snapshotId || moved) {
        this._onSnapshot(answer);
      }
    } else if (answer.type === 'Delta') {
      if (this._inStep && answer.seq === this._seq + 1) {
        this._onDelta(answer);
      } else if (this._inStep ? answer.seq > this._seq : Date.now() - this._lastSent > REPAIR) {
        this._attach();
      }
    }
  }

  private _onSnapshot(snapshot: ISnapshot): void {
    this._problem = '';
    this._seq = snapshot.seq;
    this._inStep = true;
    if (`${snapshot.run.run} ${snapshot.run.started}` !== this.id) {
      this._rates = [];
    } else if (snapshot.run.pid !== this.info?.pid) {
      // Another process has taken over the run: it was never asked what the one before was.
      this._requests.failAll('The process of the run was started again: look whether it was done, and ask again.');
    }
    this.info = snapshot.run;
    this.hidden = snapshot.hidden;
    this._nodes = new Map();
    snapshot.nodes.forEach(node => this._addNode(node));
    this._workers = new Map(snapshot.workers.map(row => [row.worker, row]));
    this._blocks = new Map(snapshot.blocks.map(row => [blockKey(row), row]));
    this._managers = new Map(snapshot.managers.map(row => [row.manager, row]));
    this._scaling = snapshot.scaling;
    this._notices = snapshot.notices.slice(-NOTICES);
    this._setOverview(snapshot.overview);
    this._changed.emit(EVERYTHING);
  }

  private _onDelta(delta: IDelta): void {
    this._seq = delta.seq;
    this.info = delta.run ?? this.info;
    this.hidden = delta.hidden;
    const added = delta.nodes.map(node => this._addNode(node));
    const moved: number[] = [];
    for (const [id, state] of delta.changes) {
      const node = this._nodes.get(id);
      // One that has the state that it had may have been in others meanwhile: it was tried again.
      if (node) {
        node.state = state;
        moved.push(id);
      }
    }
    delta.workers.forEach(row => this._workers.set(row.worker, row));
    delta.blocks.forEach(row => this._blocks.set(blockKey(row), row));
    delta.managers.forEach(row => this._managers.set(row.manager, row));
    keepLast(this._workers, row => row.state === 'dead', OVER);
    keepLast(this._blocks, isOver, OVER);
    keepLast(this._managers, isOver, OVER);
    if (delta.notices.length) {
      this._notices = [...this._notices, ...delta.notices].slice(-NOTICES);
    }
    this._setOverview(delta.overview);
    this._changed.emit({ reset: false, added, moved });
  }

  private _addNode([id, app, state, deps]: GraphNode): number {
    this._nodes.set(id, { id, app, state, deps });
    return id;
  }

  private _setOverview(overview: IOverview): void {
    this.overview = overview;
    this._heardAt = Date.now();
    this._scaling = grown(this._scaling, overview.scale);
    const second = Math.floor(overview.now);
    if (second === this._ratedAt) {
      this._rates = [...this._rates.slice(0, -1), overview.rate];
    } else {
      this._rates = [...this._rates, overview.rate].slice(-RATES);
      this._ratedAt = second;
    }
  }

  // ----- signs of life

  private _startBeating(): void {
    this._stopBeating();
    this._heartbeat = setInterval(() => {
      if (this._connection.link === 'live' && !this.info?.ended) {
        this._lastSent = Date.now();
        // A beat that fails needs no answer: the link says so by itself.
        this._connection.send({ type: 'Heartbeat' }).catch(() => undefined);
      }
    }, HEARTBEAT);
  }

  private _stopBeating(): void {
    if (this._heartbeat !== null) {
      clearInterval(this._heartbeat);
      this._heartbeat = null;
    }
  }

  info: IRunInfo | null = null;
  overview: IOverview | null = null;
  hidden = 0;
  private _requests: PendingRequests;
  private _nodes = new Map<number, INode>();
  private _workers = new Map<string, IWorkerRow>();
  private _blocks = new Map<string, IBlockRow>();
  private _managers = new Map<string, IManagerRow>();
  private _scaling: readonly ScalePoint[] = [];
  private _notices: INotice[] = [];
  private _rates: number[] = [];
  private _ratedAt = 0;
  private _seq = 0;
  private _inStep = false;
  private _snapshotId = '';
  private _stays: number | null = null;
  private _problem = '';
  private _watched = false;
  private _lastSent = 0;
  private _heardAt = 0;
  private _heartbeat: ReturnType<typeof setInterval> | null = null;
  private _isDisposed = false;
  private _changed = new Signal<IRun, IRunChange>(this);
}
