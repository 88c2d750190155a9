import type { ServerConnection } from '@jupyterlab/services';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { FIRST_WORD, LONGEST_RETRY, RETRY, ServerRelay } from '../src/connection/server';
import type { IRelayStatus, Reply } from '../src/protocol';
import { RELAY } from '../src/protocol';
import { settle } from './runs';
import { delta } from './samples';

/** As much of a websocket as a ServerRelay touches. */
class FakeSocket {
  static all: FakeSocket[] = [];
  readonly CONNECTING = 0;
  readyState = 0;
  sent: string[] = [];
  closed = false;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;
  onclose: (() => void) | null = null;

  constructor(readonly url: string) {
    FakeSocket.all.push(this);
  }

  send(text: string): void {
    this.sent.push(text);
  }

  close(): void {
    this.closed = true;
  }

  /** What the server sends. */
  says(message: Reply | IRelayStatus): void {
    this.readyState = 1;
    this.onmessage?.({ data: JSON.stringify(message) });
  }

  status(state: IRelayStatus['state'], text = ''): void {
    this.says({ type: 'RelayStatus', state, run: '007', text });
  }
}

const SETTINGS = {
  wsUrl: 'ws://here/user/a/',
  token: 'secret word',
  appendToken: true,
  WebSocket: FakeSocket
} as unknown as ServerConnection.ISettings;

const relay = (option = String(RELAY)) => new ServerRelay(SETTINGS, 'kernel=k1', option);
const last = () => FakeSocket.all[FakeSocket.all.length - 1];

beforeEach(() => {
  FakeSocket.all = [];
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('the route through the server', () => {
  it('opens nothing before it is needed', () => {
    relay();
    expect(FakeSocket.all).toHaveLength(0);
  });

  it('has the base URL and the token of the server', async () => {
    void relay().find();
    expect(last().url).toBe('ws://here/user/a/parslab/panel?kernel=k1&relay=1&token=secret%20word');
  });

  it('is live when the server has found the run', async () => {
    const connection = relay();
    const links: string[] = [];
    connection.linkChanged.connect((_, link) => links.push(link));
    const found = connection.find();
    last().status('live');
    expect(await found).toBe(true);
    expect(links).toEqual(['live']);
    await connection.send({ type: 'Heartbeat' });
    expect(last().sent).toEqual(['{"type":"Heartbeat"}']);
    const got: Reply[] = [];
    connection.received.connect((_, reply) => got.push(reply));
    last().says(delta(1));
    expect(got).toEqual([delta(1)]);
  });

  it('is not live when the server has no run, and when it says nothing for long', async () => {
    const connection = relay();
    const found = connection.find();
    last().status('absent');
    expect(await found).toBe(false);
    await expect(connection.send({ type: 'Heartbeat' })).rejects.toThrow('not connected with the run');
    const silent = relay().find();
    await vi.advanceTimersByTimeAsync(FIRST_WORD);
    expect(await silent).toBe(false);
  });

  it('makes nobody wait for a silent server a second time', async () => {
    const connection = relay();
    const first = connection.find();
    await vi.advanceTimersByTimeAsync(FIRST_WORD);
    expect(await first).toBe(false);
    expect(await connection.find()).toBe(false); // at once: no timer runs here
    last().status('live');
    expect(await connection.find()).toBe(true);
  });

  it('counts as absent, and is tried again, where the page may not open websockets', async () => {
    let tries = 0;
    const WebSocket = function () {
      tries += 1;
      throw new Error('blocked by the Content-Security-Policy');
    };
    const settings = { ...SETTINGS, WebSocket } as unknown as ServerConnection.ISettings;
    const connection = new ServerRelay(settings, 'kernel=k1', String(RELAY));
    expect(await connection.find()).toBe(false);
    await vi.advanceTimersByTimeAsync(RETRY);
    expect(tries).toBe(2);
    connection.dispose();
  });

  it('asks for a new picture when messages were left out', async () => {
    const connection = relay();
    void connection.find();
    last().status('live');
    const links: string[] = [];
    connection.linkChanged.connect((_, link) => links.push(link));
    last().status('skipped');
    expect(links).toEqual(['live']);
  });

  it('says why the run has ended, and finds the next one', async () => {
    const connection = relay();
    void connection.find();
    last().status('live');
    last().status('ended', 'its owner has left');
    expect([connection.link, connection.reason]).toEqual(['closed', 'its owner has left']);
    last().status('live');
    expect(connection.link).toBe('live');
    last().status('lost');
    expect(connection.link).toBe('absent');
    expect(connection.missing).toEqual({ half: 'process', text: '' });
    last().status('live');
    expect(connection.missing).toBeNull();
  });

  it('connects again, ever more rarely', async () => {
    const connection = relay();
    void connection.find();
    last().status('live');
    let pause = RETRY;
    for (let count = 1; count < 8; count++) {
      last().onclose?.();
      expect(connection.link).toBe('absent');
      await vi.advanceTimersByTimeAsync(pause - 1);
      expect(FakeSocket.all).toHaveLength(count);
      await vi.advanceTimersByTimeAsync(1);
      expect(FakeSocket.all).toHaveLength(count + 1);
      pause = Math.min(2 * pause, LONGEST_RETRY);
    }
    last().status('live');
    last().onclose?.();
    await vi.advanceTimersByTimeAsync(RETRY);
    expect(FakeSocket.all).toHaveLength(9);
  });

  it('is not tried where the server has no extension, or another one', async () => {
    for (const [option, half] of [
      ['', 'server'],
      [String(RELAY + 1), 'page'],
      [String(RELAY - 1), 'old-server']
    ]) {
      const connection = relay(option);
      expect(await connection.find()).toBe(false);
      expect(connection.missing?.half).toBe(half);
    }
    expect(FakeSocket.all).toHaveLength(0);
    expect(relay().missing).toBeNull();
  });

  it('passes on why the run refuses the server', async () => {
    const connection = relay();
    const found = connection.find();
    last().status('refused', 'Use the same version.');
    expect(await found).toBe(false);
    expect(connection.missing).toEqual({ half: 'run', text: 'Use the same version.' });
    last().status('live');
    expect(connection.missing).toBeNull();
  });

  it('is closed with its page, and does not connect again', async () => {
    const connection = relay();
    void connection.find();
    const socket = last();
    connection.dispose();
    expect(socket.closed).toBe(false); // browsers complain about a websocket that is closed while it connects
    socket.onopen?.();
    expect(socket.closed).toBe(true);
    await vi.advanceTimersByTimeAsync(LONGEST_RETRY);
    await settle();
    expect(FakeSocket.all).toHaveLength(1);
  });
});
