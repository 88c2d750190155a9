/** Messages of a small run, for tests: `snapshot({...})`, `delta(seq, {...})` and so on fill in what is not given. */
import type { IDelta, IOverview, IRunInfo, ISnapshot, ITaskDetail, ITaskRow } from '../src/protocol';

export const INFO: IRunInfo = {
  run: '007',
  host: 'here',
  pid: 42,
  run_dir: '/runs/007',
  executors: ['local'],
  started: 1000,
  version: '0.1.0',
  ended: null,
  reason: ''
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
        reason: ''
      }
    ],
    notices: [],
    ask: '',
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
    ask: '',
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
    ...part
  };
}
