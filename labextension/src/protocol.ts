/**
 * The panel protocol. Generated from python/parslab/records by
 * `python -m parslab.jupyter.typescript labextension/src/protocol.ts`: do not edit.
 */

/** Where a task is between its call and its end. */
export type TaskState =
  | 'pending'
  | 'running'
  | 'exec_done'
  | 'failed'
  | 'dep_fail'
  | 'ready'
  | 'launched'
  | 'fail_retryable'
  | 'memo_done'
  | 'joining'
  | 'cancelled';

/** A task in one of these states does not move any more, unless it is reopened. */
export const FINAL: readonly TaskState[] = ['exec_done', 'failed', 'dep_fail', 'memo_done', 'cancelled'];

/** Final states that carry a result. */
export const SUCCESSES: readonly TaskState[] = ['exec_done', 'memo_done'];

/** Final states that carry an error. */
export const FAILURES: readonly TaskState[] = ['failed', 'dep_fail'];

/** What each state means. */
export const MEANING: Readonly<Record<TaskState, string>> = {
  pending: 'Waits for other tasks whose results it needs.',
  running: 'Runs on a worker, or in the notebook process.',
  exec_done: 'Ended with a result.',
  failed: 'Failed with an exception, or lost its worker.',
  dep_fail: 'Never ran, because a task that it needs failed.',
  ready: 'Has everything it needs and waits for a worker.',
  launched: 'Was sent to a worker, or to the notebook process, which has not begun it yet.',
  fail_retryable: 'Waits for its next attempt, because the last one failed.',
  memo_done: 'Ended with the result of an earlier equal call and did not run itself.',
  joining: 'Waits for the futures that the body of its join app returned.',
  cancelled: 'Ended because somebody cancelled it.'
};

/** Where a block is between its request and its end.  A block is one batch job of one or more nodes. */
export type BlockState = 'requested' | 'queued' | 'running' | 'draining' | 'finished' | 'failed' | 'scaled_in' | 'missing';

/** What each state means. */
export const BLOCK_MEANING: Readonly<Record<BlockState, string>> = {
  requested: 'The provider has not answered yet with a job number.',
  queued: 'The scheduler has the job and has not started it.',
  running: 'The job runs; some of its managers may not be connected yet.',
  draining: 'The block gets no new tasks and leaves when its last task has ended.',
  finished: 'The job ended by itself: its walltime was over, or it had nothing left to do.',
  failed: 'The scheduler refused the job or could not start it, or the job failed.',
  scaled_in: 'parslab ended the job, because nobody needed it or because the run was over.',
  missing: 'The scheduler does not know the job any more, and no manager of it is connected.'
};

/** Where a manager is between its handshake and its end.  Each node of a block has one manager. */
export type ManagerState = 'ready' | 'held' | 'draining' | 'gone' | 'lost' | 'refused';

/** What each state means. */
export const MANAGER_MEANING: Readonly<Record<ManagerState, string>> = {
  ready: 'The manager takes tasks.',
  held: 'The manager keeps its tasks and gets no new ones until somebody releases it.',
  draining: 'The manager gets no new tasks and leaves when its last task has ended.',
  gone: 'The manager left in good order.',
  lost: 'The manager sent no heartbeat for too long, or its connection broke.',
  refused: 'Its Python, its packages or its protocol do not fit; the reason names the side to fix.'
};

/** Nodes that the graph panel is told of; the newest tasks beyond it are only counted. */
export const GRAPH_LIMIT = 5000;

/** Seconds after the last ask or heartbeat at which deltas stop. */
export const LEASE = 30;

/** Start (or repair) the stream: answered with a Snapshot. */
export interface IAttach {
  type: 'Attach';
  ask?: string;
  /** False: a Snapshot is all that is wanted, no stream. */
  listen?: boolean;
}

/** Somebody is still looking (every 10 s). */
export interface IHeartbeat {
  type: 'Heartbeat';
}

/** Rows of the task table: answered with a TaskPage. */
export interface IPage {
  type: 'Page';
  ask: string;
  /** Only these states; empty: all. */
  states?: string[];
  apps?: string[];
  /** Only tasks whose app, arguments, error or id contain this. */
  text?: string;
  /** A column of TaskRow. */
  sort?: string;
  descending?: boolean;
  offset?: number;
  limit?: number;
}

/** Everything known of a task: answered with a TaskDetail, or a Problem. */
export interface IDetail {
  type: 'Detail';
  ask: string;
  task: number;
}

