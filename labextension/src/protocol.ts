/**
 * The panel protocol. Generated from python/parslab/records by
 * `python -m parslab.jupyter.typescript labextension/src/protocol.ts`: do not edit.
 */
import type { TranslationBundle } from '@jupyterlab/translation';

/** Where a task is between its call and its end. */
export type TaskState =
  | 'pending'
  | 'ready'
  | 'launched'
  | 'running'
  | 'staging'
  | 'fail_retryable'
  | 'joining'
  | 'exec_done'
  | 'memo_done'
  | 'failed'
  | 'dep_fail'
  | 'cancelled';

/** A coarse view of task states, for counts and conditions that do not depend on the exact state. */
export type TaskGroup =
  | 'waiting'
  | 'active'
  | 'succeeded'
  | 'failed'
  | 'cancelled';

/** Outline of a state's symbol, so that colour is never the only difference between two states. */
export type Shape =
  | 'circle'
  | 'diamond'
  | 'triangle'
  | 'triangle_back'
  | 'hexagon'
  | 'square'
  | 'bar';

/** Colour of a state's symbol, by its role: each front end maps it to a colour of its theme. */
export type Hue =
  | 'neutral'
  | 'info'
  | 'brand'
  | 'success'
  | 'warning'
  | 'error';

/** What one task state means, and how it looks. */
export interface ITaskStateInfo {
  group: TaskGroup;
  /** Whether a task stays in this state unless it is reopened. */
  final: boolean;
  /** Whether the body of the task has begun: such states have solid symbols. */
  has_run: boolean;
  shape: Shape;
  hue: Hue;
}

/** All task states in the order of a task's life, which legends and counters follow. */
export const TASK_STATES: Readonly<Record<TaskState, ITaskStateInfo>> = {
  pending: { group: 'waiting', final: false, has_run: false, shape: 'circle', hue: 'neutral' },
  ready: { group: 'waiting', final: false, has_run: false, shape: 'diamond', hue: 'info' },
  launched: { group: 'active', final: false, has_run: false, shape: 'triangle', hue: 'brand' },
  running: { group: 'active', final: false, has_run: true, shape: 'triangle', hue: 'brand' },
  staging: { group: 'active', final: false, has_run: true, shape: 'hexagon', hue: 'brand' },
  fail_retryable: { group: 'waiting', final: false, has_run: false, shape: 'triangle_back', hue: 'warning' },
  joining: { group: 'active', final: false, has_run: true, shape: 'diamond', hue: 'info' },
  exec_done: { group: 'succeeded', final: true, has_run: true, shape: 'circle', hue: 'success' },
  memo_done: { group: 'succeeded', final: true, has_run: false, shape: 'hexagon', hue: 'success' },
  failed: { group: 'failed', final: true, has_run: true, shape: 'square', hue: 'error' },
  dep_fail: { group: 'failed', final: true, has_run: false, shape: 'square', hue: 'warning' },
  cancelled: { group: 'cancelled', final: true, has_run: true, shape: 'bar', hue: 'neutral' }
};

/** A task in one of these states does not move any more, unless it is reopened. */
export const FINAL: readonly TaskState[] = ['exec_done', 'memo_done', 'failed', 'dep_fail', 'cancelled'];

/** Final states that carry a result. */
export const SUCCESSES: readonly TaskState[] = ['exec_done', 'memo_done'];

/** Final states that carry an error. */
export const FAILURES: readonly TaskState[] = ['failed', 'dep_fail'];

/** What each task state is called. */
export function taskStateLabels(trans: TranslationBundle): Record<TaskState, string> {
  return {
    pending: trans.__('Pending'),
    ready: trans.__('Ready'),
    launched: trans.__('Launched'),
    running: trans.__('Running'),
    staging: trans.__('Staging'),
    fail_retryable: trans.__('To be retried'),
    joining: trans.__('Joining'),
    exec_done: trans.__('Done'),
    memo_done: trans.__('Memoized'),
    failed: trans.__('Failed'),
    dep_fail: trans.__('Dep. failed'),
    cancelled: trans.__('Cancelled')
  };
}

