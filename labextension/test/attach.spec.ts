import type { Kernel } from '@jupyterlab/services';
import { describe, expect, it, vi } from 'vitest';

import { attach } from '../src/connection/attach';

function kernel(content: object) {
  const requestExecute = vi.fn((_: { user_expressions: Record<string, string> }) => ({
    done: Promise.resolve({ content })
  }));
  return { requestExecute, connection: { requestExecute } as unknown as Kernel.IKernelConnection };
}

describe('attach', () => {
  it('evaluates an expression apart from the code of the user', async () => {
    const { requestExecute, connection } = kernel({ status: 'ok', user_expressions: { run: { status: 'ok' } } });
    await attach(connection, '007');
    expect(requestExecute.mock.calls[0][0]).toMatchObject({ code: '', silent: true, store_history: false });
    expect(Object.values(requestExecute.mock.calls[0][0].user_expressions)).toEqual([
      `__import__('parslab').attach("007")`
    ]);
  });

  it('rejects with the reason of the kernel', async () => {
    const run = { status: 'error', ename: 'ConfigurationError', evalue: 'There is no live run 007.' };
    await expect(attach(kernel({ status: 'ok', user_expressions: { run } }).connection, '007')).rejects.toThrow(
      'There is no live run 007.'
    );
    await expect(attach(kernel({ status: 'aborted' }).connection, '007')).rejects.toThrow('could not attach');
  });
});
