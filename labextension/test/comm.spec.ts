import type { Kernel, KernelMessage } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { COMM_INFO_TIMEOUT, KernelComm, REQUEST_TIMEOUT, TARGET } from '../src/connection/comm';
import type { Reply } from '../src/protocol';
import { settle } from './runs';
import { delta } from './samples';

type Content = Record<string, unknown>;

/** As much of a kernel connection as a KernelComm touches. */
class FakeKernel {
  handleComms = true;
  isDisposed = false;
  connectionStatus: Kernel.ConnectionStatus = 'connected';
  status: Kernel.Status = 'idle';
  /** The status that the server knows. */
  onRecord = 'starting';
  clientId = 'client';
  username = 'somebody';
  spec = Promise.resolve({ language: 'python' });
  comms: Record<string, { target_name: string }> = {};
  /** The reply to requests on the control channel; null for none. */
  reply: Content | null = { status: 'ok', comm_id: null, run: null, text: '' };
  readonly targets = new Map<string, unknown>();
  readonly known = new Set<string>();
  readonly control: Content[] = [];
  readonly shell: Content[] = [];
  readonly iopubMessage = new Signal<this, KernelMessage.IIOPubMessage>(this);
  readonly statusChanged = new Signal<this, Kernel.Status>(this);
  readonly connectionStatusChanged = new Signal<this, Kernel.ConnectionStatus>(this);
  readonly disposed = new Signal<this, void>(this);

  registerCommTarget(name: string, callback: unknown): void {
    this.targets.set(name, callback);
  }

  removeCommTarget(name: string): void {
    this.targets.delete(name);
  }

  hasComm(id: string): boolean {
    return this.known.has(id);
  }

  createComm(_: string, id: string): void {
    this.known.add(id);
  }

  /** Whether a cell runs, whatever the status says. */
  inCell = false;

  async requestCommInfo(): Promise<unknown> {
    if (this.inCell) {
      return new Promise(() => undefined);
    }
    return { content: { status: 'ok', comms: this.comms } };
  }

  /** The reply to an expression, and how often the kernel was asked. */
  value: Content = { status: 'ok', data: { 'text/plain': "''" } };
  asked = 0;
  /** How many expressions wait behind a cell that fails. */
  aborts = 0;
  /** Whether replies to expressions wait for `deliver`. */
  slow = false;
  deliver: () => void = () => undefined;

  requestExecute(): unknown {
    this.asked += 1;
    const reply = { content: { status: 'ok', user_expressions: { value: this.value } } };
    if (this.aborts > 0) {
      this.aborts -= 1;
      return { done: Promise.resolve({ content: { status: 'aborted' } }) };
    }
    return { done: new Promise(resolve => (this.slow ? (this.deliver = () => resolve(reply)) : resolve(reply))) };
  }

  sendControlMessage(message: { content: Content }): unknown {
    this.control.push(message.content);
    const future = {
      onReply: (_: unknown) => undefined,
      done: new Promise(() => undefined),
      dispose: () => undefined
    };
    if (this.reply) {
      void Promise.resolve().then(() => future.onReply({ content: this.reply }));
    }
    return future;
  }

  sendShellMessage(message: { content: Content }): void {
    this.shell.push(message.content);
  }

  /** Counts processes: each has its own session. */
  process = 1;

  publish(type: string, content: Content): void {
    const header = { msg_type: type, session: `process ${this.process}` };
    this.iopubMessage.emit({ header, content } as unknown as KernelMessage.IIOPubMessage);
  }

  open(id: string, target = TARGET): void {
    this.known.add(id);
    this.publish('comm_open', { comm_id: id, target_name: target, data: { run: '007' } });
  }

  become(status: Kernel.Status): void {
    this.status = status;
    this.statusChanged.emit(status);
  }

  connect(status: Kernel.ConnectionStatus): void {
    this.connectionStatus = status;
    this.connectionStatusChanged.emit(status);
  }
}

let kernel: FakeKernel;
let comm: KernelComm;
let links: string[];
let told: Reply[];

function make(prepare: (kernel: FakeKernel) => void = () => undefined): void {
  kernel = new FakeKernel();
  prepare(kernel);
  comm = new KernelComm(kernel as unknown as Kernel.IKernelConnection, async () => kernel.onRecord);
  links = [];
  told = [];
  comm.linkChanged.connect((_, link) => links.push(link));
  comm.received.connect((_, answer) => told.push(answer));
}

beforeEach(() => {
  vi.useFakeTimers();
  make();
});

afterEach(() => {
  comm.dispose();
  vi.useRealTimers();
});

