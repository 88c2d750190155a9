/** Messages of a small run, for tests: `snapshot({...})`, `delta(seq, {...})` and so on fill in what is not given. */
import type {
  IBlockRow,
  IBlockOutput,
  IDelta,
  IFailureGroupRow,
  IManagerRow,
  IOverview,
  IRunInfo,
  ISnapshot,
  ITaskDetail,
  ITaskRow,
  ITimeline,
  ITimelineRow
} from '../src/protocol';

export const INFO: IRunInfo = {
  run: '007',
  host: 'here',
  pid: 42,
  run_dir: '/runs/007',
  executors: ['local'],
  started: 1000,
  version: '0.1.0',
  ended: null,
  reason: '',
  notebook: '/books/fit.ipynb',
  linger: 600,
  away: null,
  ends: null,
  job: '',
  job_ends: null,
  clients: [],
  stopped: {},
  clock: []
};

export function overview(part: Partial<IOverview> = {}): IOverview {
  const counts = part.counts ?? { exec_done: 1, running: 1 };
  const total = Object.values(counts).reduce((a, b) => a + b, 0);
  return {
    now: 1010,
    counts,
    apps: { fit: counts },
    rate: 1.5,
    workers_busy: 1,
    workers_total: 2,
    tasks_total: total,
    clients: 1,
    scale: null,
    ...part
  };
}

export function snapshot(part: Partial<ISnapshot> = {}): ISnapshot {
  return {
    type: 'Snapshot',
    seq: 5,
    run: INFO,
    overview: overview(),
    nodes: [
      [0, 'load', 'exec_done', []],
      [1, 'fit', 'running', [0]]
    ],
    hidden: 0,
    workers: [
      {
        worker: 'local-0',
        executor: 'local',
        state: 'busy',
        host: 'here',
        pid: 43,
        task: 1,
        done: 1,
        reason: '',
        manager: ''
      }
    ],
    notices: [],
    request_id: '',
    blocks: [],
    managers: [],
    scaling: [],
    failures: [],
    ...part
  };
}

export function delta(seq: number, part: Partial<IDelta> = {}): IDelta {
  return {
    type: 'Delta',
    seq,
    overview: overview(),
    nodes: [],
    changes: [],
    hidden: 0,
    workers: [],
    notices: [],
    run: null,
    blocks: [],
    managers: [],
    failures: [],
    ...part
  };
}

export function failures(number: number, part: Partial<IFailureGroupRow> = {}): IFailureGroupRow {
  return {
    number,
    kind: 'ValueError',
    message: 'number N is bad',
    tasks: 3,
    first: 1002,
    last: 1006,
    apps: { fit: 3 },
    executors: { htex: 3 },
    hosts: { node1: 3 },
    example: 7,
    ...part
  };
}

export function row(id: number, part: Partial<ITaskRow> = {}): ITaskRow {
  return {
    id,
    app: 'fit',
    state: 'exec_done',
    executor: 'local',
    submitted: 1000,
    started: 1001,
    ended: 1003.5,
    worker: 'local-0',
    attempt: 0,
    error: '',
    shown: `C=${id}`,
    cell: 'In [3]',
    ...part
  };
}

export function detail(id: number, part: Partial<ITaskDetail> = {}): ITaskDetail {
  return {
    type: 'TaskDetail',
    request_id: '',
    row: row(id),
    times: [
      ['pending', 1000],
      ['running', 1001],
      ['exec_done', 1003.5]
    ],
    deps: [],
    dependents: [],
    host: 'here',
    pid: 43,
    traceback: '',
    stdout: '',
    stderr: '',
    client: 1,
    cpu: null,
    memory: null,
    read: null,
    written: null,
    attempts: [],
    nodes: '',
    cores: '',
    launch: '',
    source: null,
    ...part
  };
}

export function block(id: number | string, part: Partial<IBlockRow> = {}): IBlockRow {
  return {
    executor: 'htex',
    block: String(id),
    state: 'running',
    job: `47${id}`,
    nodes: 1,
    managers: 1,
    workers: 4,
    busy: 3,
    done: 12,
    held: false,
    since: 1004,
    requested: 1001,
    started: 1004,
    ended: null,
    reason: '',
    stdout: `/runs/007/${id}.out`,
    stderr: `/runs/007/${id}.err`,
    price: null,
    ...part
  };
}

/** A block that has ended so, with a reason. */
export function endedBlock(id: number, state: string, reason: string, ended = 1008): IBlockRow {
  return block(id, { state, reason, ended, since: ended, started: null, managers: 0, workers: 0, busy: 0 });
}

export function manager(name: string, part: Partial<IManagerRow> = {}): IManagerRow {
  return {
    manager: name,
    executor: 'htex',
    block: '0',
    state: 'ready',
    host: 'node1',
    pid: 77,
    workers: 4,
    busy: 3,
    done: 12,
    cores: 8,
    memory: 16 * 2 ** 30,
    cpu: 51.3,
    used: 3.2 * 2 ** 30,
    load: 4.5,
    since: 1005,
    reason: '',
    ...part
  };
}

export function blockText(id: number | string, part: Partial<IBlockOutput> = {}): IBlockOutput {
  return {
    type: 'BlockOutput',
    request_id: '',
    executor: 'htex',
    block: String(id),
    stdout: '',
    stderr: '',
    problem: '',
    ...part
  };
}

export function timelineRow(part: Partial<ITimelineRow> = {}): ITimelineRow {
  return {
    executor: 'local',
    block: '',
    node: '',
    host: 'here',
    worker: 'local-0',
    workers: 1,
    names: ['local-0'],
    since: null,
    until: null,
    busy: 0.2,
    bars: [],
    ...part
  };
}

export function timeline(part: Partial<ITimeline> = {}): ITimeline {
  return {
    type: 'Timeline',
    request_id: '',
    origin: 1000,
    since: 0,
    until: 10,
    first: 0,
    last: 10,
    going_on: true,
    by: 'worker',
    rows: [timelineRow()],
    hidden: 0,
    apps: ['fit'],
    utilisation: [
      [0, 1, 0.5, 2.5],
      [10, 1, 0.5, 2.5]
    ],
    ...part
  };
}
