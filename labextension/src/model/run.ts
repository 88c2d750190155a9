/**
 * The state of one run, made from a Snapshot and the Deltas after it, whose `seq` counts up by one.
 *
 * Invariants: while the model is not synchronized with the stream, only a Snapshot is applied; a missing number requests
 * one new Snapshot. Nothing is requested while the panel is hidden. A panel that was hidden for longer than a lease
 * requests a new Snapshot.
 */
import type { ISignal } from '@lumino/signaling';
import { Signal } from '@lumino/signaling';

import type {
  Reply,
  Request,
  IBlockActionRequest,
  IBlockRow,
  IBlockOutput,
  ICellCounts,
  IDelta,
  ICommandReply,
  IFailureGroupRow,
  IManagerRow,
  INotice,
  IOverview,
  ITaskPageRequest,
  IRunInfo,
  ISnapshot,
  ITaskDetail,
  ITaskPage,
  ITimeline,
  ITimelineRequest,
  IWorkerRow,
  GraphNode,
  ScalePoint
} from '../protocol';
import { LEASE } from '../protocol';
import type { IConnection, IInspection, IMissingHalf, INode, IRun, IRunChange, Route, RunStatus } from '../tokens';
import type { RequestReply } from './requests';
import { isRequestReply, LONG_REPLY_TIMEOUT, PendingRequests } from './requests';
import { blockKey, hasDeparted, hasEnded } from './blocks';
import { withPoint, dropOldest } from './bounded';

/** Milliseconds between two heartbeats. */
export const HEARTBEAT = 10000;

/** Milliseconds after which a requested Snapshot counts as lost. */
const REPAIR = 5000;

/** Notices that are kept. */
const NOTICES = 50;

/** Most ended blocks, managers that have left, and dead workers that are kept, of each kind. */
const MAX_ENDED = 200;

/** Samples of the rate that are kept, at most one a second. */
const RATES = 60;

const NOTHING: IRunChange = { reset: false, added: [], moved: [] };
const EVERYTHING: IRunChange = { reset: true, added: [], moved: [] };

export class Run implements IRun {
  constructor(private _connection: IConnection) {
    this._requests = new PendingRequests(_connection);
    _connection.received.connect((_, reply) => this._onReply(reply), this);
    _connection.linkChanged.connect(() => this._onLink(), this);
    _connection.inspected.connect(() => this._changed.emit(NOTHING), this);
  }

  get status(): RunStatus {
    const link = this._connection.link;
    if (link === 'connecting') {
      return 'connecting';
    }
    // Before the end: what became of the kernel says more to the user than that its run has ended with it.
    if (link === 'lost') {
      return 'lost';
    }
    if (this.info?.ended || (link === 'closed' && this.info)) {
      return 'ended';
    }
    if (link === 'absent' || link === 'closed') {
      return 'none';
    }
    return this.info ? 'live' : 'waiting';
  }

  get reason(): string {
    const ended = this.info?.ended && this._connection.link !== 'lost';
    return ended ? this.info!.reason : this._problem || this._connection.reason;
  }

  get id(): string | undefined {
    return this.info ? `${this.info.run} ${this.info.started}` : undefined;
  }

  get now(): number {
    if (this.info?.ended) {
      return this.info.ended;
    }
    return this.overview ? this.overview.now + (Date.now() - this._overviewAt) / 1000 : Date.now() / 1000;
  }

  wallTime(time: number): number {
    const changes = this.info?.clock.filter(([since]) => since <= time) ?? [];
    return time + (changes.length ? changes[changes.length - 1][1] : 0);
  }

  get expires(): number | null {
    const info = this.info;
    if (this.status !== 'live' || !info || !this.kernelGone) {
      return this._expires;
    }
    if (info.ends !== null) {
      return this.wallTime(info.ends);
    }
    // The run has not noticed yet that the kernel has gone, or it has other clients.
    const others = info.clients.filter(client => client.notebook !== info.notebook).length;
    return others ? Infinity : info.linger ? Date.now() / 1000 + info.linger : null;
  }

  get route(): Route {
    return this._connection.route;
  }

  get missing(): IMissingHalf | null {
    return this._connection.missing;
  }

