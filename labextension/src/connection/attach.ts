/**
 * Attaches a kernel to a run that still lives after the restart of the kernel.
 *
 * The kernel evaluates an expression apart from the user's code. The expression binds no name, prints nothing and takes
 * no cell number. If the run has ended, the expression starts no other run. A busy kernel evaluates it after its cell.
 */
import type { Kernel } from '@jupyterlab/services';

interface IEvaluated {
  status: string;
  ename?: string;
  evalue?: string;
}

/** Resolves when the kernel is attached; rejects with the message of the kernel otherwise. */
export async function attach(kernel: Kernel.IKernelConnection, run: string): Promise<void> {
  const future = kernel.requestExecute({
    code: '',
    silent: true,
    store_history: false,
    user_expressions: { run: `__import__('parslab').attach(${JSON.stringify(run)})` }
  });
  const { content } = await future.done;
  const evaluated = content.status === 'ok' ? content.user_expressions.run : content;
  const { status, ename, evalue } = evaluated as unknown as IEvaluated;
  if (status !== 'ok') {
    throw new Error(evalue || ename || 'The kernel could not attach to the run.');
  }
}
