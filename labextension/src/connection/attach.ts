/**
 * Has a kernel go on with a run that is there.
 *
 * An expression is evaluated beside the user's code: it binds no name, prints nothing, counts as no cell, and starts no
 * other run when that one has ended meanwhile. It waits for its turn like a cell.
 */
import type { Kernel } from '@jupyterlab/services';

interface IEvaluated {
  status: string;
  ename?: string;
  evalue?: string;
}

/** Rejects with the kernel's sentence when it cannot be. */
export async function attach(kernel: Kernel.IKernelConnection, run: string): Promise<void> {
  const future = kernel.requestExecute({
    code: '',
    silent: true,
    store_history: false,
    user_expressions: { run: `__import__('parslab').attach(${JSON.stringify(run)})` }
  });
  const { content } = await future.done;
  const answer = content.status === 'ok' ? content.user_expressions.run : content;
  const { status, ename, evalue } = answer as unknown as IEvaluated;
  if (status !== 'ok') {
    throw new Error(evalue || ename || 'The kernel could not go on with the run.');
  }
}
