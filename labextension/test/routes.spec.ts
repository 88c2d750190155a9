import { beforeEach, describe, expect, it } from 'vitest';

import { FakeConnection } from '../src/connection/fake';
import { BROKEN, Routes } from '../src/connection/routes';
import { Run } from '../src/model/run';
import type { Reply } from '../src/protocol';
import { settle } from './runs';
import { delta, INFO, snapshot } from './samples';

let kernel: FakeConnection;
let server: FakeConnection;
let routes: Routes;

beforeEach(() => {
  kernel = new FakeConnection();
  server = new FakeConnection();
  server.route = 'server';
  server.link = 'absent';
  server.findable = false;
  routes = new Routes(kernel, server);
});

describe('the choice of the route', () => {
  it('is the kernel while the server has no run', async () => {
    expect([routes.link, routes.route]).toEqual(['live', 'kernel']);
    await routes.send({ type: 'Heartbeat' });
    expect(kernel.sent).toHaveLength(1);
    expect(server.sent).toHaveLength(0);
  });

  it('is the server as soon as it has the run, whatever the kernel does', async () => {
    server.setLink('live');
    for (const link of ['connecting', 'absent', 'live', 'lost', 'closed'] as const) {
      kernel.setLink(link, 'restarted');
      expect([routes.link, routes.route]).toEqual(['live', 'server']);
    }
    await routes.send({ type: 'Heartbeat' });
    expect(server.sent).toHaveLength(1);
    expect(kernel.sent).toHaveLength(0);
  });

  it('asks the server first, and the kernel only if the server has no run', async () => {
    server.findable = true;
    kernel.find = () => Promise.reject(new Error('asked'));
    expect(await routes.find()).toBe(true);
    server.findable = false;
    await expect(routes.find()).rejects.toThrow('asked');
  });

  it('is reported as a new link, in both directions', () => {
    const links: string[] = [];
    routes.linkChanged.connect((_, link) => links.push(`${link} ${routes.route}`));
    server.setLink('live');
    server.setLink('absent');
    expect(links).toEqual(['live server', 'live kernel']);
  });

  it('takes the stream from one route, and replies from both', () => {
    const got: Reply[] = [];
    routes.received.connect((_, reply) => got.push(reply));
    server.setLink('live');
    kernel.receive(delta(1));
    kernel.receive({ type: 'CommandReply', request_id: '1', text: 'done' });
    server.receive(delta(2));
    expect(got.map(reply => reply.type)).toEqual(['CommandReply', 'Delta']);
  });

  it('opens the route through the server when a panel asks a kernel that is there', async () => {
    server.findable = true;
    await routes.send({ type: 'SnapshotRequest', request_id: 's' });
    expect(server.finds).toBe(1);
    // The server has a run, so the model requests the Snapshot through it when it hears of the new link.
    expect(kernel.sent).toEqual([]);
    server.findable = false;
    await routes.send({ type: 'SnapshotRequest', request_id: 't' });
    await routes.send({ type: 'Heartbeat' });
    expect(kernel.sent.map(request => request.type)).toEqual(['SnapshotRequest', 'Heartbeat']);
    expect(server.finds).toBe(3);
  });

  it('answers each request once, also those whose route breaks', async () => {
    const got: Reply[] = [];
    routes.received.connect((_, reply) => got.push(reply));
    await routes.send({ type: 'CancelRequest', request_id: 'by kernel', everything: true });
    server.setLink('live');
    await routes.send({ type: 'CancelRequest', request_id: 'answered', everything: true });
    await routes.send({ type: 'CancelRequest', request_id: 'by server', everything: true });
    server.receive({ type: 'CommandReply', request_id: 'answered', text: 'done' });
    expect(got.splice(0)).toHaveLength(1);
    server.setLink('absent');
    expect(got.splice(0)).toEqual([{ type: 'ErrorReply', request_id: 'by server', text: BROKEN }]);
    expect(kernel.sent).toHaveLength(1); // nothing is sent a second time through the other route
    server.setLink('live');
    kernel.setLink('lost', 'restarted');
    expect(got.splice(0)).toEqual([
      { type: 'ErrorReply', request_id: 'by kernel', text: 'The kernel went away.' }
    ]);
    server.setLink('closed', 'its owner has left');
    expect(got).toEqual([]);
  });

  it('refuses requests whose replies may be among messages that were left out', async () => {
    server.setLink('live');
    const got: Reply[] = [];
    routes.received.connect((_, reply) => got.push(reply));
    await routes.send({ type: 'ExplainRequest', request_id: 'e', task: 1 });
    server.setLink('live'); // said again: messages were left out
    expect(got).toEqual([{ type: 'ErrorReply', request_id: 'e', text: BROKEN }]);
  });

  it('forgets requests that the route does not take', async () => {
    server.setLink('live');
    server.refusal = 'No.';
    await expect(routes.send({ type: 'ExplainRequest', request_id: 'e', task: 1 })).rejects.toThrow('No.');
    const got: Reply[] = [];
    routes.received.connect((_, reply) => got.push(reply));
    server.setLink('absent');
    expect(got).toEqual([]);
  });

  it('lets the server say why the run has ended if the kernel was never heard', () => {
    kernel.setLink('absent');
    server.setLink('live');
    server.setLink('closed', 'its owner has left');
    expect([routes.link, routes.reason]).toEqual(['closed', 'its owner has left']);
    kernel.setLink('live');
    expect([routes.link, routes.route]).toEqual(['live', 'kernel']);
  });
});