  get kernelGone(): string {
    const info = this.info;
    if (this._connection.kernelGone || !info || this._connection.route !== 'server') {
      return this._connection.kernelGone;
    }
    // A page that was reloaded has not seen the kernel go, but the run knows its clients.
    return info.away !== null && info.notebook && info.ended === null ? 'left' : '';
  }

  get inspection(): IInspection | null {
    return this.status === 'none' ? this._connection.inspection : null;
  }

  get resumable(): string {
    const { expires, status } = this;
    if (['lost', 'live'].includes(status) && expires !== null && Date.now() / 1000 < expires) {
      return this.info?.run ?? '';
    }
    return this.inspection?.run ?? '';
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

  get failures(): ReadonlyMap<number, IFailureGroupRow> {
    return this._failures;
  }

  get hasFailed(): boolean {
    return this._hasFailed;
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
    this._stopHeartbeat();
    this._requests.failAll('The notebook was closed.');
    this._connection.dispose();
    Signal.clearData(this);
  }

  /** Whether the panel shows this run: only then it sends requests. */
  set visible(visible: boolean) {
    if (visible === this._visible) {
      return;
    }
    this._visible = visible;
    if (visible) {
      const quiet = Date.now() - this._lastSent > (LEASE * 1000) / 2;
      if (quiet || !this._synchronized) {
        this._resynchronize();
      }
      this._startHeartbeat();
    } else {
      this._stopHeartbeat();
    }
  }

  page(query: Omit<ITaskPageRequest, 'type' | 'request_id'>): Promise<ITaskPage> {
    return this._request<ITaskPage>({ type: 'TaskPageRequest', request_id: this._requests.newId(), ...query });
  }

  async cellCounts(cells: readonly string[]): Promise<ICellCounts> {
    // A page that was reloaded, and whose panel was not open since, does not know whether the kernel has a run.
    if (this._connection.link !== 'live' && !(await this._connection.find())) {
      throw new Error('The kernel has no run.');
    }
    const request_id = this._requests.newId();
    return this._request<ICellCounts>({ type: 'CellCountsRequest', request_id, cells: [...cells] });
  }

  detail(task: number): Promise<ITaskDetail> {
    return this._request<ITaskDetail>({ type: 'TaskDetailRequest', request_id: this._requests.newId(), task });
  }

  timeline(query: Omit<ITimelineRequest, 'type' | 'request_id'>): Promise<ITimeline> {
    return this._request<ITimeline>({ type: 'TimelineRequest', request_id: this._requests.newId(), ...query });
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

  retryGroup(failures: number): Promise<string> {
    const request_id = this._requests.newId();
    return this._command({ type: 'RetryRequest', request_id, failures }, LONG_REPLY_TIMEOUT);
  }

  reproducer(task: number): Promise<string> {
    return this._command({ type: 'ReproducerRequest', request_id: this._requests.newId(), task });
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

  // ----- synchronizing with the stream

  private _resynchronize(): void {
    const ended = this.info?.ended && this._connection.link !== 'live';
    if (!this._visible || ended || this._connection.link === 'lost' || this._connection.link === 'connecting') {
      return;
    }
    const id = this._requests.newId();
    this._snapshotId = id;
    this._synchronized = false;
    void this._requestSnapshot(id);
  }

  private async _requestSnapshot(id: string): Promise<void> {
    const isProbe = this._connection.link !== 'live';
    try {
      if (isProbe && !(await this._connection.find())) {
        return;
      }
      if (!this._visible || this._snapshotId !== id) {
        return;
      }
      this._lastSent = Date.now();
      await this._connection.send({ type: 'SnapshotRequest', request_id: id });
    } catch (error) {
      // Sent before any comm was seen: no reply means that there is no run. If the link has been closed meanwhile, the
      // reason for that says more.
      if (!isProbe && this._snapshotId === id && this._connection.link === 'live') {
        this._problem = (error as Error).message;
        this._changed.emit(NOTHING);
      }
    }
  }

  private _onLink(): void {
    const link = this._connection.link;
    this._problem = '';
    if (link !== 'live') {
      this._synchronized = false;
      this._requests.failAll('The kernel went away.');
    }
    if (link !== 'lost') {
      this._expires = null;
    } else if (this._connection.reason !== 'offline' && this.info) {
      const { clients, linger } = this.info;
      if (clients.length > 1) {
        this._expires = Infinity;
      } else if (linger) {
        this._expires ??= Date.now() / 1000 + linger;
      }
    }
    if (link === 'live' || link === 'absent') {
      this._resynchronize();
    }
    this._changed.emit(NOTHING);
  }

  private _onReply(reply: Reply): void {
    if (isRequestReply(reply)) {
      this._requests.settle(reply);
    } else if (reply.type === 'Snapshot') {
      // Snapshots that other pages requested arrive here, too; one without changes is ignored.
      const moved = reply.seq !== this._seq || reply.run.pid !== this.info?.pid;
      if (!this._synchronized || reply.request_id === this._snapshotId || moved) {
        this._onSnapshot(reply);
      }
    } else if (reply.type === 'Delta') {
      if (this._synchronized && reply.seq === this._seq + 1) {
        this._onDelta(reply);
      } else if (this._synchronized ? reply.seq > this._seq : Date.now() - this._lastSent > REPAIR) {
        this._resynchronize();
      }
    }
  }

  private _onSnapshot(snapshot: ISnapshot): void {
    this._problem = '';
    this._seq = snapshot.seq;
    this._synchronized = true;
    if (`${snapshot.run.run} ${snapshot.run.started}` !== this.id) {
      this._rates = [];
      this._hasFailed = false;
    } else if (snapshot.run.pid !== this.info?.pid) {
      // Another process has taken over the run, and does not have the requests to the one before.
      this._requests.failAll(
        'The process of the run was restarted before it replied: check whether the command was carried out, and try again.'
      );
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
    this._failures = new Map();
    snapshot.failures.forEach(group => this._setFailures(group));
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
      // A task with the same state as before may have been retried in between, so it counts as changed.
      if (node) {
        node.state = state;
        moved.push(id);
      }
    }
    delta.workers.forEach(row => this._workers.set(row.worker, row));
    delta.blocks.forEach(row => this._blocks.set(blockKey(row), row));
    delta.managers.forEach(row => this._managers.set(row.manager, row));
    delta.failures.forEach(group => this._setFailures(group));
    dropOldest(this._workers, row => row.state === 'dead', MAX_ENDED);
    dropOldest(this._blocks, hasEnded, MAX_ENDED);
    dropOldest(this._managers, hasDeparted, MAX_ENDED);
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

  private _setFailures(group: IFailureGroupRow): void {
    if (group.tasks > 0) {
      this._failures.set(group.number, group);
      this._hasFailed = true;
    } else {
      this._failures.delete(group.number);
    }
  }

  private _setOverview(overview: IOverview): void {
    this.overview = overview;
    this._overviewAt = Date.now();
    this._scaling = withPoint(this._scaling, overview.scale);
    const second = Math.floor(overview.now);
    if (second === this._ratedAt) {
      this._rates = [...this._rates.slice(0, -1), overview.rate];
    } else {
      this._rates = [...this._rates, overview.rate].slice(-RATES);
      this._ratedAt = second;
    }
  }

  // ----- heartbeats

  private _startHeartbeat(): void {
    this._stopHeartbeat();
    this._heartbeat = setInterval(() => {
      if (this._connection.link === 'live' && !this.info?.ended) {
        this._lastSent = Date.now();
        // A failed heartbeat needs no handling: the link reports the failure.
        this._connection.send({ type: 'Heartbeat' }).catch(() => undefined);
      }
    }, HEARTBEAT);
  }

  private _stopHeartbeat(): void {
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
  private _failures = new Map<number, IFailureGroupRow>();
  private _hasFailed = false;
  private _rates: number[] = [];
  private _ratedAt = 0;
  private _seq = 0;
  private _synchronized = false;
  private _snapshotId = '';
  private _expires: number | null = null;
  private _problem = '';
  private _visible = false;
  private _lastSent = 0;
  private _overviewAt = 0;
  private _heartbeat: ReturnType<typeof setInterval> | null = null;
  private _isDisposed = false;
  private _changed = new Signal<IRun, IRunChange>(this);
}