/** What each task state means: sentences about the task. */
export function taskStateSentences(trans: TranslationBundle): Record<TaskState, string> {
  return {
    pending: trans.__('Waits for other tasks whose results it needs.'),
    ready: trans.__('Has everything it needs and waits for a worker.'),
    launched: trans.__('Was sent to a worker, or to the notebook process, which has not begun it yet.'),
    running: trans.__('Runs on a worker, or in the notebook process.'),
    staging: trans.__('Fetches or stores a file for other tasks.'),
    fail_retryable: trans.__('Waits for its next attempt, because the last one failed.'),
    joining: trans.__('Waits for the futures that the body of its join app returned.'),
    exec_done: trans.__('Ended with a result.'),
    memo_done: trans.__('Ended with the result of an earlier equal call and did not run itself.'),
    failed: trans.__('Failed with an exception, or lost its worker.'),
    dep_fail: trans.__('Never ran, because a task that it needs failed.'),
    cancelled: trans.__('Ended because somebody cancelled it.')
  };
}

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

/** Where a worker (a process that runs one task at a time) is in its life. */
export type WorkerState = 'starting' | 'idle' | 'busy' | 'dead';

/** What each state means. */
export const WORKER_MEANING: Readonly<Record<WorkerState, string>> = {
  starting: 'Its process was started and has not sent its hello yet.',
  idle: 'It waits for a task.',
  busy: 'It holds a task, which it runs or is about to run.',
  dead: 'Its process has ended, or its connection broke.'
};

/** A block in one of these states does not move any more. */
export const ENDED_BLOCK_STATES: readonly BlockState[] = ['finished', 'failed', 'scaled_in', 'missing'];

/** A manager in one of these states is not connected and takes no tasks any more. */
export const DEPARTED_MANAGER_STATES: readonly ManagerState[] = ['gone', 'lost', 'refused'];

/** Bits of a task id that number the tasks of one client; the bits above them are the number of the client. */
export const CLIENT_SHIFT = 40;

/** Most tasks that the graph panel receives as nodes; later tasks are only counted. */
export const GRAPH_LIMIT = 5000;

/** Seconds after the last request or heartbeat at which the run stops sending deltas. */
export const LEASE = 30;

/** Version of the route through the Jupyter server; server and page must have the same one. */
export const RELAY = 1;

/** Start or repair the stream of deltas.  The reply is a Snapshot. */
export interface ISnapshotRequest {
  type: 'SnapshotRequest';
  request_id?: string;
  /** Whether deltas should follow the snapshot. */
  subscribe?: boolean;
}

/** Renew the lease of the stream; a visible panel sends one every 10 s. */
export interface IHeartbeat {
  type: 'Heartbeat';
}

/** Ask for rows of the task table.  The reply is a TaskPage. */
export interface ITaskPageRequest {
  type: 'TaskPageRequest';
  request_id: string;
  /** Names of the wanted states; empty for all. */
  states?: string[];
  /** Names of the wanted apps; empty for all. */
  apps?: string[];
  /** Text that the app, the arguments, the error or the id must contain. */
  text?: string;
  /** Only failed tasks of this ``FailureGroupRow``; null for all tasks. */
  failures?: number | null;
  /** Only tasks that this cell of the notebook called, for example ``In [3]``; empty for all tasks. */
  cell?: string;
  /** The client that ran the cell (``TaskDetail.client``); -1 for the notebook that sends the request. */
  client?: number;
  /** Only tasks whose latest attempt ran on these workers or managers; empty for all. */
  workers?: string[];
  /** Only tasks whose latest attempt ran between these two times; null for all. */
  between?: [number, number] | null;
  /** A field of TaskRow. */
  sort?: string;
  descending?: boolean;
  offset?: number;
  limit?: number;
}

/** Ask how many tasks some cells of the notebook have called, by state.  The reply is a CellCounts. */
export interface ICellCountsRequest {
  type: 'CellCountsRequest';
  request_id: string;
  /** Names of the cells, for example ``In [3]``; at most 50 are counted. */
  cells: string[];
  /** The client that ran the cells (``TaskDetail.client``); -1 for the notebook that sends the request. */
  client?: number;
}

/** Ask for all details of one task.  The reply is a TaskDetail or an ErrorReply. */
export interface ITaskDetailRequest {
  type: 'TaskDetailRequest';
  request_id: string;
  task: number;
}

