/** The quiet line below a cell: how far its tasks are, and what can be done about them. */
import type { TranslationBundle } from '@jupyterlab/translation';
import { ReactWidget } from '@jupyterlab/ui-components';
import * as React from 'react';

import { countsInWords, StateBar } from '../../components/bars';
import { count, duration, rate } from '../../components/format';
import type { ICellProgress } from '../../model/cells';

/** What the buttons of a line do, for a cell such as `In [3]`. */
export interface ICellActions {
  readonly cancel: (cell: string) => void;
  readonly retry: (cell: string) => void;
  readonly show: (cell: string) => void;
}

/** What a line shows: the tasks of a cell, or the text that the notebook keeps. */
export type CellState =
  { readonly cell: string; readonly progress: ICellProgress; readonly live: boolean } | { readonly text: string };

export class CellLine extends ReactWidget {
  constructor(
    private _actions: ICellActions,
    private _trans: TranslationBundle
  ) {
    super();
    this.addClass('parslab-CellLine');
  }

  set state(state: CellState) {
    this._state = state;
    this.update();
  }

  protected render(): React.JSX.Element {
    const state = this._state;
    if ('text' in state) {
      return <span className="parslab-CellLine-text">{state.text}</span>;
    }
    return <Tasks {...state} actions={this._actions} trans={this._trans} />;
  }

  private _state: CellState = { text: '' };
}

interface ITasksProps {
  cell: string;
  progress: ICellProgress;
  live: boolean;
  actions: ICellActions;
  trans: TranslationBundle;
}

function Tasks({ cell, progress, live, actions, trans }: ITasksProps): React.JSX.Element {
  const unfinished = progress.ended < progress.total;
  const button = (label: string, title: string, act: (cell: string) => void) => (
    <button type="button" title={title} onClick={() => act(cell)}>
      {label}
    </button>
  );
  return (
    <div className="parslab-CellLine-tasks" role="group" aria-label={trans.__('Tasks of %1', cell)}>
      <StateBar counts={progress.counts} label={trans.__('Tasks of %1', cell)} trans={trans} />
      <span className="parslab-CellLine-text" title={countsInWords(progress.counts, trans)}>
        {inWords(progress, trans)}
      </span>
      {live && unfinished && button(trans.__('Cancel'), trans.__('Cancel the tasks of this cell'), actions.cancel)}
      {live &&
        progress.failed > 0 &&
        button(trans.__('Retry failed'), trans.__('Run the failed tasks of this cell again'), actions.retry)}
      {live && button(trans.__('Open'), trans.__('List the tasks of this cell in the panel'), actions.show)}
    </div>
  );
}

/** The tasks of a cell in a few words, as the line shows them and the notebook keeps them. */
export function inWords(progress: ICellProgress, trans: TranslationBundle): string {
  const { total, ended, failed, seconds, left } = progress;
  const cancelled = progress.counts.cancelled ?? 0;
  const words =
    ended < total
      ? [trans.__('%1 of %2 tasks', count(ended), count(total))]
      : [trans._n('1 task', '%2 tasks', total, count(total)), duration(seconds)];
  if (ended < total && progress.rate > 0) {
    words.push(trans.__('%1/s', rate(progress.rate)));
  }
  if (left !== null) {
    words.push(trans.__('%1 left', duration(Math.max(1, left))));
  }
  if (failed) {
    words.push(trans.__('%1 failed', count(failed)));
  }
  if (cancelled) {
    words.push(trans.__('%1 cancelled', count(cancelled)));
  }
  return words.join(' · ');
}