describe('a run with two routes', () => {
  const other = (notebook: string) => ({
    client: 7,
    pid: 9,
    host: 'here',
    owner: false,
    notebook,
    since: 0
  });

  it('gets a new picture through the other route', async () => {
    const run = new Run(routes);
    run.visible = true;
    kernel.receive(snapshot());
    server.setLink('live');
    await settle();
    expect(server.last('SnapshotRequest')).toBeDefined();
    server.receive(snapshot({ seq: 9, request_id: server.last('SnapshotRequest').request_id }));
    expect([run.status, run.route]).toEqual(['live', 'server']);
    run.dispose();
  });

  it('keeps the reason of the end, whatever the kernel says of a late request', async () => {
    server.setLink('live');
    const run = new Run(routes);
    run.visible = true;
    server.receive(snapshot());
    kernel.refusal = 'No run is loaded in this kernel.';
    server.setLink('absent'); // killed: the picture is requested through the kernel
    kernel.setLink('closed', 'killed by SIGKILL');
    await settle();
    expect([run.status, run.reason]).toEqual(['ended', 'killed by SIGKILL']);
    run.dispose();
  });

  it('stays live without its kernel, and offers to continue it', () => {
    server.setLink('live');
    const run = new Run(routes);
    run.visible = true;
    let changes = 0;
    run.changed.connect(() => (changes += 1));
    server.receive(snapshot({ run: { ...INFO, linger: 600 } }));
    expect([run.resumable, run.expires]).toEqual(['', null]);
    const before = changes;
    kernel.setLink('lost', 'restarted');
    expect(changes).toBeGreaterThan(before);
    expect([run.status, run.resumable, run.kernelGone]).toEqual(['live', '007', 'restarted']);
    server.receive(snapshot({ seq: 99, run: { ...INFO, clients: [other('/elsewhere.ipynb')] } }));
    expect(run.expires).toBe(Infinity);
    kernel.setLink('live');
    expect([run.status, run.resumable, run.expires]).toEqual(['live', '', null]);
    run.dispose();
  });

  it('knows from the run that its kernel has gone, after a reload', () => {
    kernel.setLink('absent');
    server.setLink('live');
    const run = new Run(routes);
    run.visible = true;
    const ends = Date.now() / 1000 + 100;
    server.receive(snapshot({ run: { ...INFO, away: ends - 600, ends } }));
    expect([run.status, run.resumable, run.kernelGone, run.expires]).toEqual(['live', '007', 'left', ends]);
    run.dispose();
  });

  it('says what became of the kernel when the run has ended with it', () => {
    server.setLink('live');
    const run = new Run(routes);
    run.visible = true;
    server.receive(snapshot({ run: { ...INFO, linger: 0, ended: 1010, reason: 'its owner has left' } }));
    kernel.setLink('lost', 'restarted');
    server.setLink('closed', 'its owner has left');
    expect([run.status, run.reason, run.resumable]).toEqual(['lost', 'restarted', '']);
    run.dispose();
  });
});