/** Ask when the workers were busy, for a picture.  The reply is a Timeline or an ErrorReply. */
export interface ITimelineRequest {
  type: 'TimelineRequest';
  request_id: string;
  /** Begin of the picture; null: when the first task was called. */
  since?: number | null;
  /** End of the picture; null: now, or when the last task ended if none is unfinished. */
  until?: number | null;
  /** Width of the picture.  Tasks that it would draw closer than two pixels share a bar. */
  pixels?: number;
  /** Most rows.  Where there are more workers, those of a node, a block or an executor share a row. */
  rows?: number;
}

/**
 * Cancel the given tasks, or all unfinished tasks of an app, of a cell, or of the run (``everything``).
 *
 * The reply is a CommandReply.
 */
export interface ICancelRequest {
  type: 'CancelRequest';
  request_id: string;
  tasks?: number[];
  everything?: boolean;
  app?: string;
  /** Cancel the tasks that this cell called, for example ``In [3]``. */
  cell?: string;
  /** The client that ran the cell (``TaskDetail.client``); -1 for the notebook that sends the request. */
  client?: number;
}

/**
 * Retry the given tasks, or all failed tasks (``everything``), and the tasks that failed because of them.
 *
 * A cancelled task is retried only when it is named or needed.  Tasks call the current definition of their apps if
 * the notebook can provide it.  The reply is a CommandReply or an ErrorReply.
 */
export interface IRetryRequest {
  type: 'RetryRequest';
  request_id: string;
  tasks?: number[];
  everything?: boolean;
  /** Retry only tasks of this app and the tasks that failed because of them. */
  app?: string;
  /** Retry all tasks of this ``FailureGroupRow``; null to name the tasks by the other fields. */
  failures?: number | null;
}

/** Ask for the last output of a block's job.  The reply is a BlockOutput or an ErrorReply. */
export interface IBlockOutputRequest {
  type: 'BlockOutputRequest';
  request_id: string;
  executor: string;
  block: string;
}

/** Scale an executor to this many blocks.  The reply is a CommandReply or an ErrorReply. */
export interface IScaleRequest {
  type: 'ScaleRequest';
  request_id: string;
  /** Label of the executor; empty for the only one that has blocks. */
  executor: string;
  blocks: number;
}

/** Hold, release, drain or cancel one block.  The reply is a CommandReply or an ErrorReply. */
export interface IBlockActionRequest {
  type: 'BlockActionRequest';
  request_id: string;
  /** Label of the executor; empty for the only one that has blocks. */
  executor: string;
  block: string;
  /**
   * ``hold``: send no new tasks.  ``release``: send tasks again.  ``drain``: end when current tasks have finished.
   * ``cancel``: end now.
   */
  action: 'hold' | 'release' | 'drain' | 'cancel';
}

/**
 * Set how many seconds the run outlives its last client; 0 ends it with that client.
 *
 * The reply is a CommandReply.
 */
export interface ILingerRequest {
  type: 'LingerRequest';
  request_id: string;
  seconds: number;
}

/** Ask why a task ran, or which call gave its result.  The reply is a CommandReply or an ErrorReply. */
export interface IExplainRequest {
  type: 'ExplainRequest';
  request_id: string;
  task: number;
}

/**
 * Ask for the text of a notebook cell that calls the function of a task with the arguments of the task.
 *
 * The reply is a CommandReply with the text of the cell, or an ErrorReply.
 */
export interface IReproducerRequest {
  type: 'ReproducerRequest';
  request_id: string;
  task: number;
}

/** Write the memoized results to a checkpoint.  The reply is a CommandReply with the folder, or an ErrorReply. */
export interface ICheckpointRequest {
  type: 'CheckpointRequest';
  request_id: string;
}

/**
 * End the DataFlowKernel so that another host can go on with the run.
 *
 * ``wait`` is how many seconds tasks on its host may take to finish, and ``keep`` how many seconds blocks go on
 * without a DataFlowKernel.  The reply is a CommandReply or an ErrorReply.
 */
export interface IHandoverRequest {
  type: 'HandoverRequest';
  request_id: string;
  wait: number;
  keep: number;
}