describe('from the kernel', () => {
  it('reads each text of a feed, of its own comm only', () => {
    kernel.open('a');
    expect(links).toEqual(['live']);
    const texts = [delta(1), delta(2)].map(answer => JSON.stringify(answer));
    kernel.publish('comm_msg', { comm_id: 'a', data: { feed: texts } });
    kernel.publish('comm_msg', { comm_id: 'b', data: { feed: texts } });
    expect(told).toEqual([delta(1), delta(2)]);
  });

  it('leaves out what cannot be read', () => {
    kernel.open('a');
    kernel.publish('comm_msg', { comm_id: 'a', data: { feed: ['{', JSON.stringify(delta(2))] } });
    kernel.publish('comm_msg', { comm_id: 'a', data: {} });
    expect(told).toEqual([delta(2)]);
  });

  it('does not care for the comms of others', () => {
    kernel.open('w', 'jupyter.widget');
    expect(links).toEqual([]);
  });

  it('follows the newest comm', () => {
    kernel.open('a');
    kernel.open('b');
    kernel.publish('comm_close', { comm_id: 'a', data: {} });
    expect(comm.link).toBe('live');
    kernel.publish('comm_close', { comm_id: 'b', data: { reason: 'shut down' } });
    expect(comm.link).toBe('closed');
    expect(comm.reason).toBe('shut down');
  });

  it('tells a run that goes on without the kernel from one that has ended', () => {
    kernel.open('a');
    kernel.publish('comm_close', { comm_id: 'a', data: { reason: 'left', left: true } });
    expect([comm.link, comm.reason]).toEqual(['lost', 'left']);
    kernel.become('dead');
    expect([comm.link, comm.reason]).toEqual(['lost', 'dead']);
  });

  it('holds the target while it lives, where the page handles comms', () => {
    expect(kernel.targets.has(TARGET)).toBe(true);
    comm.dispose();
    comm.dispose();
    expect(kernel.targets.has(TARGET)).toBe(false);
    make(other => (other.handleComms = false));
    expect(kernel.targets.size).toBe(0);
    kernel.open('a');
    expect(comm.link).toBe('live');
  });
});

describe('a kernel without a run', () => {
  const missing = { status: 'error', ename: 'ModuleNotFoundError', evalue: "No module named 'parslab'" };

  it('says whether it has parslab, again after each cell', async () => {
    kernel.value = missing;
    expect(await comm.find()).toBe(false);
    await settle();
    expect(comm.inspection).toEqual({ python: true, installed: false, run: '' });
    expect(links).toEqual([]);
    kernel.become('busy');
    kernel.become('idle'); // our own expression: no cell has run
    expect(kernel.asked).toBe(1);
    kernel.become('busy');
    kernel.publish('execute_input', { code: '%pip install parslab' });
    kernel.value = { status: 'ok', data: { 'text/plain': "'007'" } };
    kernel.become('idle');
    await settle();
    expect(kernel.asked).toBe(2);
    expect(comm.inspection).toEqual({ python: true, installed: true, run: '007' });
  });

  it('is asked again when a cell began before it had answered', async () => {
    kernel.slow = true;
    await comm.find();
    expect(kernel.asked).toBe(1);
    kernel.publish('execute_input', { code: 'hide parslab' });
    kernel.deliver();
    await settle();
    kernel.value = missing;
    kernel.become('busy');
    kernel.become('idle');
    kernel.deliver();
    await settle();
    expect(kernel.asked).toBe(2);
    expect(comm.inspection?.installed).toBe(false);
  });

  it('is asked again when a cell that failed took the question with it', async () => {
    kernel.aborts = 1;
    kernel.value = missing;
    await comm.find();
    await settle();
    expect(comm.inspection?.installed).toBe(false);
  });

  it('is asked for its comms when the cell that ran at first has ended before we knew', async () => {
    kernel.value = missing;
    kernel.reply = null;
    kernel.status = 'busy';
    expect(await comm.find()).toBe(true);
    const request = comm.send({ type: 'SnapshotRequest' }).catch(() => undefined);
    kernel.become('idle');
    await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT);
    await request;
    await settle();
    expect(comm.inspection?.installed).toBe(false);
  });

  it('is not asked before the panel looks, nor when it has a run', async () => {
    kernel.publish('execute_input', { code: '1' });
    kernel.become('idle');
    kernel.open('a');
    await comm.find();
    kernel.publish('execute_input', { code: '1' });
    kernel.become('idle');
    expect(kernel.asked).toBe(0);
  });

  it('may have no Python', async () => {
    make(other => {
      other.spec = Promise.resolve({ language: 'R' });
    });
    expect(await comm.find()).toBe(false);
    kernel.publish('execute_input', { code: 'library(parallel)' });
    kernel.become('busy');
    kernel.become('idle');
    await settle();
    expect(comm.inspection?.python).toBe(false);
    expect(kernel.asked).toBe(0);
  });
});

