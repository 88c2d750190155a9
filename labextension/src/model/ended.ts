/** The final states of tasks that were unfinished when their run ended: the panel cannot request them any more. */
import type { ITaskRow } from '../protocol';
import type { IRun } from '../tokens';
import { isFinal } from './states';

/** The same row in a final state. */
export function endedRow(row: ITaskRow, run: IRun): ITaskRow {
  if (isFinal(row.state)) {
    return row;
  }
  const ended = run.info?.ended ?? null;
  const known = run.nodes.get(row.id)?.state ?? '';
  // A run that is shut down cancels its tasks. The tasks of a run that crashed are lost.
  const state = isFinal(known) ? known : ended === null ? 'failed' : 'cancelled';
  return { ...row, state, ended: ended ?? run.overview?.now ?? null };
}