/** An attached client: a notebook or a script. */
export interface IClientRow {
  client: number;
  pid: number;
  host: string;
  /** Whether it may end the run. */
  owner: boolean;
  /** Path of its notebook; empty for a script. */
  notebook: string;
  since: number;
}

/**
 * A change of the wall clock, or a sleep of the machine: ``[since, offset]``.
 *
 * Times of the run never jump.  To show a time that is not before ``since``, add ``offset`` seconds.
 */
export type ClockChange = [since: number, offset: number];

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
  /** Why the run ended. */
  reason: string;
  /** Path of the notebook that started the run; empty for a script. */
  notebook: string;
  /** Seconds that the run outlives its last client; 0 if it ends with its owner. */
  linger: number;
  /** When the last client left; null while a client is attached. */
  away: number | null;
  /** When the run ends if no client attaches. */
  ends: number | null;
  /** The batch job that the run's host belongs to, as ``Slurm job 1234``; empty outside of jobs. */
  job: string;
  /** When that job ends, and everything on its host with it; null when nobody knows. */
  job_ends: number | null;
  clients: IClientRow[];
  /** The reason for each executor that accepts no more tasks. */
  stopped: Record<string, string>;
  /** Changes of the wall clock, in the order of ``since``. */
  clock: ClockChange[];
}

/** Size of the run at a time: ``[time, running blocks, their workers, tasks that wait for a worker]``. */
export type ScalePoint = [time: number, blocks: number, workers: number, waiting: number];

/** Totals at the time of the message. */
export interface IOverview {
  now: number;
  /** Number of tasks in each state; states without tasks are left out. */
  counts: Record<string, number>;
  /** Number of tasks of each app in each state. */
  apps: Record<string, Record<string, number>>;
  /** Tasks that finished per second, averaged over the last few seconds. */
  rate: number;
  workers_busy: number;
  workers_total: number;
  tasks_total: number;
  clients: number;
  /** Null if the run never had a block. */
  scale: ScalePoint | null;
}

/** A task as a node of the graph: ``[id, app, state, dependencies]``. */
export type GraphNode = [id: number, app: string, state: string, deps: number[]];

/** A task and its state: ``[id, state]``. */
export type StateChange = [id: number, state: string];

/** A worker and its current task. */
export interface IWorkerRow {
  worker: string;
  executor: string;
  state: string;
  host: string;
  pid: number;
  task: number | null;
  /** Tasks that it has finished. */
  done: number;
  reason: string;
  /** The manager that started it; empty for workers of the run's own host. */
  manager: string;
}

/** A block: one job of a scheduler.  Times are seconds since the epoch, or null for states it has not reached. */
export interface IBlockRow {
  executor: string;
  block: string;
  /** Name of a ``BlockState``. */
  state: string;
  /** The scheduler's id of the job. */
  job: string;
  /** Requested nodes. */
  nodes: number;
  /** Connected managers, one per node. */
  managers: number;
  workers: number;
  busy: number;
  /** Tasks that its workers have finished. */
  done: number;
  /** Whether it gets no new tasks until it is released. */
  held: boolean;
  /** When it entered its current state. */
  since: number;
  requested: number;
  started: number | null;
  ended: number | null;
  reason: string;
  /** Path of the file with the job's standard output. */
  stdout: string;
  stderr: string;
  /** The price of the job per hour; null if its provider does not say. */
  price: number | null;
}

/** A manager (one per node of a block) and the load of its node; load fields are null before the first sample. */
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
  /** Memory of the node, in bytes. */
  memory: number;
  /** CPU use in percent of all cores of the node. */
  cpu: number | null;
  /** Memory in use on the node, in bytes. */
  used: number | null;
  /** The node's one-minute load average. */
  load: number | null;
  /** When it entered its current state. */
  since: number;
  reason: string;
}

/** A notification for the user: one sentence. */
export interface INotice {
  time: number;
  level: string;
  text: string;
}

