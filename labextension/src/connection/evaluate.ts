/**
 * Evaluates an expression in a kernel apart from the code of the user.
 *
 * The expression binds no name, prints nothing and takes no cell number. A busy kernel evaluates it after its cell.
 */
import type { Kernel } from '@jupyterlab/services';

export interface IEvaluated {
  /** `ok` or `error`; `aborted` if a cell before it failed. */
  readonly status: string;
  readonly ename?: string;
  readonly evalue?: string;
  /** The `repr` of the value is `text/plain`. */
  readonly data?: Readonly<Record<string, unknown>>;
}

export async function evaluate(kernel: Kernel.IKernelConnection, expression: string): Promise<IEvaluated> {
  const future = kernel.requestExecute({
    code: '',
    silent: true,
    store_history: false,
    user_expressions: { value: expression }
  });
  const { content } = await future.done;
  return (content.status === 'ok' ? content.user_expressions.value : content) as unknown as IEvaluated;
}
