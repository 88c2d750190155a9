import type { ISessionContext } from '@jupyterlab/apputils';
import { describe, expect, it, vi } from 'vitest';

import { attach } from '../src/connection/attach';
import { inspect } from '../src/connection/inspect';

function kernel(content: object) {
  const requestExecute = vi.fn((_: { user_expressions: Record<string, string> }) => ({
    done: Promise.resolve({ content })
  }));
  return { requestExecute };
}

/** A notebook with this kernel, or one that gets it from `changeKernel`. */
function notebook(other: object, running = true) {
  const context = {
    session: running ? { kernel: other } : (null as { kernel: object } | null),
    prevKernelName: 'python3',
    changeKernel: vi.fn(async () => void (context.session = { kernel: other }))
  };
  return { context, session: context as unknown as ISessionContext };
}

function answer(value: object) {
  return kernel({ status: 'ok', user_expressions: { value } });
}

describe('attach', () => {
  it('evaluates an expression apart from the code of the user', async () => {
    const there = answer({ status: 'ok' });
    await attach(notebook(there).session, '007');
    expect(there.requestExecute.mock.calls[0][0]).toMatchObject({ code: '', silent: true, store_history: false });
    expect(Object.values(there.requestExecute.mock.calls[0][0].user_expressions)).toEqual([
      `__import__('parslab').attach("007")`
    ]);
  });

  it('starts a kernel of the same kind if the notebook has none', async () => {
    const there = answer({ status: 'ok' });
    const { context, session } = notebook(there, false);
    await attach(session, '007');
    expect(context.changeKernel).toHaveBeenCalledWith({ name: 'python3' });
    expect(there.requestExecute).toHaveBeenCalledOnce();
  });

  it('rejects with the reason of the kernel', async () => {
    const there = answer({ status: 'error', ename: 'ConfigurationError', evalue: 'There is no live run 007.' });
    await expect(attach(notebook(there).session, '007')).rejects.toThrow('There is no live run 007.');
    await expect(attach(notebook(kernel({ status: 'aborted' })).session, '007')).rejects.toThrow(
      'could not attach'
    );
  });
});

describe('inspect', () => {
  it('reads what the kernel says', async () => {
    const cases: [object, object | null][] = [
      [
        { status: 'ok', data: { 'text/plain': "'012-abc'" } },
        { python: true, installed: true, run: '012-abc' }
      ],
      [
        { status: 'ok', data: { 'text/plain': "''" } },
        { python: true, installed: true, run: '' }
      ],
      [
        { status: 'error', ename: 'ModuleNotFoundError', evalue: "No module named 'parslab'" },
        { python: true, installed: false, run: '' }
      ],
      [
        { status: 'error', ename: 'ModuleNotFoundError', evalue: "No module named 'parslab.jupyter.resumable'" },
        null
      ],
      [{ status: 'error', ename: 'OSError', evalue: 'The disk is full.' }, null]
    ];
    for (const [said, expected] of cases) {
      expect(await inspect(answer(said) as never)).toEqual(expected);
    }
    expect(await inspect(kernel({ status: 'aborted' }) as never)).toBeNull();
  });
});