/** Failed tasks whose errors have the same pattern; a task that is retried leaves its group. */
export interface IFailureGroupRow {
  /** Identifies the pattern in all processes of the run; 0 for all failures beyond the bounded number of groups. */
  number: number;
  /** The class of the exception; empty if the error names none. */
  kind: string;
  /** The message; placeholders replace its numbers, addresses, paths and quoted values. */
  message: string;
  /** 0 once all of them have been retried. */
  tasks: number;
  /** When the first task of the group failed, even if it was retried; null if only the database knows. */
  first: number | null;
  last: number | null;
  /** Number of tasks of each app. */
  apps: Record<string, number>;
  executors: Record<string, number>;
  /** Number of tasks that failed on each host; tasks that reached no host are left out. */
  hosts: Record<string, number>;
  /** The task of the group that failed first. */
  example: number | null;
}

/** The complete state of the run that a panel shows. */
export interface ISnapshot {
  type: 'Snapshot';
  seq: number;
  run: IRunInfo;
  overview: IOverview;
  nodes: GraphNode[];
  /** Number of tasks that are not among the nodes because of ``GRAPH_LIMIT``. */
  hidden: number;
  workers: IWorkerRow[];
  notices: INotice[];
  request_id: string;
  blocks: IBlockRow[];
  managers: IManagerRow[];
  /** History of blocks, workers and waiting tasks: one point per change, thinned out with time. */
  scaling: ScalePoint[];
  /** The groups that have tasks, in the order of their first failure. */
  failures: IFailureGroupRow[];
}

/** The changes since the message with number ``seq - 1``. */
export interface IDelta {
  type: 'Delta';
  seq: number;
  overview: IOverview;
  nodes: GraphNode[];
  changes: StateChange[];
  hidden: number;
  workers: IWorkerRow[];
  notices: INotice[];
  run: IRunInfo | null;
  blocks: IBlockRow[];
  managers: IManagerRow[];
  /** The groups that have changed; a group with 0 tasks is gone. */
  failures: IFailureGroupRow[];
}

/**
 * A row of the task table.  Times are seconds since the epoch, or null for states it has not reached.
 *
 * Each field is a column of the database's table ``task``, too.
 */
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
  /** The arguments as a short text. */
  shown: string;
  /** The notebook cell that called the task, for example ``In [3]``. */
  cell: string;
}

/** The tasks that a cell has called. */
export interface ICellCountsRow {
  cell: string;
  /** Number of tasks in each state; states without tasks are left out. */
  counts: Record<string, number>;
  /** When it called the first of them. */
  submitted: number;
  /** When the last of them ended; null while one is unfinished. */
  ended: number | null;
}

/** The tasks of each requested cell that has called any, at the time ``now``. */
export interface ICellCounts {
  type: 'CellCounts';
  request_id: string;
  now: number;
  rows: ICellCountsRow[];
}

/** The requested rows of the task table and the total number of matching rows. */
export interface ITaskPage {
  type: 'TaskPage';
  request_id: string;
  rows: ITaskRow[];
  total: number;
  offset: number;
}

/** One attempt to run a task.  Times are seconds since the epoch, or null if not reached. */
export interface IAttempt {
  /** Counts from 0. */
  attempt: number;
  /** ``failed`` for an earlier attempt, the state of the task for the latest one. */
  state: string;
  started: number | null;
  ended: number | null;
  /** The worker that ran it, or its manager if the worker is not known. */
  worker: string;
  host: string;
  /** Name of a ``Reason``; empty unless it failed. */
  reason: string;
  error: string;
}

/** All details of one task. */
export interface ITaskDetail {
  type: 'TaskDetail';
  request_id: string;
  row: ITaskRow;
  /** Pairs of a state and when the task entered it, in order. */
  times: [string, number][];
  deps: StateChange[];
  dependents: StateChange[];
  host: string;
  pid: number;
  traceback: string;
  stdout: string;
  stderr: string;
  client: number;
  /** CPU seconds of the task and its child processes.  This field and the next three are null without samples. */
  cpu: number | null;
  /** Peak resident memory, in bytes. */
  memory: number | null;
  /** Bytes read from files and devices. */
  read: number | null;
  /** Bytes written to files and devices. */
  written: number | null;
  /** All attempts, the latest one last; empty before the first attempt was sent. */
  attempts: IAttempt[];
  /** The nodes of an MPI task, with commas between them; empty for other tasks, and before it was sent. */
  nodes: string;
  /** The cores that its ranks are bound to; empty where they are not bound. */
  cores: string;
  /** The command that starts its ranks. */
  launch: string;
  /** Place and text of the innermost line of the traceback that is in a cell: ``["In [3], line 4", "1 / 0"]``. */
  source: [string, string] | null;
}