/** Cancel these tasks, or the unfinished ones of an app, of a cell, or all (``everything``): answered with Done. */
export interface ICancel {
  type: 'Cancel';
  ask: string;
  tasks?: number[];
  everything?: boolean;
  app?: string;
  /** ``In [n]``: what that cell has called. */
  cell?: string;
  /** Whose cell it is (``TaskDetail.client``); -1: that of the notebook which asks. */
  client?: number;
}

/**
 * Try these tasks again, or all that failed (``everything``), with all that failed because of them.
 *
 * What was cancelled is tried again only where it is named, or needed.  Tasks call what their apps are defined as now,
 * where the notebook can be asked.  Answered with Done or a Problem.
 */
export interface IRetry {
  type: 'Retry';
  ask: string;
  tasks?: number[];
  everything?: boolean;
  /** Only tasks of this app, and those that failed because of one. */
  app?: string;
}

/** What the job of a block has printed last: answered with a BlockText, or a Problem. */
export interface IBlockOutput {
  type: 'BlockOutput';
  ask: string;
  executor: string;
  block: string;
}

/** Bring an executor to this many blocks: answered with Done or a Problem. */
export interface IScale {
  type: 'Scale';
  ask: string;
  /** Its label; empty: the only one that has blocks. */
  executor: string;
  blocks: number;
}

/** Do something to one block: answered with Done or a Problem. */
export interface IBlockCommand {
  type: 'BlockCommand';
  ask: string;
  /** Its label; empty: the only one that has blocks. */
  executor: string;
  block: string;
  /** Give it no new tasks, give it tasks again, let it end when it has finished those it holds, end it at once. */
  action: 'hold' | 'release' | 'drain' | 'cancel';
}

/** Let the run outlive its last client by so many seconds, 0: end with it: answered with Done. */
export interface IKeep {
  type: 'Keep';
  ask: string;
  seconds: number;
}

/** Why a task ran, or whose result it has: answered with Done or a Problem. */
export interface IExplain {
  type: 'Explain';
  ask: string;
  task: number;
}

/** Write the results that are remembered to a checkpoint: answered with Done (its folder) or a Problem. */
export interface ICheckpoint {
  type: 'Checkpoint';
  ask: string;
}

/** A notebook or script that is attached. */
export interface IClientRow {
  client: number;
  pid: number;
  host: string;
  /** It may end the run. */
  owner: boolean;
  /** Path of its notebook; empty for a script. */
  notebook: string;
  since: number;
}

/** The run itself. */
export interface IRunInfo {
  run: string;
  host: string;
  pid: number;
  run_dir: string;
  executors: string[];
  started: number;
  version: string;
  ended: number | null;
  /** Why it ended. */
  reason: string;
  /** Path of the notebook that it was started for; empty for a script. */
  notebook: string;
  /** Seconds that it outlives its last client; 0: it ends with its owner. */
  linger: number;
  /** Since when no client is attached; null while one is. */
  away: number | null;
  /** When it ends if none comes. */
  ends: number | null;
  clients: IClientRow[];
  /** Executors that take no tasks any more, and why. */
  stopped: Record<string, string>;
}

/** How many there were at a time: ``[time, blocks that run, their workers, tasks that wait for a worker]``. */
export type ScalePoint = [time: number, blocks: number, workers: number, waiting: number];

/** Totals at the time of the message. */
export interface IOverview {
  now: number;
  /** Tasks by state; states without tasks are left out. */
  counts: Record<string, number>;
  /** Tasks by app and state. */
  apps: Record<string, Record<string, number>>;
  /** Tasks finished per second, over the last few seconds. */
  rate: number;
  workers_busy: number;
  workers_total: number;
  tasks_total: number;
  clients: number;
  /** Null in a run that has had no block. */
  scale: ScalePoint | null;
}

/** A node of the graph: ``[id, app, state, dependencies]``. */
export type Node = [id: number, app: string, state: string, deps: number[]];

/** ``[id, state]`` of a node told before. */
export type StateChange = [id: number, state: string];

/** A worker and what it does. */
export interface IWorkerRow {
  worker: string;
  executor: string;
  state: string;
  host: string;
  pid: number;
  task: number | null;
  /** Tasks it has finished. */
  done: number;
  reason: string;
  /** Who started it; empty for workers of the run's own host. */
  manager: string;
}

/** A block, one job of a scheduler.  Times are seconds since the epoch, or null where the block has not been. */
export interface IBlockRow {
  executor: string;
  block: string;
  /** Name of a ``BlockState``. */
  state: string;
  /** What the scheduler calls it. */
  job: string;
  /** Nodes that were asked for. */
  nodes: number;
  /** Managers that are connected: nodes that work. */
  managers: number;
  workers: number;
  busy: number;
  /** Tasks that its workers have finished. */
  done: number;
  /** It gets no new tasks until it is released. */
  held: boolean;
  /** When it entered its state. */
  since: number;
  requested: number;
  started: number | null;
  ended: number | null;
  reason: string;
  /** Path of the file with the output of the job. */
  stdout: string;
  stderr: string;
}

