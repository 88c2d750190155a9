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

/** How often to ask again: a cell that fails makes the kernel abort what waits behind it, ours included. */
const ABORTED_RETRIES = 2;

export async function evaluate(kernel: Kernel.IKernelConnection, expression: string): Promise<IEvaluated> {
  const request = () =>
    kernel.requestExecute({
      code: '',
      silent: true,
      store_history: false,
      user_expressions: { value: expression }
    }).done;
  let { content } = await request();
  for (let retry = 0; retry < ABORTED_RETRIES && (content.status as string) === 'aborted'; retry++) {
    ({ content } = await request());
  }
  return (content.status === 'ok' ? content.user_expressions.value : content) as unknown as IEvaluated;
}
