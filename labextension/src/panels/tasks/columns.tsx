/** The columns of the task table: their names, sort keys, cells and widths. */
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { duration, runMoment, taskLabel } from '../../components/format';
import { labelOf, StateMark } from '../../components/states';
import type { ITaskRow } from '../../protocol';
import type { IRun } from '../../tokens';

export interface IColumn {
  readonly id: string;
  readonly label: string;
  /** A track of a CSS grid. */
  readonly width: string;
  /** The width in pixels from which on the panel shows the column; undefined for always. */
  readonly from?: number;
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
    { id: 'state', width: '20px', label: trans.__('State'), sort: 'state', show: state },
    { id: 'id', width: '48px', label: trans.__('Id'), sort: 'id', show: row => taskLabel(row.id) },
    { id: 'app', width: 'minmax(0, 3fr)', label: trans.__('App'), sort: 'app', show: row => row.app },
    {
      id: 'shown',
      width: 'minmax(0, 4fr)',
      from: 400,
      label: trans.__('Arguments'),
      sort: 'shown',
      show: row => row.shown
    },
    {
      id: 'error',
      width: 'minmax(0, 3fr)',
      from: 760,
      label: trans.__('Error'),
      sort: 'error',
      show: row => row.error
    },
    { id: 'cell', width: '56px', from: 560, label: trans.__('Cell'), sort: 'cell', show: row => row.cell },
    { id: 'worker', width: '80px', from: 760, label: trans.__('Worker'), sort: 'worker', show: row => row.worker },
    {
      id: 'started',
      width: '92px',
      from: 560,
      label: trans.__('Started'),
      sort: 'started',
      show: (row, run) => {
        const started = row.started === null ? '' : runMoment(row.started, run);
        return <span title={started}>{started}</span>;
      }
    },
    { id: 'time', width: '72px', label: trans.__('Duration'), show: (row, run) => taken(row, run.now) }
  ];
}

/** The style sheet that gives the rows their columns, for each width of the panel from which on it shows more. */
export function columnStyle(all: readonly IColumn[]): string {
  const steps = [...new Set(all.map(({ from }) => from ?? 0))].sort((a, b) => a - b);
  const rules = steps.map(step => {
    const tracks = all.filter(({ from }) => (from ?? 0) <= step).map(({ width }) => width);
    const hidden = all.filter(({ from }) => (from ?? 0) > step).map(({ id }) => `.parslab-col-${id}`);
    const next = steps[steps.indexOf(step) + 1];
    const hide = hidden.length ? `.parslab-Row > :is(${hidden.join(', ')}) { display: none; }` : '';
    const condition = next === undefined ? `width >= ${step}px` : `${step}px <= width < ${next}px`;
    return `@container (${condition}) { .parslab-Row { grid-template-columns: ${tracks.join(' ')}; } ${hide} }`;
  });
  return rules.join('\n');
}

/** How long a task has been executing. */
function taken(row: ITaskRow, now: number): string {
  return row.started === null ? '' : duration((row.ended ?? now) - row.started);
}
