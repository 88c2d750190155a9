/**
 * Attaches the kernel of a notebook to a live run: after a restart of the kernel, or in a new kernel.
 *
 * If the run has ended, this starts no other run. A busy kernel attaches after its cell.
 */
import type { ISessionContext } from '@jupyterlab/apputils';

import { evaluate } from './evaluate';

/** Resolves when the kernel is attached; rejects with the message of the kernel otherwise. */
export async function attach(context: ISessionContext, run: string): Promise<void> {
  if (!context.session?.kernel) {
    await context.changeKernel({ name: context.prevKernelName });
  }
  const kernel = context.session?.kernel;
  if (!kernel) {
    throw new Error('The kernel of this notebook could not be started.');
  }
  const { status, ename, evalue } = await evaluate(kernel, `__import__('parslab').attach(${JSON.stringify(run)})`);
  if (status !== 'ok') {
    throw new Error(evalue || ename || 'The kernel could not attach to the run.');
  }
}