describe('to the kernel', () => {
  it('asks on the control channel and adopts the comm that the reply names', async () => {
    kernel.reply = { status: 'ok', comm_id: 'a', run: '007', text: '' };
    await comm.send({ type: 'SnapshotRequest', request_id: 'x-1' });
    expect(kernel.control).toEqual([{ request: '{"type":"SnapshotRequest","request_id":"x-1"}' }]);
    expect(kernel.known).toContain('a');
    expect(comm.link).toBe('live');
  });

  it('passes on what the kernel refuses', async () => {
    kernel.reply = { status: 'error', comm_id: null, run: null, text: 'No run is loaded.' };
    await expect(comm.send({ type: 'Heartbeat' })).rejects.toThrow('No run is loaded.');
  });

  it('falls back to the comm when nobody listens, and remembers', async () => {
    kernel.reply = null;
    kernel.open('a');
    const first = comm.send({ type: 'Heartbeat' });
    await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT);
    await first;
    await comm.send({ type: 'Heartbeat' });
    expect(kernel.control).toHaveLength(1);
    expect(kernel.shell).toHaveLength(2);
    expect(kernel.shell[0]).toEqual({ comm_id: 'a', data: { request: '{"type":"Heartbeat"}' } });
  });

  it('only waits for a kernel that has answered before', async () => {
    kernel.open('a');
    await comm.send({ type: 'Heartbeat' });
    kernel.reply = null;
    const slow = expect(comm.send({ type: 'Heartbeat' })).rejects.toThrow('did not answer');
    await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT);
    await slow;
    expect(kernel.shell).toHaveLength(0);
  });

  it('says so when there is no way at all', async () => {
    kernel.reply = null;
    const nobody = expect(comm.send({ type: 'Heartbeat' })).rejects.toThrow('did not answer');
    await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT);
    await nobody;
    kernel.connect('disconnected');
    await expect(comm.send({ type: 'Heartbeat' })).rejects.toThrow('not connected');
  });
});

describe('looking for a run', () => {
  it('asks an idle kernel for its comms and leaves it alone when there is none', async () => {
    expect(await comm.find()).toBe(false);
    kernel.comms = { w: { target_name: 'jupyter.widget' }, a: { target_name: TARGET } };
    expect(await comm.find()).toBe(true);
    expect(comm.link).toBe('live');
    expect(kernel.control).toHaveLength(0);
  });

  it('cannot know of a busy kernel', async () => {
    kernel.status = 'busy';
    expect(await comm.find()).toBe(true);
  });

  it('does not trust a kernel that says it is idle', async () => {
    kernel.inCell = true;
    const found = comm.find();
    await vi.advanceTimersByTimeAsync(COMM_INFO_TIMEOUT);
    expect(await found).toBe(true);
  });

  it('asks the server what a page that was just loaded cannot know', async () => {
    kernel.status = 'unknown';
    kernel.onRecord = 'busy';
    expect(await comm.find()).toBe(true);
    kernel.onRecord = 'idle';
    expect(await comm.find()).toBe(false);
  });

  it('waits for a kernel that starts', async () => {
    kernel.status = 'starting';
    const found = comm.find();
    await settle();
    kernel.become('unknown');
    await settle();
    kernel.become('idle');
    expect(await found).toBe(false);
  });

  it('does not ask kernels of other languages, nor twice one that never answered', async () => {
    kernel.status = 'busy';
    kernel.reply = null;
    const attach = comm.send({ type: 'SnapshotRequest' }).catch(() => undefined);
    await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT);
    await attach;
    expect(await comm.find()).toBe(false);
    make(other => {
      other.status = 'busy';
      other.spec = Promise.resolve({ language: 'R' });
    });
    expect(await comm.find()).toBe(false);
  });
});

describe('changes of the kernel', () => {
  it('drop the comm of a process that is gone, until a new one opens', () => {
    kernel.open('a');
    kernel.become('restarting');
    expect([comm.link, comm.reason]).toEqual(['lost', 'restarted']);
    kernel.publish('comm_msg', { comm_id: 'a', data: { feed: [JSON.stringify(delta(1))] } });
    expect(told).toEqual([]);
    kernel.open('b');
    expect([comm.link, comm.reason]).toEqual(['live', '']);
    kernel.become('dead');
    expect([comm.link, comm.reason]).toEqual(['lost', 'dead']);
  });

  it('are noticed when another page made them', () => {
    kernel.open('a');
    kernel.publish('status', { execution_state: 'busy' });
    expect(comm.link).toBe('live');
    kernel.process = 2;
    kernel.publish('status', { execution_state: 'starting' });
    expect([comm.link, comm.reason]).toEqual(['lost', 'restarted']);
  });

  it('bring another look when the kernel was too busy to answer', async () => {
    kernel.status = 'busy';
    kernel.reply = null;
    const attach = comm.send({ type: 'SnapshotRequest' }).catch(() => undefined);
    await vi.advanceTimersByTimeAsync(REQUEST_TIMEOUT);
    await attach;
    kernel.comms = { a: { target_name: TARGET } };
    kernel.become('idle');
    await settle();
    expect(comm.link).toBe('live');
  });

  it('do not matter where no run was', () => {
    kernel.become('restarting');
    expect(comm.link).toBe('absent');
  });

  it('come back with the network', () => {
    kernel.open('a');
    kernel.connect('connecting');
    expect([comm.link, comm.reason]).toEqual(['lost', 'offline']);
    kernel.connect('connected');
    expect(comm.link).toBe('live');
  });

  it('begin with a connection', () => {
    make(other => (other.connectionStatus = 'connecting'));
    expect(comm.link).toBe('connecting');
    kernel.connect('connected');
    expect(comm.link).toBe('absent');
  });
});