/**
 * Tasks of a row: ``[start, end, tasks, task, app, state, failed, busy]``.
 *
 * Times are seconds since the ``origin`` of the Timeline.
 */
export type TimelineBar = [start: number, end: number, tasks: number, task: number, app: number, state: string, failed: number, busy: number];

/** A row of the picture: one worker, or all workers of a node, a block or an executor. */
export interface ITimelineRow {
  /** Empty for bodies of join apps, which run in the notebook process. */
  executor: string;
  block: string;
  /** The manager; empty for workers of the run's own host, and for rows of more than one node. */
  node: string;
  host: string;
  /** The worker; empty if only its manager is known, and for rows of several workers. */
  worker: string;
  /** How many workers share the row. */
  workers: number;
  /** What the tasks of the row name as their worker: for ``TaskPageRequest.workers``. */
  names: string[];
  /** When the workers connected, as far as it is known. */
  since: number | null;
  /** When they left; null while they are connected. */
  until: number | null;
  /** Share of the time of the picture in which they were busy, from 0 to 1. */
  busy: number;
  bars: TimelineBar[];
}

/** Averages from a time to the next point: ``[time, connected, busy, waiting]``. */
export type UtilisationPoint = [time: number, connected: number, busy: number, waiting: number];

/**
 * When the workers of a run were busy, reduced to what a picture can show.
 *
 * Times are seconds since ``origin``.
 */
export interface ITimeline {
  type: 'Timeline';
  request_id: string;
  /** When the run began, in seconds since the epoch. */
  origin: number;
  /** Begin of this picture. */
  since: number;
  until: number;
  /** Begin of the picture that shows the whole run. */
  first: number;
  last: number;
  /** Whether any task is unfinished and has begun or could. */
  going_on: boolean;
  /** What a row stands for. */
  by: 'worker' | 'node' | 'block' | 'executor';
  rows: ITimelineRow[];
  /** Rows that are left out. */
  hidden: number;
  apps: string[];
  utilisation: UtilisationPoint[];
}

/** The last output lines of a block's job. */
export interface IBlockOutput {
  type: 'BlockOutput';
  request_id: string;
  executor: string;
  block: string;
  stdout: string;
  stderr: string;
  /** One sentence if a file could not be read; empty otherwise. */
  problem: string;
}

/** The result of a command; ``text`` is one sentence that says what the run did. */
export interface ICommandReply {
  type: 'CommandReply';
  request_id: string;
  text: string;
}

/** A request failed; ``text`` is one sentence that says why. */
export interface IErrorReply {
  type: 'ErrorReply';
  request_id: string;
  text: string;
}

/** The Jupyter server itself reports about the route to the run; all other messages on it are those of the run. */
export interface IRelayStatus {
  type: 'RelayStatus';
  /**
   * ``live``: the run answers.  ``absent``: the server looks for a run.  ``ended``: the run has ended.  ``lost``: its
   * process has gone without a word.  ``refused``: the run does not let the server in.  ``skipped``: the browser was too
   * slow, so messages were left out, and a Snapshot is needed.
   */
  state: 'live' | 'absent' | 'ended' | 'lost' | 'refused' | 'skipped';
  /** The name of the run; empty while none is found. */
  run: string;
  /** One sentence that says why; empty if the state needs none. */
  text: string;
}

export type Request =
  | ISnapshotRequest
  | IHeartbeat
  | ITaskPageRequest
  | ICellCountsRequest
  | ITaskDetailRequest
  | ITimelineRequest
  | ICancelRequest
  | IRetryRequest
  | IBlockOutputRequest
  | IScaleRequest
  | IBlockActionRequest
  | ILingerRequest
  | IExplainRequest
  | IReproducerRequest
  | ICheckpointRequest
  | IHandoverRequest;

export type Reply =
  | ISnapshot
  | IDelta
  | ITaskPage
  | ICellCounts
  | ITaskDetail
  | ITimeline
  | IBlockOutput
  | ICommandReply
  | IErrorReply;