/** A manager, one for each node of a block, and how busy its node is (null while no sample has come). */
export interface IManagerRow {
  manager: string;
  executor: string;
  block: string;
  /** Name of a ``ManagerState``. */
  state: string;
  host: string;
  pid: number;
  workers: number;
  busy: number;
  /** Tasks that its workers have finished. */
  done: number;
  cores: number;
  /** Bytes of the node. */
  memory: number;
  /** Percent of all cores of the node. */
  cpu: number | null;
  /** Bytes of its memory in use. */
  used: number | null;
  /** Processes that ran or wanted to, mean of the last minute. */
  load: number | null;
  /** When it entered its state. */
  since: number;
  reason: string;
}

/** One sentence for the user. */
export interface INotice {
  time: number;
  level: string;
  text: string;
}

/** The whole picture. */
export interface ISnapshot {
  type: 'Snapshot';
  seq: number;
  run: IRunInfo;
  overview: IOverview;
  nodes: Node[];
  /** Tasks beyond ``GRAPH_LIMIT`` that are not among the nodes. */
  hidden: number;
  workers: IWorkerRow[];
  notices: INotice[];
  ask: string;
  blocks: IBlockRow[];
  managers: IManagerRow[];
  /** How the blocks grew and shrank since the run began, a point where something changed; thinned out with time. */
  scaling: ScalePoint[];
}

/** What changed since ``seq - 1``. */
export interface IDelta {
  type: 'Delta';
  seq: number;
  overview: IOverview;
  nodes: Node[];
  changes: StateChange[];
  hidden: number;
  workers: IWorkerRow[];
  notices: INotice[];
  run: IRunInfo | null;
  blocks: IBlockRow[];
  managers: IManagerRow[];
}

/** A row of the task table.  Times are seconds since the epoch, or null where the task has not been. */
export interface ITaskRow {
  id: number;
  app: string;
  state: string;
  executor: string;
  submitted: number;
  started: number | null;
  ended: number | null;
  worker: string;
  attempt: number;
  error: string;
  shown: string;
  cell: string;
}

/** The rows asked for and how many there are in all. */
export interface ITaskPage {
  type: 'TaskPage';
  ask: string;
  rows: ITaskRow[];
  total: number;
  offset: number;
}

/** One attempt to run a task.  Times are seconds since the epoch, or null where it has not been. */
export interface IAttempt {
  /** Counts from 0. */
  attempt: number;
  /** ``failed``, or the state of the task whose last attempt it is. */
  state: string;
  started: number | null;
  ended: number | null;
  /** Who had it; often only its manager is known. */
  worker: string;
  host: string;
  /** Name of a ``Reason``; empty while it has not failed. */
  reason: string;
  error: string;
}

/** Everything known of one task. */
export interface ITaskDetail {
  type: 'TaskDetail';
  ask: string;
  row: ITaskRow;
  /** (state, when entered), in order. */
  times: [string, number][];
  deps: StateChange[];
  dependents: StateChange[];
  host: string;
  pid: number;
  traceback: string;
  stdout: string;
  stderr: string;
  client: number;
  /** Seconds of CPU time that it and its child processes took; like the three below null where nothing was sampled. */
  cpu: number | null;
  /** Most bytes resident at a time. */
  memory: number | null;
  /** Bytes read from files and devices. */
  read: number | null;
  written: number | null;
  /** Those that there have been, the present one last; empty before the first was sent. */
  attempts: IAttempt[];
}

/** The last lines that the job of a block has printed. */
export interface IBlockText {
  type: 'BlockText';
  ask: string;
  executor: string;
  block: string;
  stdout: string;
  stderr: string;
  /** One sentence on what could not be read; empty when all is there. */
  problem: string;
}

/** A command has been carried out; ``text`` says what was done. */
export interface IDone {
  type: 'Done';
  ask: string;
  text: string;
}

/** An ask could not be answered; one sentence. */
export interface IProblem {
  type: 'Problem';
  ask: string;
  text: string;
}

export type Ask =
  | IAttach
  | IHeartbeat
  | IPage
  | IDetail
  | ICancel
  | IRetry
  | IBlockOutput
  | IScale
  | IBlockCommand
  | IKeep
  | IExplain
  | ICheckpoint;

export type Answer =
  | ISnapshot
  | IDelta
  | ITaskPage
  | ITaskDetail
  | IBlockText
  | IDone
  | IProblem;
