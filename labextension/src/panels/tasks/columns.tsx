/** The columns of the task table: their names, sort keys and cells. The style sheet hides some in a narrow panel. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { duration, runMoment, taskLabel } from '../../components/format';
import { labelOf, StateMark } from '../../components/states';
import type { ITaskRow } from '../../protocol';
import type { IRun } from '../../tokens';

export interface IColumn {
  readonly id: string;
  readonly label: string;
  /** The field of TaskRow to sort by, if users can sort by this column. */
  readonly sort?: keyof ITaskRow;
  readonly show: (row: ITaskRow, run: IRun) => React.ReactNode;
}

export function columns(trans: TranslationBundle): readonly IColumn[] {
  const state = (row: ITaskRow) => (
    <span role="img" aria-label={labelOf(row.state, trans)} title={labelOf(row.state, trans)}>
      <StateMark state={row.state} />
    </span>
  );
  return [
    { id: 'state', label: trans.__('State'), sort: 'state', show: state },
    { id: 'id', label: trans.__('Id'), sort: 'id', show: row => taskLabel(row.id) },
    { id: 'app', label: trans.__('App'), sort: 'app', show: row => row.app },
    { id: 'shown', label: trans.__('Arguments'), sort: 'shown', show: row => row.shown },
    { id: 'error', label: trans.__('Error'), sort: 'error', show: row => row.error },
    { id: 'cell', label: trans.__('Cell'), sort: 'cell', show: row => row.cell },
    { id: 'worker', label: trans.__('Worker'), sort: 'worker', show: row => row.worker },
    {
      id: 'started',
      label: trans.__('Started'),
      sort: 'started',
      show: (row, run) => {
        const started = row.started === null ? '' : runMoment(row.started, run);
        return <span title={started}>{started}</span>;
      }
    },
    { id: 'time', label: trans.__('Duration'), show: (row, run) => taken(row, run.now) }
  ];
}

/** How long a task has been executing. */
function taken(row: ITaskRow, now: number): string {
  return row.started === null ? '' : duration((row.ended ?? now) - row.started);
}
