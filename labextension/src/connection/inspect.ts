/** Finds out why a kernel has no run: the panel says what its user can do next. */
import type { Kernel } from '@jupyterlab/services';

import type { IInspection } from '../tokens';
import { evaluate } from './evaluate';

const EXPRESSION = "__import__('parslab.jupyter.resumable', fromlist=['resumable']).resumable_run()";

/** What a kernel that has no Python can tell. */
export const NO_PYTHON: IInspection = { python: false, installed: false, run: '' };

/** Inspects an idle kernel; null if its answer says nothing, for example from an older parslab. */
export async function inspect(kernel: Kernel.IKernelConnection): Promise<IInspection | null> {
  const { status, ename, evalue, data } = await evaluate(kernel, EXPRESSION);
  if (status === 'ok') {
    const run = /^'([^'\\]*)'$/.exec(String(data?.['text/plain']))?.[1] ?? '';
    return { python: true, installed: true, run };
  }
  const missing = ename === 'ModuleNotFoundError' && evalue === "No module named 'parslab'";
  return missing ? { python: true, installed: false, run: '' } : null;
}
